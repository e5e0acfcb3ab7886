package pawl

import (
	"errors"
	"time"
)

// outcome is an error that says what becomes of a job.
type outcome struct {
	verb  string // As fail.sql knows it: snooze, retry, cancel, dead.
	delay time.Duration
	at    time.Time
	err   error
}

func (o *outcome) Error() string {
	when := o.delay.String()
	if !o.at.IsZero() {
		when = o.at.String()
	}
	switch {
	case o.err != nil:
		return o.err.Error()
	case o.verb == "snooze" || o.verb == "retry":
		return "pawl: " + o.verb + ": " + when
	default:
		return "pawl: " + o.verb
	}
}

func (o *outcome) Unwrap() error { return o.err }

// Snooze: again after d, no attempt used.
func Snooze(d time.Duration) error { return &outcome{verb: "snooze", delay: max(d, 0)} }

// SnoozeUntil: again at t, no attempt used.
func SnoozeUntil(t time.Time) error { return &outcome{verb: "snooze", at: t} }

// RetryAfter: a failed attempt, with this wait instead of the backoff's.
func RetryAfter(d time.Duration, err error) error {
	return &outcome{verb: "retry", delay: max(d, 0), err: err}
}

// RetryAt: a failed attempt, tried again at t.
func RetryAt(t time.Time, err error) error { return &outcome{verb: "retry", at: t, err: err} }

// Cancel finishes the job as cancelled; err, the reason, may be nil.
func Cancel(err error) error { return &outcome{verb: "cancel", err: err} }

// Dead finishes the job as dead, whatever attempts are left; err, the reason, may be nil.
func Dead(err error) error { return &outcome{verb: "dead", err: err} }

// Outcome says what an error of a handler, or nil, makes of its job: complete, retry, snooze, cancel, dead or unprocessable. A retry is dead when
// no attempt is left.
func Outcome(err error) string { return resultOf(nil, nil, err).verb }

// Skip completes the job without (more) work.
var ErrSkip = errors.New("pawl: skip")

// unprocessable: args do not decode.
type unprocessable struct{ err error }

func (u *unprocessable) Error() string { return "pawl: args do not decode: " + u.err.Error() }

func (u *unprocessable) Unwrap() error { return u.err }
