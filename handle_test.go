package pawl_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

func TestAHandlersErrorDecidesTheState(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	tests := []struct {
		name     string
		handle   func() error
		attempts int // MaxAttempts
		state    pawlstate.State
		reason   string
		used     int
		said     string        // part of the last error kept; "": none is kept
		wait     time.Duration // until it runs again
	}{
		{name: "nil", handle: func() error { return nil }, state: pawlstate.Completed, used: 1},
		{name: "skip", handle: func() error {
			return fmt.Errorf("wrapped: %w", pawl.ErrSkip)
		}, state: pawlstate.Completed, used: 1},
		{name: "error", handle: func() error { return errBoom }, attempts: 1, state: pawlstate.Dead, reason: "attempts",
			used: 1, said: "boom"},
		{name: "panic", handle: func() error { panic("ouch") }, attempts: 1, state: pawlstate.Dead, reason: "attempts",
			used: 1, said: "panic: ouch"},
		{name: "panic with an error", handle: func() error {
			panic(pawl.Cancel(errBoom))
		}, state: pawlstate.Cancelled, used: 1, said: "boom"},
		{name: "retry later", handle: func() error {
			return pawl.RetryAfter(time.Hour, errBoom)
		}, state: pawlstate.Scheduled, used: 1, said: "boom", wait: time.Hour},
		{name: "retry without attempts left", handle: func() error {
			return pawl.RetryAfter(time.Hour, errBoom)
		}, attempts: 1, state: pawlstate.Dead, reason: "attempts", used: 1, said: "boom"},
		{name: "snooze", handle: func() error {
			return fmt.Errorf("wrapped: %w", pawl.Snooze(time.Hour))
		}, attempts: 1, state: pawlstate.Scheduled, wait: time.Hour},
		{name: "cancel", handle: func() error {
			return fmt.Errorf("wrapped: %w", pawl.Cancel(nil))
		}, state: pawlstate.Cancelled, used: 1},
		{name: "cancel with a reason", handle: func() error {
			return pawl.Cancel(errBoom)
		}, state: pawlstate.Cancelled, used: 1, said: "boom"},
		{name: "dead", handle: func() error {
			return errors.Join(errBoom, pawl.Dead(errBoom))
		}, state: pawlstate.Dead, reason: "handler", used: 1, said: "boom"},
		{name: "what jsonb refuses", handle: func() error {
			return errors.New("a\x00b\xffc")
		}, attempts: 1, state: pawlstate.Dead, reason: "attempts", used: 1, said: "a\uFFFDb\uFFFDc"},
		{name: "a very long error", handle: func() error {
			return errors.New(strings.Repeat("ü", 100_000))
		}, attempts: 1, state: pawlstate.Dead, reason: "attempts", used: 1, said: "ü …"},
	}
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error { return tests[job.Args.N].handle() })
	ids := make([]pawl.ID, len(tests))
	for i, test := range tests {
		ids[i] = insert(t, client, pawl.JobSpec{Args: Note{i}, MaxAttempts: test.attempts})
	}
	stop := start(t, client, mux, pawl.RunnerConfig{Name: "one"})
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			job := await(t, client, ids[i], test.state)
			if job.Attempt != test.used || job.Reason != test.reason {
				t.Errorf("attempt %d, reason %q; want %d, %q", job.Attempt, job.Reason, test.used, test.reason)
			}
			switch {
			case test.said == "" && len(job.Errors) > 0:
				t.Errorf("errors are %v, want none", job.Errors)
			case test.said != "" && len(job.Errors) != 1:
				t.Errorf("errors are %v, want one", job.Errors)
			case test.said != "":
				e := job.Errors[0]
				if !strings.Contains(e.Error, test.said) || len(e.Error) > 5000 || e.Attempt != 1 || e.Worker != "one" ||
					e.At.IsZero() {
					t.Errorf("the error kept is %.200v, want %q in it", e, test.said)
				}
				if panicked := strings.HasPrefix(test.name, "panic"); panicked != strings.Contains(e.Stack, "handle_test.go") {
					t.Errorf("the stack kept is %.200q", e.Stack)
				}
			}
			if test.wait > 0 {
				if d := time.Until(job.RunAt); d > test.wait || d < test.wait-time.Minute {
					t.Errorf("runs again in %v, want %v", d, test.wait)
				}
			}
			if finished := test.state != pawlstate.Scheduled; finished != !job.FinishedAt.IsZero() || finished &&
				job.Worker != "one" {
				t.Errorf("finished at %v by %q", job.FinishedAt, job.Worker)
			}
		})
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// A handler may call runtime.Goexit, as t.FailNow does. The job fails, and the runner does not lose a place.
func TestGoexitIsAFailedAttempt(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error { runtime.Goexit(); return nil })
	id := insert(t, client, pawl.JobSpec{Args: Note{1}, MaxAttempts: 1})
	stop := start(t, client, mux, pawl.RunnerConfig{Max: 1, DrainTimeout: 10 * time.Millisecond})
	defer stop()
	if job := await(t, client, id, pawlstate.Dead); len(job.Errors) != 1 ||
		!strings.Contains(job.Errors[0].Error, "Goexit") {
		t.Errorf("errors are %v", job.Errors)
	}
}

