package pawl_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/pawlhq/pawl/sql"
)

// The faults of four job queues in Rust, each with a test that fails where Pawl has it. docs/seeds.md tells whose they are.

// A transaction with effects completes a job of which its holder has lost the lease: it is told, or else the effects happen twice.
func TestTrap01ExactlyOnceIsNotFenced(t *testing.T) {
	t.Parallel()
	work := func(t *testing.T, client *pawl.Client, tx pgx.Tx, jobs pawl.Jobs) error {
		exec(t, tx, "insert into effect values (1)")
		return client.With(tx).Complete(t.Context(), jobs)
	}
	effects := func(t *testing.T, pool *pgxpool.Pool, want int) {
		t.Helper()
		if n := value[int](t, pool, "select count(*) from effect"); n != want {
			t.Errorf("%d effects, want %d", n, want)
		}
	}
	t.Run("after the redelivery", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		exec(t, pool, "create table effect (n int)")
		insert(t, client, Note{1})
		stale := claim(t, client, 1)
		expire(t, pool)
		fresh := claim(t, client, 1)
		for _, test := range []struct {
			jobs pawl.Jobs
			want error
		}{{stale, pawl.ErrLeaseLost}, {fresh, nil}, {fresh, pawl.ErrLeaseLost}} {
			tx := begin(t, pool)
			err := work(t, client, tx, test.jobs)
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if err != nil {
				must(t, tx.Rollback(t.Context()))
			} else {
				commit(t, tx)
			}
		}
		effects(t, pool, 1)
	})
	// Two at once: the second waits for the first, and then for nothing more.
	for name, commits := range map[string]bool{"the first commits": true, "the first rolls back": false} {
		t.Run("side by side, "+name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			exec(t, pool, "create table effect (n int)")
			insert(t, client, Note{1})
			jobs := claim(t, client, 1)
			first, second := begin(t, pool), begin(t, pool)
			must(t, work(t, client, first, jobs))
			answer := make(chan error, 1)
			exec(t, second, "insert into effect values (1)")
			go func() { answer <- client.With(second).Complete(t.Context(), jobs) }()
			blocked(t, pool, 1)
			if commits {
				commit(t, first)
				if err := within(t, "the second", answer); !errors.Is(err, pawl.ErrLeaseLost) {
					t.Errorf("the second completed it too: %v", err)
				}
				must(t, second.Rollback(t.Context()))
			} else {
				must(t, first.Rollback(t.Context()))
				must(t, within(t, "the second", answer))
				commit(t, second)
			}
			effects(t, pool, 1)
		})
	}
}

// How soon a crash is noticed depends on how long the job has run; a keep-alive comes too late or not at all; one error ends it.
func TestTrap02KeepAliveDoublesForEver(t *testing.T) {
	t.Parallel()
	t.Run("a crash after ten hours of work is noticed as soon as one after a second", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		id := insert(t, client, Note{1})
		worker := value[int64](t, pool, "select pawl.register_worker('w', 'h', 1, 'v', null, '300 milliseconds')")
		if got := claimTickets(t, pool, aLease, &worker, 1); len(got) != 1 {
			t.Fatal("nothing was claimed")
		}
		exec(t, pool, "update pawl.worker set started_at = started_at - interval '10 hours'")
		exec(t, pool, "update pawl.job set created_at = created_at - interval '11 hours', run_at = clock_timestamp() - interval '10 hours'")
		for range 20 { // Many renewals. The next silence is no longer for it.
			exec(t, pool, "select pawl.heartbeat($1, 1, array[id], array[epoch]) from pawl.job", worker)
		}
		silent := time.Now()
		pgtest.Wait(t, "the rescue", func() bool {
			return value[int](t, pool, "select jobs::int from pawl.rescue(100, true, true)") == 1
		})
		if d := time.Since(silent); d > 5*time.Second {
			t.Errorf("it took %v to notice", d)
		}
		if got := claim(t, client, 1); got[0].ID != id {
			t.Errorf("claimed %d", got[0].ID)
		}
	})
	t.Run("a short backoff and a pool whose every connection the handlers hold", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		var ran atomic.Int64
		most := int(pool.Config().MaxConns)
		running := make(chan struct{}, 100)
		mux := new(pawl.Mux)
		pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
			ran.Add(1)
			conn, err := pool.Acquire(ctx)
			if err != nil {
				return err
			}
			defer conn.Release()
			running <- struct{}{}
			_, err = conn.Exec(ctx, "select pg_sleep(2)") // Several times as long as a worker may be silent.
			return err
		})
		jobs := notes(most)
		for i := range jobs {
			jobs[i].Backoff = pawl.Backoff{Base: time.Millisecond, Growth: 1}
		}
		results, err := client.InsertMany(t.Context(), jobs)
		must(t, err)
		start(t, client, mux, pawl.RunnerConfig{Min: most, Heartbeat: 150 * time.Millisecond}) // It rescues, too.
		for range most {
			within(t, "all connections to be held", running)
		}
		for _, r := range results {
			if job := await(t, client, r.ID, pawlstate.Completed); job.Attempt != 1 || len(job.Errors) > 0 {
				t.Errorf("attempt %d, errors %v", job.Attempt, job.Errors)
			}
		}
		if n := ran.Load(); n != int64(most) {
			t.Errorf("%d runs of %d jobs", n, most)
		}
	})
	t.Run("errors of the database between heartbeats", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		text, err := sql.Files.ReadFile("function/worker/heartbeat.sql")
		must(t, err)
		exec(t, pool, "create sequence pawl.beats")
		exec(t, pool, strings.Replace(string(text), "\nbegin\n", "\nbegin if nextval('pawl.beats') % 2 = 0 then raise exception 'no'; end if;\n", 1))
		g, mux := newGate(), new(pawl.Mux)
		pawl.Handle(mux, g.handle)
		id := insert(t, client, Note{1})
		start(t, client, mux, pawl.RunnerConfig{Heartbeat: 400 * time.Millisecond})
		within(t, "the job", g.running)
		pgtest.Wait(t, "heartbeats after those that failed", func() bool { return value[int](t, pool, "select last_value::int from pawl.beats") >= 9 })
		close(g.leave)
		if job := await(t, client, id, pawlstate.Completed); job.Attempt != 1 {
			t.Errorf("attempt %d", job.Attempt)
		}
		if n := len(g.running); n != 0 {
			t.Errorf("it was started %d times more", n)
		}
	})
}

