package pawltest_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/pawlhq/pawl/pawltest"
)

func TestRunOne(t *testing.T) {
	t.Parallel()
	client := install(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[note]) error {
		switch job.Args.N {
		case 2:
			return errors.New("no luck")
		case 3:
			return pawl.Dead(errors.New("hopeless"))
		case 4:
			return pawl.Snooze(time.Minute)
		case 5:
			panic("aside")
		}
		if err := job.Progress(ctx, 100, "done"); err != nil {
			return err
		}
		_, err := pawl.Step(ctx, "one", func(context.Context) (int, error) { return 1, nil })
		return err
	})
	for _, test := range []struct {
		n       int
		state   pawlstate.State
		attempt int
		failure string
	}{{1, pawlstate.Completed, 1, ""}, {2, pawlstate.Scheduled, 1, "no luck"}, {3, pawlstate.Dead, 1, "hopeless"},
		{4, pawlstate.Scheduled, 0, ""}, {5, pawlstate.Scheduled, 1, "panic: aside"}} {
		id := insert(t, client, pawl.JobSpec{Args: note{test.n}})[0]
		job := pawltest.RunOne(t, client, mux)
		if job.ID != id || job.State != test.state || job.Attempt != test.attempt {
			t.Errorf(
				"note %d: job %d is %s after %d attempts, want job %d %s after %d",
				test.n,
				job.ID,
				job.State,
				job.Attempt,
				id,
				test.state,
				test.attempt,
			)
		}
		if test.failure != "" && (len(job.Errors) != 1 || job.Errors[0].Error != test.failure) {
			t.Errorf("note %d: errors %v", test.n, job.Errors)
		}
	}
	text := ends(t, func(t testing.TB) { pawltest.RunOne(t, client, mux) })
	contains(t, text, "no job can be run", "scheduled until", `{"N": 2}`, `{"N": 4}`, `{"N": 5}`)

	id := insert(t, client, pawl.JobSpec{Args: &other{}, Queue: "a"})[0]
	contains(t, ends(t, func(t testing.TB) { pawltest.RunOne(t, client, mux) }), `no handler for kind "other"`)
	if job, err := client.Get(t.Context(), id); err != nil || job.State != pawlstate.Ready || job.Attempt != 0 {
		t.Errorf("the job without handler is %+v, %v", job, err)
	}
}

// Of a paused queue nothing is run; a job that lost two leases is run as any other.
func TestRunOnePaused(t *testing.T) {
	t.Parallel()
	client := install(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[note]) error { return nil })
	id := insert(t, client, pawl.JobSpec{Args: note{1}})[0]
	if err := client.PauseQueue(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	contains(t, ends(t, func(t testing.TB) { pawltest.RunOne(t, client, mux) }), "paused", "ready")
	if err := client.ResumeQueue(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if jobs, err := client.Claim(t.Context(), "default", 1, time.Minute); err != nil || len(jobs) != 1 {
			t.Fatal(jobs, err)
		}
		pawltest.Advance(t, client, time.Hour)
	}
	if job := pawltest.RunOne(t, client, mux); job.ID != id || job.State != pawlstate.Completed {
		t.Errorf("job %d is %s", job.ID, job.State)
	}
}

// A handler may fail the test; its job is then a failed attempt, as in a runner.
func TestRunOneEnded(t *testing.T) {
	t.Parallel()
	client := install(t)
	id := insert(t, client, pawl.JobSpec{Args: note{1}})[0]
	ends(t, func(t testing.TB) {
		mux := new(pawl.Mux)
		pawl.Handle(mux, func(context.Context, *pawl.Job[note]) error {
			t.Fatal("in the handler")
			return nil
		})
		pawltest.RunOne(t, client, mux)
	})
	if job, err := client.Get(t.Context(), id); err != nil || job.State != pawlstate.Scheduled || job.Attempt != 1 {
		t.Errorf("the job is %+v, %v", job, err)
	}
}

