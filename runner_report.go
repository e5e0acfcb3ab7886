package pawl

import (
	"context"
	"errors"
	"log/slog"

	"github.com/pawlhq/pawl/internal/outage"
	"github.com/pawlhq/pawl/pawlstate"
)

// A reporter logs the results of a runner's jobs, and calls OnFailure.
type reporter struct {
	log       *slog.Logger
	base      context.Context
	onFailure func(ctx context.Context, job *JobInfo, err error, final bool)
	breaker   breaker // Of onFailure.

	undelivered outage.Outage // It never works again: each result that is lost is another one.
}

func newReporter(
	log *slog.Logger, base context.Context, onFailure func(context.Context, *JobInfo, error, bool),
) *reporter {
	return &reporter{log: log, base: base, onFailure: onFailure, undelivered: outage.Outage{
		Logger: log, Lost: "pawl: result not delivered; its job runs again when the worker has ended",
	}}
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
	case errors.Is(delivery, ErrLeaseLost) && errors.Is(a.ended, ErrCancelled):
		r.logCancelled(a, err)
	case delivery != nil && !errors.Is(delivery, ErrLeaseLost):
		r.undelivered.Record(delivery, "job", a.job, "result", a.verb)
	case err != nil:
		r.logError(a, became, err, delivery)
	case delivery != nil:
		r.log.WarnContext(r.base, "pawl: result not delivered", "job", a.job, "result", a.verb, "error", delivery)
	}
	if err == nil || delivery != nil || a.verb == verbSnooze || r.onFailure == nil {
		return
	}
	final := became == string(pawlstate.Dead) || became == string(pawlstate.Cancelled)
	r.breaker.call(r.base, r.log, "OnFailure", a.job, func(ctx context.Context) { r.onFailure(ctx, a.job, err, final) })
}

// logCancelled logs the end of a handler whose job was cancelled while it ran. An operator expects that.
func (r *reporter) logCancelled(a attemptResult, err error) {
	text := ""
	if err != nil {
		text = truncate(errorMessage(err), maxLoggedError)
	}
	r.log.Info("pawl: the job was cancelled while its handler ran; the handler's result is discarded", "job", a.job,
		"result", a.verb, "error", text)
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