func TestArgsThatDoNotDecode(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error { t.Error("the handler ran"); return nil })
	id := insert(t, client, pawl.Raw("note", []byte(`{"n": "text"}`)))
	start(t, client, mux, pawl.RunnerConfig{})
	if job := await(t, client, id, pawlstate.Dead); job.Reason != "unprocessable" || len(job.Errors) != 1 {
		t.Errorf("reason %q, errors %v", job.Reason, job.Errors)
	}
}

type pointed struct{ N int }

func (*pointed) Kind() string { return "pointed" }

func TestArgsOfEveryKind(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[*pointed]) error {
		if job.Args == nil || job.Args.N != 5 {
			return fmt.Errorf("args are %+v", job.Args)
		}
		return nil
	})
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[pawl.RawArgs]) error {
		if string(job.Args.JSON) != `{"a": 1}` || job.Args.Kind() != "raw" && job.Args.Kind() != "old" {
			return fmt.Errorf("args are %s of %s", job.Args.JSON, job.Args.Kind())
		}
		return nil
	}, pawl.KindOptions{Kind: "raw", Aliases: []string{"old"}})
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[pawl.RawArgs]) error {
		if job.Args.JSON != nil || string(job.Data) != "\x00\xff" {
			return fmt.Errorf("args %s, data %q", job.Args.JSON, job.Data)
		}
		return nil
	}, pawl.KindOptions{Kind: "data"})
	ids := []pawl.ID{
		insert(t, client, &pointed{5}),
		insert(t, client, pawl.Raw("raw", []byte(`{"a":1}`))),
		insert(t, client, pawl.Raw("old", []byte(`{"a":1}`))),
		insert(t, client, pawl.JobSpec{Args: pawl.Raw("data", nil), Data: []byte("\x00\xff")}),
	}
	start(t, client, mux, pawl.RunnerConfig{})
	for _, id := range ids {
		await(t, client, id, pawlstate.Completed)
	}
}

func TestHandlePanics(t *testing.T) {
	t.Parallel()
	nothing := func(context.Context, *pawl.Job[Note]) error { return nil }
	for name, register := range map[string]func(*pawl.Mux){
		"a kind twice":   func(m *pawl.Mux) { pawl.Handle(m, nothing); pawl.Handle(m, nothing) },
		"an alias twice": func(m *pawl.Mux) { pawl.Handle(m, nothing, pawl.KindOptions{Aliases: []string{"note"}}) },
		"no kind": func(m *pawl.Mux) {
			pawl.Handle(m, func(context.Context, *pawl.Job[pawl.RawArgs]) error { return nil })
		},
		"a wrong backoff": func(m *pawl.Mux) { pawl.Handle(m, nothing, pawl.KindOptions{Backoff: pawl.Backoff{Jitter: 2}}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			register(new(pawl.Mux))
		}()
	}
}

func TestUnknownKindIsGivenBack(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error { return nil })
	id := insert(t, client, pawl.JobSpec{Args: pawl.Raw("foreign", nil), MaxAttempts: 1})
	start(t, client, mux, pawl.RunnerConfig{})
	job := await(t, client, id, pawlstate.Scheduled)
	if d := time.Until(job.RunAt); job.Attempt != 0 || len(job.Errors) != 0 || d > time.Minute || d < 30*time.Second {
		t.Errorf("attempts %d, errors %v, again in %v; want none, none and a minute", job.Attempt, job.Errors, d)
	}
}

