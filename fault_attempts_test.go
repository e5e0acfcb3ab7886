package pawl_test

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// The last attempt is like the others: it can be extended and checkpointed, is redelivered after a crash, and ends
// when the handler fails.
func TestFault03TheLastAttemptIsLikeTheOthers(t *testing.T) {
	t.Parallel()
	last := func(t *testing.T) (*pawl.Client, *pgxpool.Pool, *pawl.JobInfo) {
		client, pool := install(t)
		insert(t, client, pawl.JobSpec{Args: Note{1}, MaxAttempts: 1})
		return client, pool, claim(t, client, 1)[0]
	}
	t.Run("its worker is lost", func(t *testing.T) {
		t.Parallel()
		client, pool, job := last(t)
		expireLeases(t, pool)
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
	t.Run("a checkpoint does not give it to another worker", func(t *testing.T) {
		t.Parallel()
		client, pool, job := last(t)
		must(t, client.Checkpoint(t.Context(), job, pawl.Checkpoint{Value: 1, Extend: time.Minute}))
		makeDue(t, pool)
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
			makeDue(t, pool)
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

// A process without a handler for a kind leaves the jobs of that kind to other processes.
func TestFault08AnUnknownKindUsesNoAttempt(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	var ids []pawl.ID
	for range 5 {
		ids = append(ids, insert(t, client, pawl.JobSpec{Args: pawl.Raw("foreign", nil), MaxAttempts: 1}))
	}
	other := new(pawl.Mux)
	pawl.Handle(other, newGate().handle)
	stop := start(t, client, other, pawl.RunnerConfig{})
	for range 3 { // Again and again.
		for _, id := range ids {
			await(t, client, id, pawlstate.Scheduled)
		}
		makeDue(t, pool)
		pgtest.Wait(t, "the other process to give them back", func() bool {
			return value[int](t, pool, "select count(*) from pawl.scheduled where run_at > clock_timestamp() + interval '30 "+
				"seconds'") == len(ids)
		})
	}
	must(t, stop())
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[pawl.RawArgs]) error { return nil },
		pawl.KindOptions{Kind: "foreign"})
	start(t, client, mux, pawl.RunnerConfig{})
	makeDue(t, pool)
	for _, id := range ids {
		if job := await(t, client, id, pawlstate.Completed); job.Attempt != 1 || len(job.Errors) != 0 {
			t.Errorf("attempt %d, errors %v; want the first and none", job.Attempt, job.Errors)
		}
	}
}

// A job that a limit keeps from running uses no attempt.
func TestFault14CongestionUsesNoAttempt(t *testing.T) {
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

// A failed job waits for its backoff. A job of a crashed process is rescued. A job has exactly the attempts that were
// set. A slow job takes one place only.
func TestFault18FailuresWaitAndCrashesAreRescued(t *testing.T) {
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
	t.Run("the job of a lost worker comes back", func(t *testing.T) {
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
			for liveRows(t, pool) > 0 && runs < 30 {
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
		receive(t, "the slow one", g.running)
		for _, r := range results[1:] {
			await(t, client, r.ID, pawlstate.Completed)
		}
		await(t, client, results[0].ID, pawlstate.Running)
		close(g.leave)
		await(t, client, results[0].ID, pawlstate.Completed)
	})
}

// An error of a handler concerns its job only: the job waits for its retry, and the runner goes on.
func TestFault19ARunnerGoesOnAfterAnError(t *testing.T) {
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
