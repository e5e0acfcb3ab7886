package pawl

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/pawlhq/pawl/internal/outage"
)

// An executor runs handlers and returns the results of their attempts.
type executor struct {
	client *Client
	mux    *Mux
	log    *slog.Logger
	drain  <-chan struct{} // Closed when no further handler may start.

	unknown unknownKinds
}

// unknownKinds tells of kinds without a handler, of each one at growing intervals.
type unknownKinds struct {
	mu    sync.Mutex
	kinds map[string]*outage.Outage
}

// maxUnknownKinds is of how many kinds it tells, at most.
const maxUnknownKinds = 100

func (u *unknownKinds) tell(log *slog.Logger, job *JobInfo) {
	u.mu.Lock()
	defer u.mu.Unlock()
	o := u.kinds[job.Kind]
	if o == nil && len(u.kinds) < maxUnknownKinds {
		if u.kinds == nil {
			u.kinds = map[string]*outage.Outage{}
		}
		o = &outage.Outage{Logger: log, Lost: "pawl: no handler for this kind; the job is released for a minute"}
		u.kinds[job.Kind] = o
	}
	if o != nil {
		o.Record(errUnknownKind, "job", job)
	}
}

var errUnknownKind = errors.New("no handler for this kind in this process")

// unknownKindDelay is when a job whose kind has no handler in this process becomes ready again.
const unknownKindDelay = time.Minute

// run runs the handler of a job, and returns the result of the attempt and the handler's error.
func (e *executor) run(call *handlerCall) (attemptResult, error) {
	ctx, job, h := call.ctx, call.values.job, call.handler
	if h == nil {
		e.unknown.tell(e.log, job)
		return releaseOf(job, unknownKindDelay), nil
	}
	if !e.acquire(call) {
		return releaseOf(job, 0), nil
	}
	defer call.release()
	began := time.Now()
	call.begin(began)
	e.decode(call, job)
	err := e.mux.call(ctx, call, h, job)
	a := resultOf(job, h, err)
	if a.verb == verbRetry && isShutdown(ctx) {
		a = releaseOf(job, 0)
	}
	a.waited, a.ran = job.waitedAt(began), time.Since(began)
	return a, err
}

// decode decodes the args of a job. decodeArgs returns the error, so that middleware sees it.
func (e *executor) decode(call *handlerCall, job *JobInfo) {
	_ = e.client.decode(job)
	if e.client.config.Codec != nil {
		call.decoded.Store(true)
	}
}

// acquire waits for a slot of the handler's kind. It returns false if the handler is not to start.
func (e *executor) acquire(call *handlerCall) bool {
	slot := call.handler.slot
	if slot == nil {
		return true
	}
	select {
	case slot <- struct{}{}:
		call.holds.Store(true)
		return true
	case <-e.drain:
		return false
	case <-call.ctx.Done():
		return false
	}
}