// The last attempt is one like the others: extended, checkpointed, redelivered when its holder dies, and over when it fails.
func TestTrap03LastAttempt(t *testing.T) {
	t.Parallel()
	last := func(t *testing.T) (*pawl.Client, *pgxpool.Pool, *pawl.JobInfo) {
		client, pool := install(t)
		insert(t, client, pawl.JobSpec{Args: Note{1}, MaxAttempts: 1})
		return client, pool, claim(t, client, 1)[0]
	}
	t.Run("its holder dies", func(t *testing.T) {
		t.Parallel()
		client, pool, job := last(t)
		expire(t, pool)
		again := claim(t, client, 1)[0]
		if again.ID != job.ID || again.Attempt != 1 || again.MaxAttempts != 1 {
			t.Errorf("claimed attempt %d of %d of job %d", again.Attempt, again.MaxAttempts, again.ID)
		}
		must(t, client.Complete(t.Context(), again))
	})
	t.Run("it is kept alive", func(t *testing.T) {
		t.Parallel()
		client, pool, job := last(t)
		must(t, client.Extend(t.Context(), job, time.Hour))
		exec(t, pool, "update pawl.lease set expires_at = expires_at - interval '10 minutes'") // Beyond the claim's 30 s.
		exec(t, pool, "select * from pawl.rescue(100, true, true)")
		must(t, client.Complete(t.Context(), job))
	})
	t.Run("a checkpoint lets nobody else have it", func(t *testing.T) {
		t.Parallel()
		client, pool, job := last(t)
		must(t, client.Checkpoint(t.Context(), job, pawl.Checkpoint{Value: 1, Extend: time.Minute}))
		elapse(t, pool)
		exec(t, pool, "select * from pawl.rescue(100, true, true)")
		if jobs := claimAll(t, client); len(jobs) != 0 {
			t.Errorf("claimed %d while it runs", len(jobs))
		}
		must(t, client.Fail(t.Context(), job, errBoom))
		await(t, client, job.ID, pawlstate.Dead)
	})
	t.Run("attempts do not go below none", func(t *testing.T) {
		t.Parallel()
		client, pool, job := last(t)
		must(t, client.Checkpoint(t.Context(), job, pawl.Checkpoint{Value: 1, Attempts: 2}))
		runs := 1
		for ; runs < 10; runs++ {
			must(t, client.Checkpoint(t.Context(), job, pawl.Checkpoint{Value: runs, Extend: time.Minute}))
			must(t, client.Fail(t.Context(), job, pawl.RetryAfter(0, errBoom)))
			elapse(t, pool)
			jobs := claimAll(t, client)
			if len(jobs) == 0 {
				break
			}
			job = jobs[0]
		}
		if runs != 3 {
			t.Errorf("%d runs, want 3: one, and two that a checkpoint added", runs)
		}
		await(t, client, job.ID, pawlstate.Dead)
	})
}

// An insert in two phases: who expires it, who hears of the commit, and what a commit that comes too late says.
func TestTrap04TwoPhase(t *testing.T) {
	t.Parallel()
	reserve := func(t *testing.T, client *pawl.Client) pawl.ID {
		return insert(t, client, pawl.JobSpec{Args: Note{1}, Reserve: time.Minute})
	}
	past := func(t *testing.T, pool *pgxpool.Pool) {
		exec(t, pool, "update pawl.blocked set expires_at = clock_timestamp() - interval '1 millisecond'")
	}
	t.Run("a commit too late is an error though nobody has looked", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		id := reserve(t, client)
		past(t, pool)
		if err := client.CommitReserved(t.Context(), id); !errors.Is(err, pawl.ErrExpired) {
			t.Errorf("got %v, want ErrExpired", err)
		}
		if err := client.CommitReserved(t.Context(), 999); !errors.Is(err, pawl.ErrExpired) {
			t.Errorf("of an unknown id: %v, want ErrExpired", err)
		}
		if jobs := claimAll(t, client); len(jobs) != 0 {
			t.Errorf("claimed %d", len(jobs))
		}
	})
	t.Run("it expires though no runner takes its queue", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		id := reserve(t, client)
		past(t, pool)
		ctx, stop := context.WithCancel(t.Context())
		var tending sync.WaitGroup
		tending.Go(func() { client.Maintain(ctx) })
		pgtest.Wait(t, "the reservation to go", func() bool { _, err := client.Get(t.Context(), id); return errors.Is(err, pawl.ErrNotFound) })
		stop()
		tending.Wait()
	})
	t.Run("a commit wakes", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t, listens)
		g, mux := newGate(), new(pawl.Mux)
		close(g.leave)
		pawl.Handle(mux, g.handle)
		start(t, client, mux, pawl.RunnerConfig{PollInterval: hour, NoMaintenance: true})
		asleep(t, pool, 1)
		id := reserve(t, client)
		asleep(t, pool, 1)
		must(t, client.CommitReserved(t.Context(), id))
		within(t, "the job", g.running)
	})
	t.Run("a commit that returned nil is not lost to an expiry beside it", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		id := reserve(t, client)
		exec(t, pool, "update pawl.blocked set expires_at = clock_timestamp() + interval '300 milliseconds'")
		tx := begin(t, pool)
		must(t, client.With(tx).CommitReserved(t.Context(), id)) // In time; and then its transaction takes longer.
		pgtest.Wait(t, "its time to pass", func() bool { return value[bool](t, pool, "select expires_at < clock_timestamp() from pawl.blocked") })
		if n := value[int](t, pool, "select pawl.expire(100)::int"); n != 0 {
			t.Errorf("%d jobs that were committed are expired", n)
		}
		commit(t, tx)
		exec(t, pool, "select pawl.expire(100)")
		if got := claim(t, client, 1); got[0].ID != id {
			t.Errorf("claimed %d", got[0].ID)
		}
	})
	t.Run("an expiry at work refuses the commit", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		id := reserve(t, client)
		past(t, pool)
		tx := begin(t, pool)
		if n := value[int](t, tx, "select pawl.expire(100)::int"); n != 1 {
			t.Fatalf("expired %d", n)
		}
		answer := make(chan error, 1)
		go func() { answer <- client.CommitReserved(t.Context(), id) }()
		blocked(t, pool, 1)
		commit(t, tx)
		if err := within(t, "the commit", answer); !errors.Is(err, pawl.ErrExpired) {
			t.Errorf("got %v, want ErrExpired", err)
		}
	})
}

