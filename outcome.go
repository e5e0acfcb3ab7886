package pawl

import (
	"errors"
	"time"
)

// An outcome is an error that decides the outcome of an attempt.
type outcome struct {
	verb  string // The outcome that fail.sql takes: snooze, retry, cancel or dead.
	delay time.Duration
	err   error
}

func (o *outcome) Error() string {
	switch {
	case o.err != nil:
		return o.err.Error()
	case o.verb == "snooze" || o.verb == "retry":
		return "pawl: " + o.verb + ": " + o.delay.String()
	default:
		return "pawl: " + o.verb
	}
}

func (o *outcome) Unwrap() error { return o.err }

// Snooze returns an error that makes the job run again after d. No attempt is used. A handler returns it, or a
// consumer passes it to [Client.Fail].
func Snooze(d time.Duration) error { return &outcome{verb: "snooze", delay: max(d, 0)} }

// RetryAfter returns an error that makes the attempt fail with err as the reason. The job is retried after d instead
// of its backoff, if attempts are left.
func RetryAfter(d time.Duration, err error) error {
	return &outcome{verb: "retry", delay: max(d, 0), err: err}
}

// Cancel returns an error that finishes the job as cancelled. err is the reason and may be nil.
func Cancel(err error) error { return &outcome{verb: "cancel", err: err} }

// Dead returns an error that finishes the job as dead, even if attempts are left. err is the reason and may be nil.
func Dead(err error) error { return &outcome{verb: "dead", err: err} }

// ErrSkip completes the job. A handler returns it to say that it had nothing to do.
var ErrSkip = errors.New("pawl: skip")

// unprocessable is the error of args that do not decode.
type unprocessable struct{ err error }

func (u *unprocessable) Error() string { return "pawl: args do not decode: " + u.err.Error() }

func (u *unprocessable) Unwrap() error { return u.err }

// jobErrors returns the JobErrors in an error. An error whose methods panic has none.
func jobErrors(err error) (each JobErrors, several bool) {
	_ = caught(func() error { each, several = errors.AsType[JobErrors](err); return nil })
	return each, several
}
