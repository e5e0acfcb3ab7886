package localpg

import "syscall"

// memoryFolder returns a folder in memory with at least 1 GiB free, or "" if there
// is none. In a container the folder is often too small for even one server.
func memoryFolder() string {
	const path, room = "/dev/shm", 1 << 30
	var stat syscall.Statfs_t
	if err := syscall.Statfs(path, &stat); err != nil || stat.Bavail*uint64(stat.Bsize) < room {
		return ""
	}
	return path
}
