package pawl_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// TestRollingUpgrade upgrades while a kept version's producers and workers are at work, on jobs of every state.
// This binary migrates to its own schema or to a made-up next one, and works beside them. Then the old ones leave.
// No job is lost, none runs twice, and ordered channels keep their order.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	for _, version := range frozenVersions(t) {
		for _, next := range []bool{false, true} {
			t.Run(fmt.Sprintf("from %d, next %t", version, next), func(t *testing.T) {
				t.Parallel()
				roll(t, version, next)
			})
		}
	}
}

func roll(t *testing.T, version int, next bool) {
	url := keptSchema(t, version)
	pool := pgtest.Pool(t, url, func(c *pgxpool.Config) { c.MaxConns = 12 })
	exec(t, pool, effects)
	f := &fleet{ledger: &ledger{t: t, pool: pool, due: map[int]string{}}, texts: frozenStatements(t, version)}
	f.partitions()
	l := f.fill()

	oldOnes, retire := context.WithCancel(t.Context())
	defer retire()
	var all sync.WaitGroup
	defer all.Wait()
	defer retire()
	for i := range 2 {
		all.Go(func() { f.produce(oldOnes) })
		all.Go(func() {
			if err := f.work(oldOnes, fmt.Sprint("old ", i)); err != nil {
				t.Errorf("an old worker: %v", err)
			}
		})
	}
	f.process(oldOnes, &all, version)
	done := func() int { return value[int](t, pool, "select count(*) from effect") }
	pgtest.Wait(t, "the old ones to be at work", func() bool { return done() > 100 })

	client, err := pawl.New(pool, pawl.Config{Logger: slog.New(slog.NewTextHandler(t.Output(),
		&slog.HandlerOptions{Level: slog.LevelWarn}))})
	must(t, err)
	must(t, client.Migrate(t.Context()))
	if next {
		migrateTo(t, url, nextRelease(t))
	}
	between := done()

	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Work]) error {
		if job.Attempt <= job.Args.Fail {
			return pawl.RetryAfter(10*time.Millisecond, errBoom)
		}
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, writeEffect, job.Args.N, int64(job.ID), lane(job.Queue, job.Channel), "new"); err != nil {
				return err
			}
			return client.With(tx).Complete(ctx, job)
		})
	})
	stop := start(t, client, mux, pawl.RunnerConfig{Min: 4, Max: 8, Heartbeat: time.Second,
		OnFailure: func(_ context.Context, job *pawl.JobInfo, err error, _ bool) {
			if strings.Contains(err.Error(), "effect_pkey") {
				t.Errorf("job %d ran twice: %v", job.ID, err)
			}
		}})
	var produced sync.WaitGroup
	producing, enough := context.WithCancel(t.Context())
	defer enough()
	for range 2 {
		produced.Go(func() {
			for i := 0; producing.Err() == nil; i++ {
				one, two := f.next(), f.next()
				results, err := client.InsertMany(context.WithoutCancel(producing), []pawl.JobSpec{
					{Args: Work{N: one, Fail: i % 2}, Queue: "plain"},
					{Args: Work{N: two}, Queue: "ordered", Channel: fmt.Sprint("line ", i%3), Ordered: true},
				})
				if err != nil || len(results) != 2 {
					t.Errorf("a new producer: %v", err)
					return
				}
				f.accept("new", one, two)
			}
		})
	}
	by := func(who string) int { return value[int](t, pool, "select count(*) from effect where by like $1", who) }
	before := by("old%")
	pgtest.Wait(t, "old and new workers to work side by side", func() bool {
		return by("new") > 200 && by("old%") > before+100
	})
	enough()
	produced.Wait()
	retire()
	all.Wait()
	t.Logf("%d done before, %d by the new one, %d by the old ones", between, by("new"), by("old%"))

	// The new binary changes the jobs that the old one left waiting for a call.
	must(t, client.CommitReserved(t.Context(), pawl.ID(l.reserved)))
	must(t, client.AbortReserved(t.Context(), pawl.ID(l.abort)))
	wantCount(t, 4)(client.Retry(t.Context(), pawl.Filter{IDs: []pawl.ID{pawl.ID(l.far), pawl.ID(l.dead),
		pawl.ID(l.cancelled), pawl.ID(l.unique)}}))
	must(t, client.ResumeChannel(t.Context(), "halting", ""))
	if job, err := client.Get(t.Context(), pawl.ID(l.completed)); err != nil || job.State != pawlstate.Completed {
		t.Errorf("the job that was completed: %+v, %v", job, err)
	}
	for left := liveRows(t, pool); left > 0; { // There may be thousands.
		was := left
		pgtest.Wait(t, fmt.Sprintf("any of the last %d to be done", was),
			func() bool { left = liveRows(t, pool); return left < was })
	}
	must(t, stop())

	if b, err := client.GetBatch(t.Context(), pawl.ID(l.batch)); err != nil || b.Completed != 1 {
		t.Errorf("the batch: %+v, %v", b, err)
	}
	if os.Getenv(envOldBinaries) != "" {
		f.accept("old binary", values[int](t, pool, "select n from accepted")...)
		t.Logf("%d jobs of the old binary's, %d done by it", value[int](t, pool, "select count(*) from accepted"),
			by("old binary"))
	}
	got := map[int]bool{}
	for _, n := range values[int](t, pool, "select n from effect") {
		got[n] = true
	}
	for n, who := range f.due {
		if !got[n] {
			t.Errorf("job %d (%s) is lost", n, who)
		}
		delete(got, n)
	}
	if len(got) > 0 {
		t.Errorf("done, and not inserted: %v", slices.Sorted(maps.Keys(got)))
	}
	if wrong := values[string](t, pool, `select format('%s: job %s after %s', lane, job, before)
		from (select lane, job, lag(job) over (partition by lane order by at) as before
			from effect where lane like 'ordered %') e
		where job < before`); len(wrong) > 0 {
		t.Errorf("out of order: %v", wrong)
	}
	if n := value[int](t, pool, "select count(*) from effect where lane like 'ordered %'"); n < 50 {
		t.Errorf("only %d ordered jobs: the test shows little", n)
	}
	checkInvariant(t, client)
	must(t, client.Retain(t.Context()))
}

