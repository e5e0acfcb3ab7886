package pawl

import (
	"context"
	"log/slog"
	"time"
)

// An executor runs handlers and returns the results of their attempts.
type executor struct {
	client *Client
	mux    *Mux
	log    *slog.Logger
	drain  <-chan struct{} // Closed when no further handler may start.
}

// unknownKindDelay is when a job whose kind has no handler in this process becomes ready again.
const unknownKindDelay = time.Minute

// run runs the handler of a job, and returns the result of the attempt and the handler's error.
func (e *executor) run(ctx context.Context, job *JobInfo) (attemptResult, error) {
	h := e.mux.handler(job.Kind)
	if h == nil {
		e.log.Warn("pawl: no handler for this kind; the job is released for a minute", "job", job)
		return releaseOf(job, unknownKindDelay), nil
	}
	if !e.acquire(ctx, h) {
		return releaseOf(job, 0), nil
	}
	defer h.release()
	began := time.Now()
	_ = e.client.decode(job) // decodeArgs returns the error, so that middleware sees it.
	err := e.mux.call(ctx, h, job)
	a := resultOf(job, h, err)
	if a.verb == verbRetry && isShutdown(ctx) {
		a = releaseOf(job, 0)
	}
	a.waited, a.ran = job.waitedAt(began), time.Since(began)
	return a, err
}

// acquire waits for a slot of the handler's kind. It returns false if the handler is not to start.
func (e *executor) acquire(ctx context.Context, h *handler) bool {
	if h.slot == nil {
		return true
	}
	select {
	case h.slot <- struct{}{}:
		return true
	case <-e.drain:
		return false
	case <-ctx.Done():
		return false
	}
}

// release frees a slot of the handler's kind.
func (h *handler) release() {
	if h.slot != nil {
		<-h.slot
	}
}