// Ordered channels: the dead head, one taken from the middle, senders beside each other, the order of a batch.
func TestTrap05OrderedChains(t *testing.T) {
	t.Parallel()
	t.Run("a dead head does not block", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		spec := ordered("c", 0)
		spec.MaxAttempts = 1
		insert(t, client, spec)
		insert(t, client, ordered("c", 1))
		must(t, client.Fail(t.Context(), claim(t, client, 1), errBoom))
		runFollowups(t, pool)
		if got := numbers(t, claimAll(t, client)); !slices.Equal(got, []int{1}) {
			t.Errorf("claimed %v behind a dead head", got)
		}
	})
	t.Run("any may be taken from the middle", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		var ids []pawl.ID
		for i := range 6 {
			ids = append(ids, insert(t, client, ordered("c", i)))
		}
		head := claim(t, client, 1)
		must1(t, 1)(client.Delete(t.Context(), ids[1]))
		must1(t, 1)(client.Cancel(t.Context(), ids[3]))
		must1(t, 1)(client.Delete(t.Context(), ids[4]))
		runFollowups(t, pool)
		if jobs := claimAll(t, client); len(jobs) != 0 {
			t.Errorf("claimed %v beside the head", numbers(t, jobs))
		}
		var order []int
		for {
			order = append(order, numbers(t, head)...)
			must(t, client.Complete(t.Context(), head))
			runFollowups(t, pool)
			if head = claimAll(t, client); len(head) == 0 {
				break
			}
		}
		if !slices.Equal(order, []int{0, 2, 5}) {
			t.Errorf("they ran as %v", order)
		}
	})
	t.Run("senders at once, and heads that end meanwhile, need not try again", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		var all sync.WaitGroup
		for s := range 6 {
			all.Go(func() {
				for i := range 10 {
					tx, err := pool.Begin(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					for j := range 2 {
						if _, err := client.With(tx).Insert(t.Context(), ordered("c", 100*s+10*i+j)); err != nil {
							t.Errorf("insert: %v", err)
						}
					}
					if err := tx.Commit(t.Context()); err != nil {
						t.Errorf("commit: %v", err)
					}
				}
			})
		}
		done := 0
		pgtest.Wait(t, "all jobs", func() bool {
			jobs, err := client.Claim(t.Context(), "default", 10, time.Minute)
			if err != nil || len(jobs) > 1 {
				t.Fatalf("claimed %d of one channel at once, %v", len(jobs), err)
			}
			must(t, client.Complete(t.Context(), jobs))
			runFollowups(t, pool)
			done += len(jobs)
			return done == 120
		})
		all.Wait()
	})
	t.Run("a batch runs in the order in which it was given", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		want := []int{7, 3, 9, 1, 8, 2, 6}
		var specs []pawl.JobSpec
		for _, n := range want {
			specs = append(specs, ordered("c", n))
		}
		_, err := client.InsertMany(t.Context(), specs)
		must(t, err)
		var got []int
		for range want {
			jobs := claim(t, client, 10)
			got = append(got, numbers(t, jobs)...)
			must(t, client.Complete(t.Context(), jobs))
			runFollowups(t, pool)
		}
		if !slices.Equal(got, want) {
			t.Errorf("they ran as %v, want %v", got, want)
		}
	})
}

// One channel may fill a whole claim; a claim reads all that is ready.
func TestTrap06FairnessIsPerPoll(t *testing.T) {
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
			return value[int](t, tx, `select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::int from pg_stat_xact_user_tables where schemaname = 'pawl' and relname in ('ready', 'job')`)
		}
		before := read()
		claimed, err := client.With(tx).Claim(t.Context(), "default", 20, time.Minute)
		must(t, err)
		if n := read() - before; len(claimed) != 20 || n > 300 {
			t.Errorf("a claim of %d among %d read %d rows", len(claimed), len(jobs), n)
		}
	})
}

// counting counts the statements of a client's connections and a runner's, which are made alike.
type counting struct{ statements atomic.Int64 }

func (c *counting) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.statements.Add(1)
	return ctx
}