// TestInsertsWakeSleepersOfBothVersions checks that an insert of either version wakes sessions of the other that wait
// for jobs.
func TestInsertsWakeSleepersOfBothVersions(t *testing.T) {
	pgtest.NotHostile(t, "the version before did not work there")
	t.Parallel()
	for _, version := range frozenVersions(t) {
		client, pool := install(t, withListen)
		f := &fleet{ledger: &ledger{t: t, pool: pool, due: map[int]string{}}, texts: frozenStatements(t, version)}
		listener := connectTo(t, pgtest.Direct(t, pool.Config().ConnString()))
		exec(t, listener, f.find(`listen "pawl.wake`).text)
		_, err := f.say(t.Context(), listener, "select count(pg_advisory_lock_shared(pawl.sleep_key(",
			[]string{"default"}, int32(listener.PgConn().PID()))
		must(t, err)
		insert(t, client, Note{1})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if n, err := listener.WaitForNotification(ctx); err != nil || n.Payload != "default" {
			t.Errorf("the waiting session of the old version received %v, %v", n, err)
		}
		exec(t, listener, "select pg_advisory_unlock_all()")

		claim(t, client, 1)
		woken := make(chan error, 1)
		go func() { woken <- client.Wait(ctx, "plain") }()
		awaitSleepers(t, pool, 1)
		_, err = f.insert(t.Context(), "plain", "", 0, nil, Work{N: f.next()})
		must(t, err)
		if n, err := listener.WaitForNotification(ctx); err != nil || n.Payload != "plain" {
			t.Errorf("the insert of the old version sent %v, %v", n, err)
		}
		must(t, <-woken)
	}
}

// process runs the program of the kept version, if it was built, until ctx ends.
func (f *fleet) process(ctx context.Context, all *sync.WaitGroup, version int) {
	dir := os.Getenv(envOldBinaries)
	if dir == "" {
		return
	}
	exec(f.t, f.pool, "create table accepted (n integer primary key)")
	process := osexec.CommandContext(ctx, filepath.Join(dir, fmt.Sprintf("%04d", version)), f.pool.Config().ConnString())
	process.Cancel = func() error { return process.Process.Signal(syscall.SIGTERM) }
	process.WaitDelay = 30 * time.Second
	process.Stdout, process.Stderr = f.t.Output(), f.t.Output()
	all.Go(func() {
		if err := process.Run(); err != nil && ctx.Err() == nil {
			f.t.Errorf("the old binary: %v", err)
		} else if code := process.ProcessState.ExitCode(); code != 0 {
			f.t.Errorf("the old binary ended with %d", code)
		}
	})
}

// envOldBinaries is the environment variable with the folder of the kept versions' programs, named by number: see
// `make upgrade`.
const envOldBinaries = "PAWL_OLD_BINARIES"