func TestAHandlersContextEndsAtItsTimeout(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	mux := new(pawl.Mux)
	cause := make(chan error, 1)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return ctx.Err()
	}, pawl.KindOptions{Timeout: 20 * time.Millisecond})
	id := insert(t, client, pawl.JobSpec{Args: Note{1}, MaxAttempts: 1})
	start(t, client, mux, pawl.RunnerConfig{})
	if err := <-cause; !errors.Is(err, pawl.ErrTimeout) {
		t.Errorf("the cause is %v, want ErrTimeout", err)
	}
	await(t, client, id, pawlstate.Dead)
}

func TestMiddleware(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	var mu sync.Mutex
	var order []string
	note := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, s)
	}
	type key struct{}
	around := func(name string) pawl.Middleware {
		return func(ctx context.Context, job *pawl.JobInfo, next func(context.Context) error) error {
			outer, _ := ctx.Value(key{}).(string)
			err := next(context.WithValue(ctx, key{}, outer+name))
			if p, ok := errors.AsType[*pawl.PanicError](err); !ok || p.Value != "ouch" || p.Stack == "" {
				note("no panic in " + name)
			}
			note(name)
			return err
		}
	}
	mux := new(pawl.Mux)
	mux.Use(around("a"), around("b"))
	mux.Use(func(ctx context.Context, job *pawl.JobInfo, next func(context.Context) error) error {
		err := next(ctx)
		if err != nil {
			return pawl.Cancel(err) // Middleware may decide otherwise.
		}
		return nil
	})
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		note(ctx.Value(key{}).(string))
		if pawl.JobFromContext(ctx) != job.JobInfo {
			note("FromContext is not the job")
		}
		panic("ouch")
	}, pawl.KindOptions{Use: []pawl.Middleware{around("c"), around("d")}})
	id := insert(t, client, Note{1})
	start(t, client, mux, pawl.RunnerConfig{})
	await(t, client, id, pawlstate.Cancelled)
	mu.Lock()
	defer mu.Unlock()
	// a and b are outside the one that turns the panic into a cancellation; errors.As sees the panic through it.
	if want := []string{"abcd", "d", "c", "b", "a"}; !slices.Equal(order, want) {
		t.Errorf("the order was %v, want %v", order, want)
	}
	if pawl.JobFromContext(t.Context()) != nil {
		t.Error("FromContext outside a handler is not nil")
	}
}

func TestRetriesToDead(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	mux := new(pawl.Mux)
	var finals, failures atomic.Int32
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		if len(job.Errors) != min(job.Attempt-1, 10) {
			t.Errorf("attempt %d sees %d errors", job.Attempt, len(job.Errors))
		}
		return fmt.Errorf("attempt %d", job.Attempt)
	}, pawl.KindOptions{Backoff: pawl.Backoff{Base: time.Millisecond, Growth: 1, NoJitter: true}})
	id := insert(t, client, pawl.JobSpec{Args: Note{1}, MaxAttempts: 13})
	start(t, client, mux, pawl.RunnerConfig{OnFailure: func(ctx context.Context, job *pawl.JobInfo, err error,
		final bool) {
		failures.Add(1)
		if final {
			finals.Add(1)
			panic("OnFailure's panic must not harm")
		}
	}})
	job := await(t, client, id, pawlstate.Dead)
	if job.Attempt != 13 || job.Reason != "attempts" || len(job.Errors) != 10 {
		t.Fatalf("dead with attempt %d, reason %q, %d errors; want 13, attempts, 10", job.Attempt, job.Reason,
			len(job.Errors))
	}
	for i, e := range job.Errors {
		if e.Attempt != i+4 || e.Error != fmt.Sprintf("attempt %d", i+4) {
			t.Errorf("error %d is of attempt %d: %s; want the last ten, oldest first", i, e.Attempt, e.Error)
		}
	}
	pgtest.Wait(t, "OnFailure", func() bool { return failures.Load() == 13 && finals.Load() == 1 })
}

