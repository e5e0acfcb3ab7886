package localpg

import "syscall"

// memoryFolder returns a folder kept in memory with a gibibyte to spare, or "".
// A container's is often too small to hold even one server.
func memoryFolder() string {
	const path, room = "/dev/shm", 1 << 30
	var stat syscall.Statfs_t
	if err := syscall.Statfs(path, &stat); err != nil || stat.Bavail*uint64(stat.Bsize) < room {
		return ""
	}
	return path
}
