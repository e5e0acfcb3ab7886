package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// usage holds the resources spent so far. The difference between two usages is a
// measurement.
type usage struct {
	at     time.Time
	wal    int64 // bytes, of the whole server
	client time.Duration
	server time.Duration // of the whole server; 0 if not readable
}

func (b *bench) usage(ctx context.Context) (usage, error) {
	var u usage
	err := b.admin.QueryRow(ctx, "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint").Scan(&u.wal)
	if err != nil {
		return u, fmt.Errorf("read WAL position: %w", err)
	}
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		return u, fmt.Errorf("getrusage: %w", err)
	}
	u.client = time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
	if b.postmaster != 0 {
		u.server = serverCPU(b.postmaster)
	}
	u.at = time.Now()
	return u, nil
}

// procStat is the part of /proc/PID/stat that is needed here.
type procStat struct {
	comm     string
	ppid     int
	own      time.Duration // user and system time
	children time.Duration // the same of children that have exited
}

func readStat(pid int) (procStat, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, err
	}
	// The command is in parentheses and may itself contain any character, so
	// the numbered fields begin after the last closing one, with field 3.
	open, end := strings.IndexByte(string(text), '('), strings.LastIndexByte(string(text), ')')
	if open < 0 || end < open {
		return procStat{}, fmt.Errorf("unexpected format of /proc/%d/stat", pid)
	}
	fields := strings.Fields(string(text[end+1:]))
	if len(fields) < 15 {
		return procStat{}, fmt.Errorf("unexpected format of /proc/%d/stat", pid)
	}
	field := func(n int) int64 {
		v, _ := strconv.ParseInt(fields[n-3], 10, 64)
		return v
	}
	// USER_HZ has been 100 on every Linux platform Go runs on.
	const tick = time.Second / 100
	return procStat{
		comm:     string(text[open+1 : end]),
		ppid:     int(field(4)),
		own:      time.Duration(field(14)+field(15)) * tick,
		children: time.Duration(field(16)+field(17)) * tick,
	}, nil
}

// findPostmaster returns the parent of a backend, or 0 if /proc does not show
// the pair as a PostgreSQL server's.
func findPostmaster(backend int) int {
	child, err := readStat(backend)
	if err != nil || !isPostgres(child.comm) {
		return 0
	}
	parent, err := readStat(child.ppid)
	if err != nil || !isPostgres(parent.comm) {
		return 0
	}
	return child.ppid
}

func isPostgres(comm string) bool { return strings.HasPrefix(comm, "postgres") }

// serverCPU adds up the postmaster, its children, and, because backends come
// and go, the children it has already waited for.
func serverCPU(postmaster int) time.Duration {
	pm, err := readStat(postmaster)
	if err != nil {
		return 0
	}
	sum := pm.own + pm.children
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// If the process has ended, the next reading counts it as a child.
		if st, err := readStat(pid); err == nil && st.ppid == postmaster {
			sum += st.own + st.children
		}
	}
	return sum
}
