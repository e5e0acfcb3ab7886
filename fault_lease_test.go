package pawl_test

import (
	"context"
	"errors"
	"slices"
	"strings"
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

// The files fault_*_test.go prove that Pawl is free of the faults of four earlier queues. docs/seeds.md lists the
// faults and the queue that has each.

// A transaction with effects completes a job whose lease is lost. The completion returns ErrLeaseLost, so that the
// effects are rolled back.
func TestFault01CompletionInATransactionIsFenced(t *testing.T) {
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
		expireLeases(t, pool)
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
			awaitBlocked(t, pool, 1)
			if commits {
				commit(t, first)
				if err := receive(t, "the second", answer); !errors.Is(err, pawl.ErrLeaseLost) {
					t.Errorf("the second completed it too: %v", err)
				}
				must(t, second.Rollback(t.Context()))
			} else {
				must(t, first.Rollback(t.Context()))
				must(t, receive(t, "the second", answer))
				commit(t, second)
			}
			effects(t, pool, 1)
		})
	}
}

// A crash is noticed equally soon however long the job has run. A running job is not taken away because a heartbeat
// is late or fails.
func TestFault02ACrashIsNoticedWithinAFixedTime(t *testing.T) {
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
		exec(t, pool, "update pawl.job set created_at = created_at - interval '11 hours', run_at = clock_timestamp() - "+
			"interval '10 hours'")
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
			receive(t, "all connections to be in use", running)
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
		exec(t, pool, strings.Replace(string(text), "\nbegin\n",
			"\nbegin if nextval('pawl.beats') % 2 = 0 then raise exception 'no'; end if;\n", 1))
		g, mux := newGate(), new(pawl.Mux)
		pawl.Handle(mux, g.handle)
		id := insert(t, client, Note{1})
		start(t, client, mux, pawl.RunnerConfig{Heartbeat: 400 * time.Millisecond})
		receive(t, "the job", g.running)
		pgtest.Wait(t, "heartbeats after those that failed", func() bool {
			return value[int](t, pool, "select last_value::int from pawl.beats") >= 9
		})
		close(g.leave)
		if job := await(t, client, id, pawlstate.Completed); job.Attempt != 1 {
			t.Errorf("attempt %d", job.Attempt)
		}
		if n := len(g.running); n != 0 {
			t.Errorf("it was started %d times more", n)
		}
	})
}

// An expired lease redelivers its jobs without an administrator. Only jobs that ran are dead, and a dead job can be
// run again.
func TestFault09AnExpiredLeaseRedelivers(t *testing.T) {
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
		id := insert(t, client, pawl.JobSpec{Args: Note{7}, Data: []byte("d"), MaxAttempts: 2,
			Headers: map[string]string{"k": "v"}})
		for range 2 {
			must(t, client.Fail(t.Context(), claim(t, client, 1), pawl.RetryAfter(0, errBoom)))
		}
		if job := await(t, client, id, pawlstate.Dead); job.Attempt != 2 || len(job.Errors) != 2 ||
			job.Reason != "attempts" || job.FinishedAt.IsZero() {
			t.Errorf("dead, it is %+v", job)
		}
		wantCount(t, 1)(client.Retry(t.Context(), id))
		again := claim(t, client, 1)[0]
		if again.ID != id || note(t, again).N != 7 || string(again.Data) != "d" || again.Headers["k"] != "v" ||
			again.Attempt != 3 {
			t.Errorf("replayed, it is %+v", again)
		}
		must(t, client.Complete(t.Context(), again))
		await(t, client, id, pawlstate.Completed)
	})
	t.Run("a delayed job is not a running one", func(t *testing.T) {
		t.Parallel()
		client, _ := install(t)
		delayed, running := insert(t, client, pawl.JobSpec{Args: Note{1}, Delay: time.Hour}), insert(t, client, Note{2})
		claim(t, client, 1)
		await(t, client, delayed, pawlstate.Scheduled)
		await(t, client, running, pawlstate.Running)
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
			t.Errorf("%+v, want one delayed, one ready, one running, one dead", q)
		}
		jobs, err := client.List(t.Context(), pawl.Filter{States: []pawlstate.State{pawlstate.Dead}})
		must(t, err)
		if got := numbers(t, jobs); !slices.Equal(got, []int{1}) {
			t.Errorf("the dead are %v", got)
		}
	})
}

// Many runners and consumers in one process need no names or ports of their own.
func TestFault13WorkerNamesMayRepeat(t *testing.T) {
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
		receive(t, "all three to work", g.running)
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

// Rescue handles last attempts, workers that never sent a heartbeat, jobs that kill their process, and retried jobs.
func TestFault15RescueUsesNoAttemptAndStopsPoison(t *testing.T) {
	t.Parallel()
	// hold claims all jobs for a worker that is lost at once.
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
		for ; liveRows(t, pool) > 0 && kills < 10; kills++ {
			worker := value[int64](t, pool, "select pawl.register_worker('w', 'h', 1, 'v', null, '0 seconds')")
			lane := value[int](t, pool, "select priority from pawl.ready")
			exec(t, pool, `select * from pawl.claim(gen_random_uuid(), $1, null, 1, array['default'], array[$2::int], array[''],
				array[0::bigint], array[9223372036854775807], array[1])`, worker, lane)
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
		// It does not beat before the test has ended.
		start(t, client, mux, pawl.RunnerConfig{NoMaintenance: true, Heartbeat: 10 * time.Second})
		job := receive(t, "the second attempt", g.running)
		if n := value[int](t, pool, "select jobs::int from pawl.rescue(100, true, true)"); n != 0 {
			t.Errorf("%d jobs were taken from a worker that has just begun", n)
		}
		close(g.leave)
		if done := await(t, client, job.ID, pawlstate.Completed); done.Attempt != 2 {
			t.Errorf("attempt %d, want 2", done.Attempt)
		}
	})
}
