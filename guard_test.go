package pawl_test

import (
	"context"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

// nilError has methods that panic, as those of a nil pointer do.
type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

type panickingError struct{}

func (panickingError) Error() string        { panic("Error") }
func (panickingError) Is(error) bool        { panic("Is") }
func (panickingError) As(any) bool          { panic("As") }
func (panickingError) Unwrap() error        { panic("Unwrap") }
func (panickingError) LogValue() slog.Value { panic("LogValue") }

// misbehaviours are what a callback may do instead of returning. Those of a callback that returns no error cannot
// return a wrong one.
var misbehaviours = map[string]func() error{
	"panics":                             func() error { panic("on purpose") },
	"panics with an error":               func() error { panic(panickingError{}) },
	"ends its goroutine":                 func() error { runtime.Goexit(); return nil },
	"returns a nil pointer as an error":  func() error { var e *nilError; return e },
	"returns an error that panics":       func() error { return panickingError{} },
	"returns an error that panics deep":  func() error { return pawl.RetryAfter(0, panickingError{}) },
	"returns an error of many that does": func() error { return pawl.JobErrors{1: panickingError{}} },
}

// A callback sets one callback of the user's up so that it misbehaves for the job with N = 1.
type callback func(
	bad func() error, config *pawl.Config, runner *pawl.RunnerConfig, kind *pawl.KindOptions, mux *pawl.Mux,
)

// wrongJob reports whether a callback is called for the job that is to suffer.
func wrongJob(job *pawl.JobInfo) bool { return strings.Contains(string(job.Args), "1") }

// callbacks are all callbacks that a runner calls. fails says whether the job's attempt fails by it; else the job
// completes.
var callbacks = map[string]struct {
	fails  bool // The attempt of the job fails.
	errors bool // What the callback returns is an error.
	set    callback
}{
	"handler": {true, true, nil},
	"Mux.Use": {
		true,
		true,
		func(bad func() error, _ *pawl.Config, _ *pawl.RunnerConfig, _ *pawl.KindOptions, mux *pawl.Mux) {
			mux.Use(func(ctx context.Context, job *pawl.JobInfo, next func(context.Context) error) error {
				if wrongJob(job) {
					return bad()
				}
				return next(ctx)
			})
		},
	},
	"KindOptions.Use": {
		true,
		true,
		func(bad func() error, _ *pawl.Config, _ *pawl.RunnerConfig, kind *pawl.KindOptions, _ *pawl.Mux) {
			kind.Use = append(kind.Use, func(ctx context.Context, job *pawl.JobInfo, next func(context.Context) error) error {
				if wrongJob(job) {
					return bad()
				}
				return next(ctx)
			})
		},
	},
	"KindOptions.Permit": {
		true,
		true,
		func(bad func() error, _ *pawl.Config, _ *pawl.RunnerConfig, kind *pawl.KindOptions, _ *pawl.Mux) {
			kind.Permit = func(_ context.Context, job *pawl.JobInfo) (func(), error) {
				if wrongJob(job) {
					return nil, bad()
				}
				return nil, nil
			}
		},
	},
	"release of a Permit": {
		true,
		false,
		func(bad func() error, _ *pawl.Config, _ *pawl.RunnerConfig, kind *pawl.KindOptions, _ *pawl.Mux) {
			kind.Permit = func(_ context.Context, job *pawl.JobInfo) (func(), error) {
				return func() {
					if wrongJob(job) {
						bad()
					}
				}, nil
			}
		},
	},
	"KindOptions.Delay": {
		true,
		false,
		func(bad func() error, _ *pawl.Config, _ *pawl.RunnerConfig, kind *pawl.KindOptions, mux *pawl.Mux) {
			kind.Delay = func(*pawl.JobInfo, error) time.Duration { bad(); return 0 }
			failing(mux)
		},
	},
	"RunnerConfig.OnFailure": {
		true,
		false,
		func(bad func() error, _ *pawl.Config, runner *pawl.RunnerConfig, _ *pawl.KindOptions, mux *pawl.Mux) {
			runner.OnFailure = func(context.Context, *pawl.JobInfo, error, bool) { bad() }
			failing(mux)
		},
	},
	"Config.OnClaim": {
		false,
		false,
		func(bad func() error, config *pawl.Config, _ *pawl.RunnerConfig, _ *pawl.KindOptions, _ *pawl.Mux) {
			config.OnClaim = func(context.Context, pawl.Jobs, time.Duration, error) { bad() }
		},
	},
	"Config.Logger": {
		true,
		false,
		func(bad func() error, config *pawl.Config, _ *pawl.RunnerConfig, _ *pawl.KindOptions, mux *pawl.Mux) {
			config.Logger = slog.New(badHandler{bad})
			failing(mux)
		},
	},
	"Codec.Decode": {
		true,
		true,
		func(bad func() error, config *pawl.Config, _ *pawl.RunnerConfig, _ *pawl.KindOptions, _ *pawl.Mux) {
			config.Codec = badCodec{bad}
		},
	},
}

// failing has the handler of the wrong job return an error.
func failing(mux *pawl.Mux) {
	mux.Use(func(ctx context.Context, job *pawl.JobInfo, next func(context.Context) error) error {
		if wrongJob(job) {
			return context.DeadlineExceeded
		}
		return next(ctx)
	})
}

type badHandler struct{ bad func() error }

func (badHandler) Enabled(context.Context, slog.Level) bool             { return true }
func (h badHandler) Handle(_ context.Context, record slog.Record) error { h.bad(); return nil }
func (h badHandler) WithAttrs([]slog.Attr) slog.Handler                 { return h }
func (h badHandler) WithGroup(string) slog.Handler                      { return h }

type badCodec struct{ bad func() error }

func (badCodec) Encode(_ string, args []byte) ([]byte, error) { return args, nil }
func (c badCodec) Decode(_ string, stored []byte) ([]byte, error) {
	if strings.Contains(string(stored), "1") {
		return stored, c.bad()
	}
	return stored, nil
}

// Whatever a callback does, the process and the runner go on, the job's attempt fails or is not touched, and the next
// job runs.
func TestNoCallbackStopsTheRunner(t *testing.T) {
	t.Parallel()
	for name, c := range callbacks {
		for what, bad := range misbehaviours {
			if strings.HasPrefix(what, "returns") && !c.errors {
				continue
			}
			t.Run(name+" "+what, func(t *testing.T) {
				t.Parallel()
				var kind pawl.KindOptions
				var runner pawl.RunnerConfig
				mux := new(pawl.Mux)
				client, _ := install(t, func(config *pawl.Config) {
					if c.set != nil {
						c.set(bad, config, &runner, &kind, mux)
					}
				})
				pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error {
					if job.Args.N == 1 && c.set == nil {
						return bad()
					}
					return nil
				}, kind)
				hurt := insert(t, client, pawl.JobSpec{Args: Note{1}, MaxAttempts: 1})
				start(t, client, mux, runner)
				next := insert(t, client, Note{2})
				if c.fails {
					if job := await(t, client, hurt, pawlstate.Dead); job.Reason == "poison" {
						t.Error("the job has crashed workers")
					}
				} else {
					await(t, client, hurt, pawlstate.Completed)
				}
				await(t, client, next, pawlstate.Completed)
			})
		}
	}
}
