package pawl_test

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(childEnv); url != "" {
		os.Exit(child(url))
	}
	pgtest.Main(m, migrate)
}

func migrate(ctx context.Context, url string) error {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	client, err := pawl.New(pool, pawl.Config{})
	if err != nil {
		return err
	}
	return client.Migrate(ctx)
}

// Note is the args of most tests.
type Note struct {
	N int `json:"n"`
}

func (Note) Kind() string { return "note" }

// install is a client on a migrated database of the test's own. When the test ends the invariant must hold.
func install(t testing.TB, options ...func(*pawl.Config)) (*pawl.Client, *pgxpool.Pool) {
	t.Helper()
	return connect(t, pgtest.Database(t), options...)
}

// connect is install on a database that is there already.
func connect(t testing.TB, url string, options ...func(*pawl.Config)) (*pawl.Client, *pgxpool.Pool) {
	t.Helper()
	client, pool := unchecked(t, url, options...)
	t.Cleanup(func() { check(t, client) })
	return client, pool
}

const listenDirectly = "directly"

// listens is an option for tests of what must be heard, not looked for: LISTEN goes past the pooler, if one is in between.
func listens(config *pawl.Config) { config.ListenURL = listenDirectly }

// unchecked is connect for a test that breaks the library to show that a rule is needed.
func unchecked(t testing.TB, url string, options ...func(*pawl.Config)) (*pawl.Client, *pgxpool.Pool) {
	t.Helper()
	eight := func(c *pgxpool.Config) { c.MaxConns = 8 }
	pool := pgtest.Pool(t, url, eight)
	theirs := pool
	config := pawl.Config{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if pgtest.Pooled() {
		// As a user's pool is, for the library; the test's own statements would break on it.
		theirs = pgtest.Pool(t, url, eight, unnamed(t))
	}
	for _, option := range options {
		option(&config)
	}
	if config.ListenURL == listenDirectly {
		config.ListenURL = ""
		if pgtest.Pooled() {
			config.ListenURL = pgtest.Direct(t, url)
		}
	}
	client, err := pawl.New(theirs, config)
	if err != nil {
		t.Fatal(err)
	}
	return client, pool
}

// check fails the test if the invariant is broken.
func check(t testing.TB, client *pawl.Client) {
	t.Helper()
	findings, err := client.Verify(context.Background()) // The test's own context has ended in a cleanup.
	if err != nil {
		t.Errorf("verify: %v", err)
	}
	for _, f := range findings {
		switch f.Check {
		case "function", // Replaced by the test.
			"permit-stray", "lease-stray": // There until a tender comes by, and here none may.
			continue
		}
		t.Errorf("verify: %s: %s", f.Check, f.Problem)
	}
}

// start runs mux beside the test until stop is called, which says what Run said, or the test ends.
func start(t testing.TB, client *pawl.Client, mux *pawl.Mux, config pawl.RunnerConfig) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- client.Run(ctx, mux, config) }()
	said := false
	once := sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := once(); err != nil && !said {
			t.Errorf("Run: %v", err)
		}
	})
	return func() error { said = true; return once() }
}

// insert puts in one job that must be accepted.
func insert(t testing.TB, client *pawl.Client, job pawl.Args) pawl.ID {
	t.Helper()
	result, err := client.Insert(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	return result.ID
}

// await waits until the job is in a state and returns it.
func await(t testing.TB, client *pawl.Client, id pawl.ID, state pawlstate.State) (job *pawl.JobInfo) {
	t.Helper()
	pgtest.Wait(t, "job to be "+string(state), func() bool {
		var err error
		job, err = client.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return job.State == state
	})
	return job
}

type queryer interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// values are the rows of a query of one column.
func values[T any](t testing.TB, db queryer, sql string, args ...any) []T {
	t.Helper()
	rows, _ := db.Query(t.Context(), sql, args...)
	list, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return list
}

// value is the one value of a query.
func value[T any](t testing.TB, db queryer, sql string, args ...any) T {
	t.Helper()
	list := values[T](t, db, sql, args...)
	if len(list) != 1 {
		t.Fatalf("%s: %d rows, want one", sql, len(list))
	}
	return list[0]
}

type execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

func exec(t testing.TB, db execer, sql string, args ...any) {
	t.Helper()
	if _, err := db.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// begin opens a transaction that is rolled back when the test ends, if it is open then.
func begin(t testing.TB, pool *pgxpool.Pool) pgx.Tx {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback(context.Background()) })
	return tx
}

