package pawltest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/pawlhq/pawl/pawltest"
)

func TestWork(t *testing.T) {
	t.Parallel()
	var around []string
	around1 := func(name string) pawl.Middleware {
		return func(ctx context.Context, job *pawl.JobInfo, next func(context.Context) error) error {
			err := next(ctx)
			around = append(around, fmt.Sprintf("%s: %v", name, err))
			return err
		}
	}
	failure := errors.New("no")
	mux := new(pawl.Mux)
	mux.Use(around1("mux"))
	type key struct{}
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[note]) error {
		if pawl.JobFromContext(ctx) != job.JobInfo {
			t.Error("FromContext is another job")
		}
		switch job.Args.N {
		case 1:
			if job.Attempt != 1 || job.MaxAttempts != 20 || job.Queue != "q" || job.Headers["h"] != "v" ||
				string(job.Data) != "d" {
				t.Errorf("the job is %+v", job.JobInfo)
			}
			if err := job.Progress(ctx, 50, "half"); err != nil {
				t.Error(err)
			}
			for range 2 {
				if n, err := pawl.Step(ctx, "one", func(context.Context) (int, error) { return 3, nil }); n != 3 || err != nil {
					t.Errorf("Step: %d, %v", n, err)
				}
			}
			return nil
		case 2:
			return failure
		case 3:
			panic("aside")
		case 4:
			<-ctx.Done()
			return context.Cause(ctx)
		case 5:
			return fmt.Errorf("attempt %d, %v, %s", job.Attempt, ctx.Value(key{}), job.Checkpoint)
		}
		return pawl.ErrSkip
	}, pawl.KindOptions{Timeout: 20 * time.Millisecond, Use: []pawl.Middleware{around1("kind")}})

	if err := pawltest.Work(t, mux, pawl.JobSpec{Args: note{1}, Queue: "q", Headers: map[string]string{"h": "v"}, Data: []byte("d")}); err != nil {
		t.Error(err)
	}
	if err := pawltest.Work(t, mux, note{2}); !errors.Is(err, failure) {
		t.Errorf("an error came out as %v", err)
	}
	if want := []string{"kind: <nil>", "mux: <nil>", "kind: no", "mux: no"}; !slices.Equal(around, want) {
		t.Errorf("middleware saw %q, want %q", around, want)
	}
	if p, ok := errors.AsType[*pawl.PanicError](pawltest.Work(t, mux, note{3})); !ok || p.Value != "aside" {
		t.Errorf("a panic came out as %v", p)
	}
	if err := pawltest.Work(t, mux, note{4}); !errors.Is(err, pawl.ErrTimeout) {
		t.Errorf("past its timeout: %v", err)
	}
	err := pawltest.Work(t, mux, note{5}, pawltest.WorkOptions{
		Context: context.WithValue(t.Context(), key{}, "shared"),
		Prepare: func(job *pawl.JobInfo) { job.Attempt, job.Checkpoint = 3, json.RawMessage(`"here"`) },
	})
	if err == nil || err.Error() != `attempt 3, shared, "here"` {
		t.Errorf("prepared: %v", err)
	}
	if err := pawltest.Work(t, mux, pawl.Raw("note", []byte(`[]`))); err == nil ||
		!strings.Contains(err.Error(), "do not decode") {
		t.Errorf("args that do not decode: %v", err)
	}
	contains(t, ends(t, func(t testing.TB) { pawltest.Work(t, mux, &other{}) }), `no handler for kind "other"`, `"note"`)
	contains(t, ends(t, func(t testing.TB) { pawltest.Work(t, mux, nil) }), "Args", "nil")
	contains(
		t,
		ends(t, func(t testing.TB) { pawltest.Work(t, mux, pawl.JobSpec{Args: note{1}, MaxAttempts: -1}) }),
		"MaxAttempts",
	)
}

func TestPermit(t *testing.T) {
	t.Parallel()
	snooze := pawl.Snooze(time.Minute)
	for _, test := range []struct{ answers, want []error }{
		{nil, []error{nil, nil}},
		{[]error{snooze}, []error{snooze, snooze}},
		{[]error{snooze, nil}, []error{snooze, nil, nil}},
	} {
		permit := pawltest.Permit(test.answers...)
		for i, want := range test.want {
			release, err := permit(t.Context(), &pawl.JobInfo{})
			if !errors.Is(err, want) || (release == nil) != (want != nil) {
				t.Errorf("answer %d of %v is %v", i, test.answers, err)
			}
			if release != nil {
				release()
			}
		}
	}
}

// The permit of a kind is asked, with a database and without.
func TestPermitOfKind(t *testing.T) {
	t.Parallel()
	client := install(t)
	mux := new(pawl.Mux)
	pawl.HandleResult(mux, func(_ context.Context, job *pawl.Job[note]) (int, error) { return job.Args.N, nil },
		pawl.KindOptions{Permit: pawltest.Permit(pawl.ErrSkip, pawl.Snooze(time.Minute), nil)})
	if err := pawltest.Work(t, mux, note{1}); !errors.Is(err, pawl.ErrSkip) {
		t.Errorf("without a database: %v", err)
	}
	insert(t, client, pawl.JobSpec{Args: note{7}})
	if job := pawltest.RunOne(t, client, mux); job.State != pawlstate.Scheduled || job.Attempt != 0 {
		t.Errorf("snoozed by the permit the job is %s after %d attempts", job.State, job.Attempt)
	}
	pawltest.Advance(t, client, time.Minute)
	if job := pawltest.RunOne(t, client, mux); job.State != pawlstate.Completed || string(job.Result) != "7" {
		t.Errorf("with the permit the job is %s, its result %s", job.State, job.Result)
	}
}

func TestChunk(t *testing.T) {
	t.Parallel()
	client := install(t)
	mux := new(pawl.Mux)
	pawl.HandleChunk(mux, func(ctx context.Context, jobs []*pawl.Job[note]) error {
		if len(jobs) != 1 || pawl.JobFromContext(ctx) != nil {
			t.Errorf("%d jobs, %v", len(jobs), pawl.JobFromContext(ctx))
		}
		if jobs[0].Args.N == 2 {
			return pawl.JobErrors{jobs[0].ID: pawl.Dead(errors.New("no"))}
		}
		return pawl.JobErrors{}
	})
	for n, want := range map[int]pawlstate.State{1: pawlstate.Completed, 2: pawlstate.Dead} {
		insert(t, client, pawl.JobSpec{Args: note{n}})
		if job := pawltest.RunOne(t, client, mux); job.State != want {
			t.Errorf("note %d is %s, want %s", n, job.State, want)
		}
		if err := pawltest.Work(t, mux, note{n}); (err != nil) != (n == 2) {
			t.Errorf("note %d without a database: %v", n, err)
		}
	}
}