func (c *counting) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// What is due and cannot be had must not be asked for in a hot loop; and nobody sleeps through what comes.
func TestTrap07WaitTime(t *testing.T) {
	t.Parallel()
	traced := func(t *testing.T) (*pawl.Client, *pgxpool.Pool, *counting) {
		url := pgtest.Database(t)
		_, pool := connect(t, url)
		count := &counting{}
		mine := pgtest.Pool(t, url, func(c *pgxpool.Config) { c.MaxConns, c.ConnConfig.Tracer = 8, count })
		client, err := pawl.New(mine, pawl.Config{ListenURL: pgtest.Direct(t, url), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
		must(t, err)
		return client, pool, count
	}
	const calm = 150 // Statements a second; a hot loop has thousands.
	for name, hinder := range map[string]struct {
		spec  pawl.JobSpec
		setUp func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) (release func())
	}{
		"ready, and another poller has it": {pawl.JobSpec{Args: Note{1}}, func(t *testing.T, _ *pawl.Client, pool *pgxpool.Pool) func() {
			tx := begin(t, pool)
			exec(t, tx, "select from pawl.ready for update")
			return func() { must(t, tx.Rollback(t.Context())) }
		}},
		"long due, and another poller has it": {pawl.JobSpec{Args: Note{1}, Delay: time.Hour}, func(t *testing.T, _ *pawl.Client, pool *pgxpool.Pool) func() {
			exec(t, pool, "update pawl.scheduled set run_at = clock_timestamp() - interval '1 hour'")
			exec(t, pool, "update pawl.job j set run_at = s.run_at from pawl.scheduled s where s.job_id = j.id")
			tx := begin(t, pool)
			exec(t, tx, "select from pawl.scheduled for update")
			return func() { must(t, tx.Rollback(t.Context())) }
		}},
		"ready, and over its queue's limit": {pawl.JobSpec{Args: Note{1}}, func(t *testing.T, client *pawl.Client, _ *pgxpool.Pool) func() {
			must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "default", MaxRunning: 1}))
			held := claim(t, client, 1)
			insert(t, client, Note{2})
			return func() { must(t, client.Complete(t.Context(), held)) }
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
			asleep(t, pool, 1)
			before := count.statements.Load()
			exec(t, pool, "select pg_sleep(1)")
			if n := count.statements.Load() - before; n > calm {
				t.Errorf("%d statements in a second with nothing to be had", n)
			}
			release()
			within(t, "the job when it can be had", g.running)
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
			if jobs := within(t, "the job when it can be had", got); len(jobs) != 1 {
				t.Errorf("claimed %d", len(jobs))
			}
		})
	}
}

// A process that does not know a kind leaves its jobs to those that do.
func TestTrap08UnknownJobs(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	var ids []pawl.ID
	for range 5 {
		ids = append(ids, insert(t, client, pawl.JobSpec{Args: pawl.Raw("foreign", nil), MaxAttempts: 1}))
	}
	stranger := new(pawl.Mux)
	pawl.Handle(stranger, newGate().handle)
	stop := start(t, client, stranger, pawl.RunnerConfig{})
	for range 3 { // Again and again.
		for _, id := range ids {
			await(t, client, id, pawlstate.Scheduled)
		}
		elapse(t, pool)
		pgtest.Wait(t, "the stranger to give them back", func() bool {
			return value[int](t, pool, "select count(*) from pawl.scheduled where run_at > clock_timestamp() + interval '30 seconds'") == len(ids)
		})
	}
	must(t, stop())
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[pawl.RawArgs]) error { return nil }, pawl.KindOptions{Kind: "foreign"})
	start(t, client, mux, pawl.RunnerConfig{})
	elapse(t, pool)
	for _, id := range ids {
		if job := await(t, client, id, pawlstate.Completed); job.Attempt != 1 || len(job.Errors) != 0 {
			t.Errorf("attempt %d, errors %v; want the first and none", job.Attempt, job.Errors)
		}
	}
}

// An expired lease is redelivered without an administrator; the dead are those that were run; a dead one can be replayed.
func TestTrap09VisibilityTimeout(t *testing.T) {
	t.Parallel()
	t.Run("expiry redelivers by itself", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		id := insert(t, client, Note{1})
		claim(t, client, 1)
		exec(t, pool, "update pawl.lease set expires_at = clock_timestamp() - interval '1 millisecond'")
		other, err := pawl.New(pool, pawl.Config{})
		must(t, err)
		if got := claim(t, other, 1); got[0].ID != id {
			t.Errorf("claimed %d", got[0].ID)
		}
	})
	t.Run("the dead were run, and are replayed whole", func(t *testing.T) {
		t.Parallel()
		client, _ := install(t)
		id := insert(t, client, pawl.JobSpec{Args: Note{7}, Data: []byte("d"), MaxAttempts: 2, Headers: map[string]string{"k": "v"}})
		for range 2 {
			must(t, client.Fail(t.Context(), claim(t, client, 1), pawl.RetryAfter(0, errBoom)))
		}
		if job := await(t, client, id, pawlstate.Dead); job.Attempt != 2 || len(job.Errors) != 2 || job.Reason != "attempts" || job.FinishedAt.IsZero() {
			t.Errorf("dead, it is %+v", job)
		}
		must1(t, 1)(client.Retry(t.Context(), id))
		again := claim(t, client, 1)[0]
		if again.ID != id || note(t, again).N != 7 || string(again.Data) != "d" || again.Headers["k"] != "v" || again.Attempt != 3 {
			t.Errorf("replayed, it is %+v", again)
		}
		must(t, client.Complete(t.Context(), again))
		await(t, client, id, pawlstate.Completed)
	})
	t.Run("a delayed job is not a held one", func(t *testing.T) {
		t.Parallel()
		client, _ := install(t)
		delayed, held := insert(t, client, pawl.JobSpec{Args: Note{1}, Delay: time.Hour}), insert(t, client, Note{2})
		claim(t, client, 1)
		await(t, client, delayed, pawlstate.Scheduled)
		await(t, client, held, pawlstate.Running)
	})
	t.Run("figures", func(t *testing.T) {
		t.Parallel()
		client, _ := install(t)
		if stats, err := client.Stats(t.Context()); err != nil || len(stats.Queues) != 0 {
			t.Errorf("of nothing: %+v, %v", stats, err)
		}
		insert(t, client, pawl.JobSpec{Args: Note{0}, Delay: time.Hour})
		insert(t, client, Note{1})
		must(t, client.Fail(t.Context(), claim(t, client, 1), pawl.Dead(errBoom)))
		insert(t, client, Note{2})
		claim(t, client, 1)
		insert(t, client, Note{3})
		stats, err := client.Stats(t.Context())
		must(t, err)
		if len(stats.Queues) != 1 {
			t.Fatalf("figures of %d queues", len(stats.Queues))
		}
		if q := stats.Queues[0]; q.Scheduled != 1 || q.Ready != 1 || q.Running != 1 || q.Dead != 1 {
			t.Errorf("%+v, want one delayed, one ready, one held, one dead", q)
		}
		jobs, err := client.List(t.Context(), pawl.Filter{States: []pawlstate.State{pawlstate.Dead}})
		must(t, err)
		if got := numbers(t, jobs); !slices.Equal(got, []int{1}) {
			t.Errorf("the dead are %v", got)
		}
	})
}

