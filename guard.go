package pawl

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
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

// guardedFor is guarded, but it does not wait for longer than limit. It reports whether do returned in time.
func guardedFor(limit time.Duration, do func() error) (inTime bool, err error) {
	began := time.Now()
	done := make(chan error, 1)
	go func() {
		var err error = errGoexit
		defer func() { done <- err }()
		err = caught(do)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return time.Since(began) < limit, err // It may have blocked until its context ended.
	case <-timer.C:
		return false, nil
	}
}

// errGoexit is the error of a handler or callback that ended its goroutine.
var errGoexit = &PanicError{Value: "it ended its goroutine (runtime.Goexit)"}

// errorMessage returns the text of an error, also if its method panics, blocks or ends the goroutine.
func errorMessage(err error) string {
	answer := make(chan string, 1)
	inTime, p := guardedFor(callbackTimeout, func() error { answer <- err.Error(); return nil })
	switch {
	case !inTime:
		return fmt.Sprintf("an error of type %T, whose method Error did not return", err)
	case p != nil:
		return fmt.Sprintf("an error of type %T, whose method Error panicked: %v", err, p)
	default:
		return <-answer
	}
}

// guardedHandler is a slog.Handler that drops a record whose handling panics or blocks: what is logged may be of the
// user, and so may be the handler.
type guardedHandler struct {
	slog.Handler
	breaker *breaker
}

func (h guardedHandler) Enabled(ctx context.Context, level slog.Level) (enabled bool) {
	_ = caught(func() error { enabled = h.Handler.Enabled(ctx, level); return nil })
	return enabled
}

func (h guardedHandler) Handle(ctx context.Context, record slog.Record) error {
	_, err := h.breaker.try(ctx, func(context.Context) error { return h.Handler.Handle(ctx, record) })
	return err
}

func (h guardedHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return guardedHandler{h.Handler.WithAttrs(attrs), h.breaker}
}

func (h guardedHandler) WithGroup(name string) slog.Handler {
	return guardedHandler{h.Handler.WithGroup(name), h.breaker}
}

// A breaker calls a callback whose result nothing waits for, such as OnFailure. If the callback does not return in
// time, the breaker goes on without it, and skips its next calls. So a callback that blocks stops neither claims nor
// results.
type breaker struct {
	mu    sync.Mutex
	until time.Time // Calls are skipped until then.
}

const (
	callbackTimeout = 10 * time.Second // How long a callback may take.
	callbackPause   = time.Minute      // How long a callback that took longer is not called.
)

// call calls do, with a context that ends after callbackTimeout. It logs a panic, and a do that did not return in time.
// job may be nil.
func (b *breaker) call(ctx context.Context, log *slog.Logger, name string, job *JobInfo, do func(context.Context)) {
	called, err := b.try(ctx, func(ctx context.Context) error { do(ctx); return nil })
	if !called || err == nil {
		return
	}
	attrs := []any{"error", err}
	if job != nil {
		attrs = append(attrs, "job", job)
	}
	if _, panicked := err.(*PanicError); panicked { //nolint:errorlint // A method of the panic's value may panic.
		log.Error("pawl: "+name+" panicked", attrs...)
	} else {
		log.Error("pawl: "+name+" is not called for a while", attrs...)
	}
}

// try calls do and returns its error, or a panic as a *PanicError, or that do did not return in time. It reports false
// if it skipped the call.
func (b *breaker) try(ctx context.Context, do func(context.Context) error) (called bool, err error) {
	b.mu.Lock()
	open := !b.until.IsZero() && time.Now().Before(b.until)
	b.mu.Unlock()
	if open {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callbackTimeout)
	defer cancel()
	inTime, err := guardedFor(callbackTimeout, func() error { return do(ctx) })
	if inTime {
		return true, err
	}
	b.mu.Lock()
	b.until = time.Now().Add(callbackPause)
	b.mu.Unlock()
	return true, fmt.Errorf("it did not return within %v; it is not called for %v", callbackTimeout, callbackPause)
}