func TestBackoffOfJobKindAndQueue(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	exactly := func(d time.Duration) pawl.Backoff { return pawl.Backoff{Base: d, NoJitter: true} }
	if err := client.PutQueue(t.Context(), pawl.Queue{Name: "default", Backoff: exactly(10 * time.Minute)}); err != nil {
		t.Fatal(err)
	}
	mux := new(pawl.Mux)
	fail := func(context.Context, *pawl.Job[pawl.RawArgs]) error { return errBoom }
	pawl.Handle(mux, fail, pawl.KindOptions{Kind: "own", Backoff: exactly(20 * time.Minute)})
	pawl.Handle(mux, fail, pawl.KindOptions{Kind: "plain"})
	pawl.Handle(mux, fail, pawl.KindOptions{Kind: "computed", Backoff: exactly(20 * time.Minute),
		Delay: func(job *pawl.JobInfo, err error) time.Duration {
			if job.Queue == "other" {
				return 0 // Falls back.
			}
			return 40 * time.Minute
		}})
	jobs := []struct {
		job  pawl.JobSpec
		wait time.Duration
	}{
		{pawl.JobSpec{Args: pawl.Raw("plain", nil)}, 10 * time.Minute},
		{pawl.JobSpec{Args: pawl.Raw("plain", nil), Queue: "other"}, time.Second},
		{pawl.JobSpec{Args: pawl.Raw("own", nil)}, 20 * time.Minute},
		{pawl.JobSpec{Args: pawl.Raw("own", nil), Backoff: exactly(30 * time.Minute)}, 30 * time.Minute},
		{pawl.JobSpec{Args: pawl.Raw("computed", nil), Backoff: exactly(30 * time.Minute)}, 40 * time.Minute},
		{pawl.JobSpec{Args: pawl.Raw("computed", nil), Queue: "other"}, 20 * time.Minute},
	}
	ids := make([]pawl.ID, len(jobs))
	for i := range jobs {
		ids[i] = insert(t, client, jobs[i].job)
	}
	start(t, client, mux, pawl.RunnerConfig{Max: 8})
	for i, want := range jobs {
		var job *pawl.JobInfo
		pgtest.Wait(t, "the failure", func() bool {
			job, _ = client.Get(t.Context(), ids[i])
			return len(job.Errors) > 0
		})
		if d := job.RunAt.Sub(job.Errors[len(job.Errors)-1].At); d < want.wait*8/10 || d > want.wait*12/10+time.Second {
			t.Errorf("job %d (%s) waits %v, want %v", i, want.job.Kind(), d, want.wait)
		}
	}
}

func TestAHandlerOfAnyKindGetsAllOtherKinds(t *testing.T) {
	t.Parallel()
	for _, chunks := range []bool{false, true} {
		t.Run(fmt.Sprintf("chunks %v", chunks), func(t *testing.T) {
			t.Parallel()
			client, _ := install(t)
			var mu sync.Mutex
			got := map[string]string{}
			note := func(job *pawl.Job[pawl.RawArgs], by string) {
				mu.Lock()
				defer mu.Unlock()
				if job.Args.Kind() != job.Kind {
					t.Errorf("a job of kind %q has args of kind %q", job.Kind, job.Args.Kind())
				}
				got[job.Kind] = by + " " + string(job.Args.JSON)
			}
			mux := new(pawl.Mux)
			pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error {
				mu.Lock()
				defer mu.Unlock()
				got[job.Kind] = fmt.Sprintf("its own %d", job.Args.N)
				return nil
			})
			any := pawl.KindOptions{Kind: "*"}
			if chunks {
				pawl.HandleChunk(mux, func(_ context.Context, jobs []*pawl.Job[pawl.RawArgs]) error {
					for _, job := range jobs {
						note(job, "any")
					}
					return nil
				}, any)
			} else {
				pawl.Handle(mux, func(_ context.Context, job *pawl.Job[pawl.RawArgs]) error { note(job, "any"); return nil }, any)
			}
			ids := []pawl.ID{
				insert(t, client, Note{7}), insert(t, client, pawl.Raw("förster", []byte("[1]"))),
				insert(t, client, pawl.Raw("x", nil)), insert(t, client, pawl.Raw("*", []byte("2"))),
			}
			stop := start(t, client, mux, pawl.RunnerConfig{})
			for _, id := range ids {
				await(t, client, id, pawlstate.Completed)
			}
			stop()
			want := map[string]string{Note{}.Kind(): "its own 7", "förster": "any [1]", "x": "any ", "*": "any 2"}
			if !maps.Equal(got, want) {
				t.Errorf("ran %q, want %q", got, want)
			}
		})
	}
}
