package pawl

import (
	"context"
	"log/slog"

	"github.com/pawlhq/pawl/pawlstate"
)

// A reporter logs the results of a runner's jobs, and calls OnFailure.
type reporter struct {
	log       *slog.Logger
	base      context.Context
	onFailure func(ctx context.Context, job *JobInfo, err error, final bool)
}

// maxLoggedError is how many bytes of an error are logged, at most.
const maxLoggedError = 1024

// report is called for each attempt that did not simply succeed. became is the state that the job got. delivery is
// the error of the attempt's delivery to the database.
func (r *reporter) report(a attemptResult, became string, delivery error) {
	err := a.cause
	if a.verb == verbComplete {
		err = nil // It is ErrSkip.
	}
	switch {
	case err != nil:
		r.logError(a, became, err, delivery)
	case delivery != nil:
		r.log.WarnContext(r.base, "pawl: result not delivered", "job", a.job, "result", a.verb, "error", delivery)
	}
	if err == nil || delivery != nil || a.verb == verbSnooze || r.onFailure == nil {
		return
	}
	final := became == string(pawlstate.Dead) || became == string(pawlstate.Cancelled)
	if p := guarded(func() error { r.onFailure(r.base, a.job, err, final); return nil }); p != nil {
		r.log.Error("pawl: OnFailure panicked", "job", a.job, "error", p)
	}
}

// logError logs an attempt whose handler returned an error.
func (r *reporter) logError(a attemptResult, became string, err, delivery error) {
	level, message := slog.LevelInfo, "pawl: job failed"
	switch a.verb {
	case verbSnooze:
		message = "pawl: job snoozed"
	case verbCancel:
		message = "pawl: job cancelled"
	}
	if delivery != nil {
		level, became = slog.LevelWarn, delivery.Error()
	}
	r.log.Log(r.base, level, message, "job", a.job, "became", became, "error", truncate(errorMessage(err), maxLoggedError))
}