// A default bounds how many may be inserted at once; what an error says to wait is made up.
func TestTrap10DefaultBurst(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	const many = 3000
	results, err := client.InsertMany(t.Context(), notes(many))
	if err != nil || len(results) != many {
		t.Errorf("by default: %d inserted, %v", len(results), err)
	}
	limited, err := pawl.New(pool, pawl.Config{InsertRate: pawl.Rate{N: 60, Per: time.Hour, Burst: 5}})
	must(t, err)
	if _, err := limited.InsertMany(t.Context(), notes(8)); err != nil { // More than the burst.
		t.Errorf("a batch larger than the burst: %v", err)
	}
	_, one := limited.Insert(t.Context(), Note{1})
	_, three := limited.InsertMany(t.Context(), notes(3))
	for _, test := range []struct {
		err  error
		want time.Duration
	}{{one, 4 * time.Minute}, {three, 6 * time.Minute}} {
		if d := isRate(t, test.err); d > test.want || d < test.want-time.Minute/2 {
			t.Errorf("RetryAfter is %v, want %v", d, test.want)
		}
	}
}

// What a depth counts, what has a length, who must have the required keys, and what a refused job costs.
func TestTrap11Validation(t *testing.T) {
	t.Parallel()
	client, _ := install(t, func(c *pawl.Config) {
		c.MaxDepth, c.MaxStringBytes, c.RequiredKeys, c.MaxArgsBytes = 2, 8, []string{"a"}, 200
		c.InsertRate = pawl.Rate{N: 1, Per: time.Hour, Burst: 2}
	})
	for args, want := range map[string]string{
		`{"a":[1,"s",null]}`:    "", // Scalars are in it and not below it.
		`{"a":[{}]}`:            "deeper than 2",
		`{"a":1,"longer12":1}`:  "",
		`{"a":1,"longer123":1}`: "key of 9 bytes", // It says that it is the key.
		`{"a":"longer123"}`:     "string of 9 bytes",
		`["a"]`:                 "not an object",
		`"a"`:                   "not an object",
		`{"a":[` + strings.Repeat("1,", 200) + `1]}`: "bytes of JSON", // The size, which is looked at last elsewhere.
	} {
		for range 3 { // More often than the rate allows.
			err := client.Validate(pawl.JobSpec{Args: pawl.Raw("k", []byte(args))})
			if want == "" {
				must(t, err)
				continue
			}
			_, inserted := client.Insert(t.Context(), pawl.Raw("k", []byte(args)))
			_, many := client.InsertMany(t.Context(), []pawl.JobSpec{{Args: pawl.Raw("k", []byte(`{"a":1}`))}, {Args: pawl.Raw("k", []byte(args))}})
			for i, err := range []error{err, inserted, many} {
				invalid, ok := errors.AsType[*pawl.InvalidError](err)
				if !ok || !strings.Contains(invalid.Reason, want) || invalid.Index != i/2 {
					t.Errorf("%s: got %v, want %q of job %d", args, err, want, i/2)
				}
			}
		}
	}
	// Nothing of the rate is gone.
	_, err := client.InsertMany(t.Context(), []pawl.JobSpec{{Args: pawl.Raw("k", []byte(`{"a":1}`))}, {Args: pawl.Raw("k", []byte(`{"a":2}`))}})
	must(t, err)
}

// A setting that is wrong is an error and not a default, and one that is set counts.
func TestTrap12Configuration(t *testing.T) {
	t.Parallel()
	t.Run("wrong values", func(t *testing.T) {
		t.Parallel()
		for name, config := range map[string]pawl.Config{
			"Schema":     {Schema: "no schema's name"},
			"ListenURL":  {ListenURL: "postgres://:no port"},
			"MaxDepth":   {MaxDepth: -1},
			"InsertRate": {InsertRate: pawl.Rate{N: -1}},
		} {
			if _, err := pawl.New(nil, config); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: got %v", name, err)
			}
		}
	})
	t.Run("each source counts for what it says", func(t *testing.T) {
		t.Parallel()
		client, _ := install(t, func(c *pawl.Config) {
			c.Defaults = pawl.JobSpec{Queue: "config's", Channel: "config's", MaxAttempts: 3}
		})
		job, err := client.Get(t.Context(), insert(t, client, pawl.JobSpec{Args: Invoice{Number: "1"}, MaxAttempts: 4})) // Invoice has defaults, too.
		must(t, err)
		if job.MaxAttempts != 4 || job.Queue != "billing" || job.Channel != "config's" {
			t.Errorf("attempts %d, queue %q, channel %q; want the call's, the kind's, the client's", job.MaxAttempts, job.Queue, job.Channel)
		}
	})
	t.Run("a queue's lease and attempts count", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "default", Lease: time.Hour, MaxAttempts: 7}))
		insert(t, client, Note{1})
		if job := claim(t, client, 1)[0]; job.MaxAttempts != 7 {
			t.Errorf("%d attempts", job.MaxAttempts)
		}
		if left := value[float64](t, pool, "select extract(epoch from expires_at - clock_timestamp())::float8 from pawl.lease"); left < 3500 {
			t.Errorf("the lease lasts %v s", left)
		}
	})
	// Files, variables and flags are the command's: cmd/pawl/testdata/script/settings.txtar.
}

