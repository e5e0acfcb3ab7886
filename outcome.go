package pawl

import (
	"errors"
	"time"

	"github.com/pawlhq/pawl/pawlstate"
)

// outcome is an error that says what becomes of a job.
type outcome struct {
	verb  string // As fail.sql knows it: snooze, retry, cancel, dead.
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

// Snooze: again after d, no attempt used.
func Snooze(d time.Duration) error { return &outcome{verb: "snooze", delay: max(d, 0)} }

// RetryAfter: a failed attempt, with this wait instead of the backoff's.
func RetryAfter(d time.Duration, err error) error {
	return &outcome{verb: "retry", delay: max(d, 0), err: err}
}

// Cancel finishes the job as cancelled; err, the reason, may be nil.
func Cancel(err error) error { return &outcome{verb: "cancel", err: err} }

// Dead finishes the job as dead, whatever attempts are left; err, the reason, may be nil.
func Dead(err error) error { return &outcome{verb: "dead", err: err} }

// OutcomeOf returns the state that a job gets when its handler returns err, which may be nil, and whether that is a failed attempt.
// A failed attempt whose state is pawlstate.Scheduled is retried; if it was the last one, the job is dead instead.
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

// Skip completes the job without (more) work.
var ErrSkip = errors.New("pawl: skip")

// unprocessable: args do not decode.
type unprocessable struct{ err error }

func (u *unprocessable) Error() string { return "pawl: args do not decode: " + u.err.Error() }

func (u *unprocessable) Unwrap() error { return u.err }