// RunOne returns a job in the state that the handler or another client has given it.
func TestRunOneFinishedElsewhere(t *testing.T) {
	t.Parallel()
	client := install(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[note]) error {
		if job.Args.N == 1 {
			return pgx.BeginFunc(
				ctx,
				pawltest.Pool(t, client),
				func(tx pgx.Tx) error { return client.With(tx).Complete(ctx, job) },
			)
		}
		_, err := client.Cancel(ctx, job.ID)
		return err
	})
	for n, want := range map[int]pawlstate.State{1: pawlstate.Completed, 2: pawlstate.Cancelled} {
		insert(t, client, pawl.JobSpec{Args: note{n}})
		if job := pawltest.RunOne(t, client, mux); job.State != want {
			t.Errorf("note %d is %s, want %s", n, job.State, want)
		}
	}
	if err := client.PutQueue(t.Context(), pawl.Queue{Name: "default", RetainCompleted: -1, RetainCancelled: -1, RetainDead: -1}); err != nil {
		t.Fatal(err)
	}
	insert(t, client, pawl.JobSpec{Args: note{1}})
	if job := pawltest.RunOne(t, client, mux); job.State != pawlstate.Completed {
		t.Errorf("where nothing is kept the job is %s", job.State)
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	client := install(t)
	mux := new(pawl.Mux)
	var ran []int
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[note]) error {
		ran = append(ran, job.Args.N)
		switch {
		case job.Args.N == 2 && job.Attempt == 1:
			return errors.New("once")
		case job.Args.N == 3:
			_, err := client.Insert(ctx, note{30})
			return err
		}
		return nil
	})
	ids := insert(t, client, pawl.JobSpec{Args: note{1}}, pawl.JobSpec{Args: note{2}}, pawl.JobSpec{Args: note{3}},
		pawl.JobSpec{Args: note{4}, Delay: time.Hour}, pawl.JobSpec{Args: note{5}, Queue: "other"})
	insert(t, client, pawl.JobSpec{Args: note{6}, AfterOK: ids[:1]})
	if n := pawltest.Drain(t, client, mux, "default"); n != 5 {
		t.Errorf("%d attempts, want 5", n)
	}
	slices.Sort(ran)
	if want := []int{1, 2, 3, 6, 30}; !slices.Equal(ran, want) {
		t.Errorf("ran %v, want %v", ran, want)
	}
	ran = nil
	pawltest.Advance(t, client, time.Hour)
	if n := pawltest.Drain(t, client, mux, "default"); n != 2 || !slices.Equal(ran, []int{2, 4}) {
		t.Errorf("an hour later %d attempts, of %v", n, ran)
	}
	if n := pawltest.Drain(t, client, mux, "unused"); n != 0 {
		t.Errorf("an empty queue had %d", n)
	}
	contains(t, ends(t, func(t testing.TB) { pawltest.Drain(t, client, mux, "") }), "name a queue")
}

// What becomes due while Drain runs stays, however slow the machine.
func TestDrainLeavesRetries(t *testing.T) {
	t.Parallel()
	client := install(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[note]) error {
		return pawl.RetryAfter(time.Millisecond, errors.New("soon"))
	})
	jobs := make([]pawl.JobSpec, 20)
	for n := range jobs {
		jobs[n].Args = note{n}
	}
	insert(t, client, jobs...)
	for range 2 {
		if n := pawltest.Drain(t, client, mux, "default"); n != 20 {
			t.Errorf("%d attempts, want 20", n)
		}
		pawltest.Advance(t, client, time.Second)
	}
}

// A queue's limits hold, and its rate refills as time passes.
func TestLimits(t *testing.T) {
	t.Parallel()
	client := install(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[note]) error { return nil })
	policy := pawl.Queue{Name: "default", MaxRunning: 1, Rate: pawl.Rate{N: 2, Per: time.Hour}}
	if err := client.PutQueue(t.Context(), policy); err != nil {
		t.Fatal(err)
	}
	insert(
		t,
		client,
		pawl.JobSpec{Args: note{1}},
		pawl.JobSpec{Args: note{2}},
		pawl.JobSpec{Args: note{3}},
		pawl.JobSpec{Args: note{4}},
	)
	if n := pawltest.Drain(t, client, mux, "default"); n != 2 {
		t.Errorf("%d attempts, want 2", n)
	}
	contains(t, ends(t, func(t testing.TB) { pawltest.RunOne(t, client, mux) }), "at a limit")
	pawltest.Advance(t, client, time.Hour)
	if n := pawltest.Drain(t, client, mux, "default"); n != 2 {
		t.Errorf("an hour later %d attempts, want 2", n)
	}
}