// Many runners and consumers in one process need no names or ports of their own.
func TestTrap13WorkerNamesAreNotUnique(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	g := newGate()
	for _, queue := range []string{"a", "a", "b"} {
		mux := new(pawl.Mux)
		pawl.Handle(mux, g.handle)
		start(t, client, mux, pawl.RunnerConfig{Name: "the same", Max: 1, Queues: map[string]pawl.RunnerQueue{queue: {}}})
	}
	var ids []pawl.ID
	for _, queue := range []string{"a", "a", "b", "default"} {
		ids = append(ids, insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: queue}))
	}
	for range 3 {
		within(t, "all three to work", g.running)
	}
	if n := value[int](t, pool, "select count(*) from pawl.worker where gone_at is null and name = 'the same'"); n != 3 {
		t.Errorf("%d workers, want 3", n)
	}
	must(t, client.Complete(t.Context(), claim(t, client, 1))) // A consumer has no name at all.
	close(g.leave)
	for _, id := range ids {
		await(t, client, id, pawlstate.Completed)
	}
}

// Whatever keeps a job from running, no attempt is used for it.
func TestTrap14CongestionBurnsAttempts(t *testing.T) {
	t.Parallel()
	const n = 30
	for name, limit := range map[string]struct {
		policy  pawl.Queue
		options func(client *pawl.Client) pawl.KindOptions
	}{
		"a kind's Max":      {options: func(*pawl.Client) pawl.KindOptions { return pawl.KindOptions{Max: 1} }},
		"a queue's limit":   {policy: pawl.Queue{MaxRunning: 1}},
		"a channel's limit": {policy: pawl.Queue{ChannelMaxRunning: 1}},
		"a queue's rate":    {policy: pawl.Queue{Rate: pawl.Rate{N: 100, Burst: 1}}},
		"a permit's refusal": {options: func(*pawl.Client) pawl.KindOptions {
			var free atomic.Bool
			free.Store(true)
			return pawl.KindOptions{Permit: func(context.Context, *pawl.JobInfo) (func(), error) {
				if !free.CompareAndSwap(true, false) {
					return nil, pawl.Snooze(5 * time.Millisecond)
				}
				return func() { free.Store(true) }, nil
			}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			limit.policy.Name = "default"
			must(t, client.PutQueue(t.Context(), limit.policy))
			var options []pawl.KindOptions
			if limit.options != nil {
				options = append(options, limit.options(client))
			}
			var ran atomic.Int64
			mux := new(pawl.Mux)
			pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
				ran.Add(1)
				_, err := pool.Exec(ctx, "select pg_sleep(0.002)")
				return err
			}, options...)
			jobs := notes(n)
			for i := range jobs {
				jobs[i].MaxAttempts = 1 // Nothing to burn.
			}
			results, err := client.InsertMany(t.Context(), jobs)
			must(t, err)
			for range 2 {
				start(t, client, mux, pawl.RunnerConfig{Min: n, Max: n})
			}
			for _, r := range results {
				if job := await(t, client, r.ID, pawlstate.Completed); job.Attempt != 1 {
					t.Errorf("attempt %d", job.Attempt)
				}
			}
			if ran.Load() != n {
				t.Errorf("%d runs of %d jobs", ran.Load(), n)
			}
		})
	}
}

// The reaper: the last attempt, the worker that never beat, the job that kills, the job that is old and just begun.
func TestTrap15Reaper(t *testing.T) {
	t.Parallel()
	// hold has a worker that is late as soon as it is looked for hold all there is.
	hold := func(t *testing.T, pool *pgxpool.Pool, lease string) {
		worker := value[int64](t, pool, "select pawl.register_worker('w', 'h', 1, 'v', null, '0 seconds')")
		if got := claimTickets(t, pool, lease, &worker, 10); len(got) == 0 {
			t.Fatal("nothing was claimed")
		}
	}
	t.Run("a last attempt whose worker never beat", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		spec := pawl.JobSpec{Args: Note{1}, MaxAttempts: 1, Unique: pawl.Unique{Key: "k"}}
		id := insert(t, client, spec)
		hold(t, pool, aLease)
		exec(t, pool, "select * from pawl.rescue(100, true, false)")
		job := claim(t, client, 1)
		if job[0].ID != id || job[0].Attempt != 1 {
			t.Errorf("claimed attempt %d of job %d", job[0].Attempt, job[0].ID)
		}
		must(t, client.Complete(t.Context(), job))
		if again := insert(t, client, spec); again == id {
			t.Error("its unique key is still taken")
		}
	})
	t.Run("a job that kills its process is not run for ever", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		id := insert(t, client, pawl.JobSpec{Args: Note{1}, Unique: pawl.Unique{Key: "k"}})
		kills := 0
		for ; live(t, pool) > 0 && kills < 10; kills++ {
			worker := value[int64](t, pool, "select pawl.register_worker('w', 'h', 1, 'v', null, '0 seconds')")
			lane := value[int](t, pool, "select priority from pawl.ready")
			exec(t, pool, `select * from pawl.claim(gen_random_uuid(), $1, null, 1, array['default'], array[$2::int], array[''], array[0::bigint], array[9223372036854775807], array[1])`, worker, lane)
			exec(t, pool, "select * from pawl.rescue(100, true, false)")
		}
		if job := await(t, client, id, pawlstate.Dead); kills != 3 || job.Reason != "poison" {
			t.Errorf("dead of %s after %d kills, want poison and 3", job.Reason, kills)
		}
		if again := insert(t, client, pawl.JobSpec{Args: Note{1}, Unique: pawl.Unique{Key: "k"}}); again == id {
			t.Error("its unique key is still taken")
		}
	})
	t.Run("a retried job is not stale when it is claimed", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		insert(t, client, Note{1})
		must(t, client.Fail(t.Context(), claim(t, client, 1), pawl.RetryAfter(0, errBoom)))
		// Its first attempt was long ago, and so was the last sign of the worker that had it.
		exec(t, pool, "update pawl.job set created_at = created_at - interval '1 day', run_at = run_at - interval '1 hour'")
		g, mux := newGate(), new(pawl.Mux)
		pawl.Handle(mux, g.handle)
		start(t, client, mux, pawl.RunnerConfig{NoMaintenance: true, Heartbeat: 10 * time.Second}) // It does not beat before the test has ended.
		job := within(t, "the second attempt", g.running)
		if n := value[int](t, pool, "select jobs::int from pawl.rescue(100, true, true)"); n != 0 {
			t.Errorf("%d jobs were taken from a worker that has just begun", n)
		}
		close(g.leave)
		if done := await(t, client, job.ID, pawlstate.Completed); done.Attempt != 2 {
			t.Errorf("attempt %d, want 2", done.Attempt)
		}
	})
}

