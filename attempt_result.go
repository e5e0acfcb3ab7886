package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/pawlhq/pawl/pawlstate"
)

// An attemptResult is the result of a claimed job's attempt: the job is completed, or one of the verbs of fail.sql
// applies.
type attemptResult struct {
	job       *JobInfo
	verb      string
	delay     *float64      // In seconds. If nil, the verb's default applies.
	backoff   *string       // The handler's Backoff, as JSON.
	err       *string       // The error that is kept with the job, as JSON: {"error": …, "stack": …}.
	waited    time.Duration // From when the job was due until its handler started. 0 if it was not started.
	ran       time.Duration
	cause     error // What the handler returned.
	skips     int   // How often a statement skipped the job because its row was locked.
	ambiguous bool  // An attempt to deliver the result may have been carried out.
	refused   bool  // It stands for a result that the database refused.
	delayed   int   // How often the delivery waited for a database that took no results.
	ended     error // Why the job's context ended before its handler returned, or nil.

	stuck *stuckHandler // Set if the handler has not returned. Then job is a copy.
}

// keepsPermit reports whether the job's permit, and with it its lease, outlives the result.
func (a *attemptResult) keepsPermit() bool { return a.stuck != nil && a.stuck.keepsPermit() }

// The verbs of fail.sql, and complete. An outcome may have others.
const (
	verbComplete      = "complete"
	verbRetry         = "retry"
	verbRelease       = "release"
	verbSnooze        = "snooze"
	verbCancel        = "cancel"
	verbUnprocessable = "unprocessable"
)

// releaseOf is the result of a job that is given back: it becomes ready after a while, and no attempt is used.
func releaseOf(job *JobInfo, after time.Duration) attemptResult {
	return attemptResult{job: job, verb: verbRelease, delay: secondsOf(after)}
}

// secondsOf returns a duration as a parameter of a statement.
func secondsOf(d time.Duration) *float64 {
	s := d.Seconds()
	return &s
}

// resultOf returns the result of an attempt whose handler h returned err. h may be nil. If a method of err panics, the
// panic is the error of the attempt.
func resultOf(job *JobInfo, h *handler, err error) (a attemptResult) {
	if err == nil {
		return attemptResult{job: job, verb: verbComplete}
	}
	p, panicked := errors.AsType[*PanicError](caught(func() error { a = readResult(job, h, err); return nil }))
	if !panicked {
		return a
	}
	text := fmt.Sprintf("pawl: the handler returned an error of type %T, a method of which panicked: %v", err, p.Value)
	return attemptResult{job: job, verb: verbRetry, err: errorText(text, p.Stack)}
}

func readResult(job *JobInfo, h *handler, err error) attemptResult {
	a := attemptResult{job: job, verb: verbRetry}
	if errors.Is(err, ErrSkip) {
		a.verb = verbComplete
		return a
	}
	o, chosen := errors.AsType[*outcome](err)
	if chosen {
		a.verb = o.verb
		if o.verb == verbSnooze || o.verb == verbRetry {
			a.delay = secondsOf(o.delay)
		}
	} else if _, bad := errors.AsType[*unprocessable](err); bad {
		a.verb = verbUnprocessable
	}
	if a.verb != verbSnooze && (!chosen || o.err != nil) {
		var stack string
		if p, ok := errors.AsType[*PanicError](err); ok {
			stack = p.Stack
		}
		a.err = errorText(err.Error(), stack)
	}
	if a.verb == verbRetry && a.delay == nil && h != nil {
		a.delay, a.backoff = h.retryAfter(job, err)
	}
	return a
}

// retryAfter returns the handler's own delay and backoff after a failed attempt. Each is nil if the handler has none.
func (h *handler) retryAfter(job *JobInfo, err error) (delay *float64, backoff *string) {
	if h.opts.Delay != nil {
		answer := make(chan time.Duration, 1) // Not a variable: Delay may return too late.
		called, p := h.breaker.try(context.Background(), func(context.Context) error {
			answer <- h.opts.Delay(job, err)
			return nil
		})
		if p != nil {
			job.client.warn("pawl: KindOptions.Delay failed; the backoff applies", job, p)
		} else if called {
			if d := <-answer; d > 0 {
				delay = secondsOf(d)
			}
		}
	}
	if h.opts.Backoff != (Backoff{}) {
		b, _ := json.Marshal(h.opts.Backoff.stored())
		s := string(b)
		backoff = &s
	}
	return delay, backoff
}

// The bytes of an error that are kept with the job, at most.
const maxErrorText, maxErrorStack = 4096, 8192

// errorText returns an error as it is kept with the job: truncated, and without what jsonb refuses.
func errorText(text, stack string) *string {
	b, _ := json.Marshal(struct {
		Error string `json:"error"`
		Stack string `json:"stack,omitempty"`
	}{truncate(text, maxErrorText), truncate(stack, maxErrorStack)})
	s := string(b)
	return &s
}

// OutcomeOf returns the state that a job gets if its handler returns err, and whether the attempt counts as failed.
// err may be nil. If the attempt has failed and the state is [pawlstate.Scheduled], the job is retried. OutcomeOf
// does not know how many attempts are left: after the last one the job is dead instead.
func OutcomeOf(err error) (state pawlstate.State, failed bool) {
	switch resultOf(nil, nil, err).verb {
	case verbComplete:
		return pawlstate.Completed, false
	case "snooze":
		return pawlstate.Scheduled, false
	case "cancel":
		return pawlstate.Cancelled, false
	case "retry":
		return pawlstate.Scheduled, true
	default:
		return pawlstate.Dead, true
	}
}