func commit(t testing.TB, tx pgx.Tx) {
	t.Helper()
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// live counts the rows of everything a job that is not finished has, but leases.
func live(t testing.TB, pool *pgxpool.Pool) int {
	t.Helper()
	return value[int](t, pool, "select (select count(*) from pawl.job) + (select count(*) from pawl.ready) + (select count(*) from pawl.scheduled)")
}

// elapse lets all that is scheduled be due: tests move rows, not clocks. Not into the past: there a promoter has been already.
func elapse(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		exec(t, tx, "select pg_current_xact_id()") // As every writer of a time, or the floor of a queue might pass it by.
		exec(t, tx, `with moved as (update pawl.scheduled s set run_at = clock_timestamp() returning s.job_id, s.run_at)
			update pawl.job j set run_at = m.run_at from moved m where j.id = m.job_id`)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// expire lets all consumers' leases run out, and gives back what they held.
func expire(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	exec(t, pool, "update pawl.lease set expires_at = clock_timestamp() - interval '1 second' where expires_at is not null")
	exec(t, pool, "select * from pawl.rescue(100, true, true)")
}

// blocked waits until n sessions of the test's database wait for a lock.
func blocked(t testing.TB, pool *pgxpool.Pool, n int) {
	t.Helper()
	pgtest.Wait(t, "sessions to wait for a lock", func() bool {
		return value[int](t, pool, "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'") >= n
	})
}

// claim takes up to n jobs of the default queue, at least one.
func claim(t testing.TB, claimer interface {
	Claim(ctx context.Context, queue string, n int, lease time.Duration, kinds ...string) (pawl.Jobs, error)
}, n int) pawl.Jobs {
	t.Helper()
	jobs, err := claimer.Claim(t.Context(), "default", n, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(jobs) == 0 {
		t.Fatal("there was nothing to claim")
	}
	return jobs
}

// numbers are the args of jobs.
func numbers(t testing.TB, jobs pawl.Jobs) []int {
	t.Helper()
	list := make([]int, len(jobs))
	for i, job := range jobs {
		list[i] = note(t, job).N
	}
	return list
}

// Not parallel: goroutines cannot be told apart by test.
func TestNoGoroutineIsLeft(t *testing.T) {
	url := pgtest.Database(t)
	before := goleak.IgnoreCurrent()
	defer goleak.VerifyNone(t, before)
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	client, err := pawl.New(pool, pawl.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		if job.Args.N == 2 {
			cancel()
		}
		return nil
	})
	insert(t, client, Note{1})
	insert(t, client, Note{2})
	if err := client.Wait(t.Context(), "default"); err != nil {
		t.Error(err)
	}
	if err := client.Run(ctx, mux, pawl.RunnerConfig{}); err != nil {
		t.Error(err)
	}
	if err := client.Wait(ctx, "default"); err == nil {
		t.Error("Wait on an empty queue returned nil with its context ended")
	}
}

const hour = 60 * time.Minute

// asleep waits until n keys are held by sleepers: runners and waiters that want to be woken.
func asleep(t testing.TB, pool *pgxpool.Pool, n int) {
	t.Helper()
	pgtest.Wait(t, "somebody to sleep", func() bool {
		return value[int](t, pool, `select count(*) from pg_locks where locktype = 'advisory' and mode = 'ShareLock' and granted
			and database = (select oid from pg_database where datname = current_database())`) == n
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// must1 is for verbs that say how many.
func must1(t testing.TB, want int64) func(n int64, err error) {
	return func(n int64, err error) {
		t.Helper()
		if err != nil || n != want {
			t.Fatalf("changed %d (%v), want %d", n, err, want)
		}
	}
}