// Cancel: what is completed stays so, what is cancelled stays so whatever its handler says, and a key is not lost between two jobs.
func TestTrap16Cancel(t *testing.T) {
	t.Parallel()
	t.Run("completed and dead ones stay as they are", func(t *testing.T) {
		t.Parallel()
		client, _ := install(t)
		same := func(n int) pawl.JobSpec {
			return pawl.JobSpec{Args: Note{n}, Fingerprint: "f", Unique: pawl.Unique{Key: fmt.Sprint(n)}}
		}
		completed, dead := insert(t, client, same(1)), insert(t, client, same(2))
		jobs := claim(t, client, 2)
		must(t, client.Complete(t.Context(), jobs[0]))
		must(t, client.Fail(t.Context(), jobs[1], pawl.Dead(errBoom)))
		before := await(t, client, completed, pawlstate.Completed).FinishedAt
		waiting := insert(t, client, same(3))
		must1(t, 0)(client.Cancel(t.Context(), pawl.Filter{UniqueKey: "1"}))
		must1(t, 1)(client.Cancel(t.Context(), pawl.Filter{Fingerprint: "f"}))
		if n, _ := client.Cancel(t.Context(), pawl.Filter{IDs: []pawl.ID{completed, dead}}); n != 0 {
			t.Errorf("Cancel changed %d finished jobs", n)
		}
		await(t, client, waiting, pawlstate.Cancelled)
		if job := await(t, client, completed, pawlstate.Completed); !job.FinishedAt.Equal(before) {
			t.Error("the completed job was changed")
		}
		await(t, client, dead, pawlstate.Dead)
	})
	for name, outcome := range map[string]error{"nil": nil, "an error": errBoom, "a snooze": pawl.Snooze(0), "dead": pawl.Dead(errBoom)} {
		t.Run("the running handler returns "+name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			running, leave := make(chan *pawl.JobInfo, 10), make(chan struct{})
			mux := new(pawl.Mux)
			pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error {
				running <- job.JobInfo
				if job.Args.N == 1 {
					<-leave
					return outcome
				}
				return nil
			})
			unique := func(n int) pawl.JobSpec {
				return pawl.JobSpec{Args: Note{n}, Unique: pawl.Unique{Key: "k"}}
			}
			first := insert(t, client, unique(1))
			stop := start(t, client, mux, pawl.RunnerConfig{})
			within(t, "the first", running)
			must1(t, 1)(client.Cancel(t.Context(), first))
			second := insert(t, client, unique(2)) // The key is free again, and taken again.
			if second == first {
				t.Fatal("the key of a cancelled job is taken")
			}
			within(t, "the second", running)
			await(t, client, second, pawlstate.Completed)
			third := insert(t, client, pawl.JobSpec{Args: Note{3}, Delay: time.Hour, Unique: pawl.Unique{Key: "k"}})
			close(leave)
			must(t, stop())
			await(t, client, first, pawlstate.Cancelled)
			if n := len(values[int64](t, pool, "select id from pawl.job")); n != 1 {
				t.Errorf("%d live jobs, want the third", n)
			}
			// Not dropped, and not run beside who has the key now; when that has ended it goes.
			if n, _ := client.Retry(t.Context(), first); n != 0 {
				t.Errorf("Retry changed %d", n)
			}
			await(t, client, first, pawlstate.Cancelled)
			must1(t, 1)(client.Cancel(t.Context(), third))
			must1(t, 1)(client.Retry(t.Context(), first))
			await(t, client, first, pawlstate.Ready)
		})
	}
}

// What the documentation says of waits, attempts and the archive is what happens.
func TestTrap17DocsAndCode(t *testing.T) {
	t.Parallel()
	t.Run("waits and attempts", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		exact := func(b pawl.Backoff) pawl.Backoff { b.NoJitter = true; return b }
		exponential := exact(pawl.Backoff{Base: 10 * time.Second})
		for _, test := range []struct {
			name    string
			backoff pawl.Backoff
			outcome func() error
			used    []int // Attempts after each run,
			wait    []time.Duration
		}{
			{"exponential", exponential, func() error { return errBoom }, []int{1, 2, 3}, []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second}},
			{"capped", exact(pawl.Backoff{Base: 10 * time.Second, Max: 15 * time.Second}), func() error { return errBoom }, []int{1, 2}, []time.Duration{10 * time.Second, 15 * time.Second}},
			{"linear", exact(pawl.Backoff{Base: 10 * time.Second, Growth: 1, Power: 1}), func() error { return errBoom }, []int{1, 2, 3}, []time.Duration{10 * time.Second, 20 * time.Second, 30 * time.Second}},
			{"constant", exact(pawl.Backoff{Base: 10 * time.Second, Growth: 1}), func() error { return errBoom }, []int{1, 2, 3}, []time.Duration{10 * time.Second, 10 * time.Second, 10 * time.Second}},
			{"RetryAfter, below the backoff", exponential, func() error { return pawl.RetryAfter(5*time.Second, errBoom) }, []int{1, 2}, []time.Duration{5 * time.Second, 5 * time.Second}},
			{"Snooze, below the backoff", exponential, func() error { return pawl.Snooze(5 * time.Second) }, []int{0, 0}, []time.Duration{5 * time.Second, 5 * time.Second}},
		} {
			id := insert(t, client, pawl.JobSpec{Args: Note{1}, Backoff: test.backoff})
			for i, want := range test.wait {
				held := claim(t, client, 1)
				before := value[time.Time](t, pool, "select clock_timestamp()")
				must(t, client.Fail(t.Context(), held, test.outcome()))
				job := await(t, client, id, pawlstate.Scheduled)
				if d := job.RunAt.Sub(before); d < want-100*time.Millisecond || d > want+3*time.Second || job.Attempt != test.used[i] {
					t.Errorf("%s: after run %d it waits %v with %d attempts used, want %v and %d", test.name, i+1, d, job.Attempt, want, test.used[i])
				}
				elapse(t, pool)
			}
			must(t, client.Complete(t.Context(), claim(t, client, 1)))
		}
	})
	t.Run("a permit that says later uses no attempt", func(t *testing.T) {
		t.Parallel()
		client, _ := install(t)
		mux := new(pawl.Mux)
		pawl.Handle(mux, newGate().handle, pawl.KindOptions{Permit: func(context.Context, *pawl.JobInfo) (func(), error) { return nil, pawl.Snooze(time.Hour) }})
		start(t, client, mux, pawl.RunnerConfig{})
		if job := await(t, client, insert(t, client, pawl.JobSpec{Args: Note{1}, MaxAttempts: 1}), pawlstate.Scheduled); job.Attempt != 0 {
			t.Errorf("%d attempts used", job.Attempt)
		}
	})
	t.Run("no handler is no failure", func(t *testing.T) {
		t.Parallel()
		client, _ := install(t)
		mux := new(pawl.Mux)
		pawl.Handle(mux, newGate().handle)
		start(t, client, mux, pawl.RunnerConfig{})
		await(t, client, insert(t, client, pawl.JobSpec{Args: pawl.Raw("nobody's", nil), MaxAttempts: 1}), pawlstate.Scheduled)
	})
	t.Run("the archive and the dead need no janitor", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		jobs := notes(2)
		_, err := client.InsertMany(t.Context(), jobs)
		must(t, err)
		held := claim(t, client, 2)
		must(t, client.Complete(t.Context(), held[0]))
		must(t, client.Fail(t.Context(), held[1], pawl.Dead(errBoom)))
		if n := value[int](t, pool, "select (select count(*) from pawl.archive) * 10 + (select count(*) from pawl.dead)"); n != 11 || live(t, pool) != 0 {
			t.Errorf("archived and dead are %02d, and %d rows are live", n, live(t, pool))
		}
	})
}

