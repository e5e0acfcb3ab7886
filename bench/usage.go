package bench

import (
	"context"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// quiet logs warnings and errors only. A warning tells that the measurement is spoilt.
var quiet = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))

// A usage holds the resources spent so far. The difference between two usages is a measurement.
type usage struct {
	wal, transactions int64
	client, server    time.Duration
}

func (b *bench) usage(ctx context.Context) (u usage, err error) {
	err = b.pool.QueryRow(ctx, `select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint,
		(select xact_commit + xact_rollback from pg_stat_database where datname = current_database())`,
	).Scan(&u.wal, &u.transactions)
	var r syscall.Rusage
	if e := syscall.Getrusage(syscall.RUSAGE_SELF, &r); e == nil {
		u.client = time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	u.server = serverCPU(b.server)
	return u, err
}

// spent fills in r: the jobs, the time they took and the resources used since before.
func (b *bench) spent(ctx context.Context, r *Result, jobs int64, took time.Duration, before usage) error {
	after, err := b.usage(ctx)
	if err != nil {
		return err
	}
	r.Jobs, r.Seconds = jobs, took.Seconds()
	r.JobsPerSecond = float64(jobs) / took.Seconds()
	r.WALBytes, r.Transactions = after.wal-before.wal, after.transactions-before.transactions
	if jobs > 0 {
		r.CPUClient = (after.client - before.client).Seconds() / float64(jobs) * 1000
		if b.server != 0 {
			cpu := (after.server - before.server).Seconds() / float64(jobs) * 1000
			r.CPUServer = &cpu
		}
	}
	return b.pool.QueryRow(ctx, `select coalesce(sum(n_dead_tup), 0)::bigint
		from pg_stat_user_tables where schemaname = 'pawl'`).Scan(&r.DeadTuples)
}

// postmaster returns the parent of a server process on this machine, or 0 if there is none.
func postmaster(backend int) int {
	fields := stat(backend)
	if fields == nil || fields[0] != "postgres" && !strings.HasPrefix(fields[0], "postgres") {
		return 0
	}
	parent, _ := strconv.Atoi(fields[2])
	return parent
}

// stat reads the fields of /proc/PID/stat: the command, the state, the parent and so on.
func stat(pid int) []string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil
	}
	// The command is in parentheses and may contain anything.
	first, last := strings.IndexByte(string(text), '('), strings.LastIndexByte(string(text), ')')
	if first < 0 || last < first {
		return nil
	}
	return append([]string{string(text[first+1 : last])}, strings.Fields(string(text[last+1:]))...)
}

// serverCPU returns the processor time of a server's processes, including those that have ended.
func serverCPU(postmaster int) time.Duration {
	if postmaster == 0 {
		return 0
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 on Linux.
	ticks := func(fields []string, at ...int) (sum time.Duration) {
		for _, i := range at {
			if i < len(fields) {
				n, _ := strconv.ParseInt(fields[i], 10, 64)
				sum += time.Duration(n) * tick
			}
		}
		return sum
	}
	const utime, stime, cutime, cstime = 12, 13, 14, 15
	total := ticks(stat(postmaster), utime, stime, cutime, cstime)
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if fields := stat(pid); len(fields) > 15 && fields[2] == strconv.Itoa(postmaster) {
			total += ticks(fields, utime, stime)
		}
	}
	return total
}
