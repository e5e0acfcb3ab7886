package pawl_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// A claim is shared between the channels. It does not read all ready jobs.
func TestFault06AClaimIsSharedBetweenChannels(t *testing.T) {
	t.Parallel()
	t.Run("every channel has its share of one claim", func(t *testing.T) {
		t.Parallel()
		client, _ := install(t)
		var jobs []pawl.JobSpec
		for i := range 500 {
			jobs = append(jobs, pawl.JobSpec{Args: Note{i}, Channel: "a large one"})
		}
		for i := range 7 {
			for j := range 20 {
				jobs = append(jobs, pawl.JobSpec{Args: Note{j}, Channel: fmt.Sprint("small ", i)})
			}
		}
		_, err := client.InsertMany(t.Context(), jobs)
		must(t, err)
		shares := map[string]int{}
		for _, job := range claim(t, client, 32) {
			shares[job.Channel]++
		}
		if len(shares) != 8 || shares["a large one"] != 4 {
			t.Errorf("32 places of 8 channels went %v, want 4 each", shares)
		}
	})
	t.Run("a claim reads what it takes", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		jobs := notes(20_000)
		for i := range jobs {
			jobs[i].Channel = fmt.Sprint(i % 10)
		}
		_, err := client.InsertMany(t.Context(), jobs)
		must(t, err)
		tx := begin(t, pool)
		read := func() int {
			return value[int](t, tx, `select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::int from
				pg_stat_xact_user_tables where schemaname = 'pawl' and relname in ('ready', 'job')`)
		}
		before := read()
		claimed, err := client.With(tx).Claim(t.Context(), "default", 20, time.Minute)
		must(t, err)
		if n := read() - before; len(claimed) != 20 || n > 300 {
			t.Errorf("a claim of %d among %d read %d rows", len(claimed), len(jobs), n)
		}
	})
}

// statementCounter counts the statements of a client and of its runners.
type statementCounter struct{ statements atomic.Int64 }

func (c *statementCounter) TraceQueryStart(ctx context.Context, _ *pgx.Conn,
	_ pgx.TraceQueryStartData) context.Context {
	c.statements.Add(1)
	return ctx
}

func (c *statementCounter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// A runner or consumer does not ask in a busy loop for a job that it cannot get. It gets the job soon after it is
// available.
func TestFault07WaitingIsNoBusyLoop(t *testing.T) {
	t.Parallel()
	traced := func(t *testing.T) (*pawl.Client, *pgxpool.Pool, *statementCounter) {
		url := pgtest.Database(t)
		_, pool := connect(t, url)
		count := &statementCounter{}
		mine := pgtest.Pool(t, url, func(c *pgxpool.Config) { c.MaxConns, c.ConnConfig.Tracer = 8, count })
		client, err := pawl.New(mine, pawl.Config{ListenURL: pgtest.Direct(t, url),
			Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
		must(t, err)
		return client, pool, count
	}
	const calm = 150 // Statements a second; a hot loop has thousands.
	for name, hinder := range map[string]struct {
		spec  pawl.JobSpec
		setUp func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) (release func())
	}{
		"ready, and another poller has it": {pawl.JobSpec{Args: Note{1}},
			func(t *testing.T, _ *pawl.Client, pool *pgxpool.Pool) func() {
				tx := begin(t, pool)
				exec(t, tx, "select from pawl.ready for update")
				return func() { must(t, tx.Rollback(t.Context())) }
			}},
		"long due, and another poller has it": {pawl.JobSpec{Args: Note{1}, Delay: time.Hour},
			func(t *testing.T, _ *pawl.Client, pool *pgxpool.Pool) func() {
				exec(t, pool, "update pawl.scheduled set run_at = clock_timestamp() - interval '1 hour'")
				exec(t, pool, "update pawl.job j set run_at = s.run_at from pawl.scheduled s where s.job_id = j.id")
				tx := begin(t, pool)
				exec(t, tx, "select from pawl.scheduled for update")
				return func() { must(t, tx.Rollback(t.Context())) }
			}},
		"ready, and over its queue's limit": {pawl.JobSpec{Args: Note{1}},
			func(t *testing.T, client *pawl.Client, _ *pgxpool.Pool) func() {
				must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "default", MaxRunning: 1}))
				claimed := claim(t, client, 1)
				insert(t, client, Note{2})
				return func() { must(t, client.Complete(t.Context(), claimed)) }
			}},
	} {
		t.Run("a runner: "+name, func(t *testing.T) {
			t.Parallel()
			client, pool, count := traced(t)
			insert(t, client, hinder.spec)
			release := hinder.setUp(t, client, pool)
			g, mux := newGate(), new(pawl.Mux)
			close(g.leave)
			pawl.Handle(mux, g.handle)
			start(t, client, mux, pawl.RunnerConfig{PollInterval: 200 * time.Millisecond, NoMaintenance: true})
			awaitSleepers(t, pool, 1)
			before := count.statements.Load()
			exec(t, pool, "select pg_sleep(1)")
			if n := count.statements.Load() - before; n > calm {
				t.Errorf("%d statements in a second with nothing to be had", n)
			}
			release()
			receive(t, "the job when it can be had", g.running)
		})
		t.Run("a consumer: "+name, func(t *testing.T) {
			t.Parallel()
			client, pool, count := traced(t)
			insert(t, client, hinder.spec)
			release := hinder.setUp(t, client, pool)
			got := make(chan pawl.Jobs, 1)
			ctx, stop := context.WithCancel(t.Context())
			var consuming sync.WaitGroup
			defer consuming.Wait()
			defer stop()
			consuming.Go(func() {
				for ctx.Err() == nil {
					if err := client.Wait(ctx, "default"); err != nil {
						if ctx.Err() == nil {
							t.Errorf("Wait: %v", err)
						}
						return
					}
					if jobs, err := client.Claim(ctx, "default", 1, time.Minute); len(jobs) > 0 || err != nil {
						got <- jobs
						return
					}
				}
			})
			pgtest.Wait(t, "the consumer to be at it", func() bool { return count.statements.Load() > 10 })
			before := count.statements.Load()
			exec(t, pool, "select pg_sleep(1)")
			if n := count.statements.Load() - before; n > calm {
				t.Errorf("%d statements in a second with nothing to be had", n)
			}
			release()
			if jobs := receive(t, "the job when it can be had", got); len(jobs) != 1 {
				t.Errorf("claimed %d", len(jobs))
			}
		})
	}
}