// A failed job comes back at once; a dead process's never; attempts are not those that were said; one slow job holds all places.
func TestTrap18FailureAndBatches(t *testing.T) {
	t.Parallel()
	t.Run("a failure waits", func(t *testing.T) {
		t.Parallel()
		client, _ := install(t)
		id := insert(t, client, Note{1})
		must(t, client.Fail(t.Context(), claim(t, client, 1), errBoom))
		if jobs := claimAll(t, client); len(jobs) != 0 {
			t.Error("it was claimed at once")
		}
		if job := await(t, client, id, pawlstate.Scheduled); job.RunAt.Sub(job.Errors[0].At) < 800*time.Millisecond {
			t.Errorf("it waits %v, want about a second", job.RunAt.Sub(job.Errors[0].At))
		}
	})
	t.Run("what is held by who is gone comes back", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		id := insert(t, client, Note{1})
		worker := value[int64](t, pool, "select pawl.register_worker('w', 'h', 1, 'v', null, '0 seconds')")
		claimTickets(t, pool, aLease, &worker, 1)
		g, mux := newGate(), new(pawl.Mux)
		close(g.leave)
		pawl.Handle(mux, g.handle)
		start(t, client, mux, pawl.RunnerConfig{Heartbeat: 300 * time.Millisecond})
		await(t, client, id, pawlstate.Completed)
	})
	for said, want := range map[int]int{0: 20, 1: 1, 5: 5} {
		t.Run(fmt.Sprintf("%d attempts said are %d runs", said, want), func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			id := insert(t, client, pawl.JobSpec{Args: Note{1}, MaxAttempts: said})
			runs := 0
			for live(t, pool) > 0 && runs < 30 {
				must(t, client.Fail(t.Context(), claim(t, client, 1), pawl.RetryAfter(0, errBoom)))
				runs++
			}
			if job := await(t, client, id, pawlstate.Dead); runs != want || job.Attempt != want {
				t.Errorf("%d runs, attempt %d; want %d", runs, job.Attempt, want)
			}
		})
	}
	t.Run("one slow job holds one place", func(t *testing.T) {
		t.Parallel()
		client, _ := install(t)
		g, mux := newGate(), new(pawl.Mux)
		pawl.Handle(mux, g.handle)
		pawl.Handle(mux, func(context.Context, *pawl.Job[pawl.RawArgs]) error { return nil }, pawl.KindOptions{Kind: "quick"})
		jobs := make([]pawl.JobSpec, 200)
		for i := range jobs {
			jobs[i].Args = pawl.Raw("quick", nil)
		}
		jobs[0].Args = Note{1}
		results, err := client.InsertMany(t.Context(), jobs)
		must(t, err)
		start(t, client, mux, pawl.RunnerConfig{Min: 4, Max: 8})
		within(t, "the slow one", g.running)
		for _, r := range results[1:] {
			await(t, client, r.ID, pawlstate.Completed)
		}
		await(t, client, results[0].ID, pawlstate.Running)
		close(g.leave)
		await(t, client, results[0].ID, pawlstate.Completed)
	})
}

// A handler's error is that job's: it waits for its retry, and the runner goes on.
func TestTrap19AnErrorEndsTheLoop(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error {
		switch job.Args.N {
		case 0:
			return errBoom
		case 1:
			panic(io.ErrUnexpectedEOF)
		case 2:
			return context.Canceled // As if the runner's own had ended.
		}
		return nil
	}, pawl.KindOptions{Backoff: pawl.Backoff{Base: time.Minute}})
	stop := start(t, client, mux, pawl.RunnerConfig{Max: 1})
	for n := range 3 {
		job := await(t, client, insert(t, client, Note{n}), pawlstate.Scheduled)
		if d := job.RunAt.Sub(job.Errors[0].At); d < 50*time.Second {
			t.Errorf("job %d comes again after %v, want about a minute", n, d)
		}
		await(t, client, insert(t, client, Note{9}), pawlstate.Completed)
	}
	must(t, stop())
}
