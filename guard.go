package pawl

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// Code of the user can do anything: panic, end its goroutine as testing.T.FailNow does, or return an error whose
// methods panic. Each call of it goes through one of the functions below, so that neither the process nor a runner ends
// with it.

// caught calls do and returns a panic as a *PanicError. If do ends the goroutine, so it is: the caller has a deferred
// call that finishes its work.
func caught(do func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: string(debug.Stack())}
		}
	}()
	return do()
}

// guarded calls do in a goroutine of its own and waits for it. It returns a panic, or that do ended the goroutine, as a
// *PanicError.
func guarded(do func() error) (err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = errGoexit
		err = caught(do)
	}()
	<-done
	return err
}

// errGoexit is the error of a handler or callback that ended its goroutine.
var errGoexit = &PanicError{Value: "it ended its goroutine (runtime.Goexit)"}

// errorMessage returns the text of an error, also if its method panics.
func errorMessage(err error) (text string) {
	if p := caught(func() error { text = err.Error(); return nil }); p != nil {
		return fmt.Sprintf("an error of type %T, whose method Error panicked: %v", err, p)
	}
	return text
}

// guardedHandler is a slog.Handler that drops a record whose handling panics: what is logged may be of the user, and so
// may be the handler.
type guardedHandler struct{ slog.Handler }

func (h guardedHandler) Enabled(ctx context.Context, level slog.Level) (enabled bool) {
	_ = caught(func() error { enabled = h.Handler.Enabled(ctx, level); return nil })
	return enabled
}

func (h guardedHandler) Handle(ctx context.Context, record slog.Record) error {
	return guarded(func() error { return h.Handler.Handle(ctx, record) })
}

func (h guardedHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return guardedHandler{h.Handler.WithAttrs(attrs)}
}

func (h guardedHandler) WithGroup(name string) slog.Handler {
	return guardedHandler{h.Handler.WithGroup(name)}
}
