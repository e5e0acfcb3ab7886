package pawl

import (
	"context"
	"sync/atomic"
	"time"
)

// A handlerCall is one call of a handler: for one job, or for the jobs of a chunk.
type handlerCall struct {
	values    jobContext
	ctx       context.Context
	handler   *handler
	goroutine string // The label of the goroutine that runs it.

	began    atomic.Int64 // When code of the user began to run, by sinceStart. The fields above are set before.
	deadline atomic.Int64 // When the handler's timeout ends its context. 0 if it has no timeout.
	holds    atomic.Bool  // It holds a slot of the handler's kind.

	decoded atomic.Bool // The args are decoded. It is only set if there is a codec.

	// The watcher alone uses these, under the lock of the slots.
	ended    time.Duration // When the context ended, as far as the watcher knows.
	judged   bool          // It was decided whether the call is replaced.
	replaced bool          // It is stuck, and other jobs may take its places.
}

// processStart is the origin of times that are kept as numbers. Such times follow the monotonic clock.
var processStart = time.Now()

// sinceStart returns a time as a number, which is never 0.
func sinceStart(t time.Time) time.Duration { return max(t.Sub(processStart), 1) }

// begin records that code of the user begins to run.
func (c *handlerCall) begin(now time.Time) { c.began.Store(int64(sinceStart(now))) }

// label returns the label of the goroutine that runs the call, or "" if no code of the user runs yet.
func (c *handlerCall) label() string {
	if c.began.Load() == 0 {
		return ""
	}
	return c.goroutine
}

// endAt records when the handler's context ends. A call outside of a runner is nil.
func (c *handlerCall) endAt(deadline time.Time) {
	if c != nil {
		c.deadline.Store(int64(sinceStart(deadline)))
	}
}

// release frees the slot of the handler's kind, unless that was done before.
func (c *handlerCall) release() {
	if c.holds.Load() && c.holds.CompareAndSwap(true, false) {
		<-c.handler.slot
	}
}

// A jobContext has the values of a handler's context. It never ends.
type jobContext struct {
	job       *JobInfo        // Nil in a chunk.
	goroutine context.Context // It has the values of Run's context and the labels of the goroutine that runs the job.
}

func (c *jobContext) Deadline() (time.Time, bool) { return time.Time{}, false }
func (c *jobContext) Done() <-chan struct{}       { return nil }
func (c *jobContext) Err() error                  { return nil }

func (c *jobContext) Value(key any) any {
	if key == (jobKey{}) {
		return c.job
	}
	return c.goroutine.Value(key)
}

// A stuckHandler is what a runner knows of a job whose handler is stuck.
type stuckHandler struct {
	job      *JobInfo // A copy: the handler may still write to its job.
	cause    error    // Why the handler's context ended.
	ended    time.Duration
	began    time.Duration
	replaced bool          // Other jobs may take its places.
	recorded chan struct{} // Closed when the result of its attempt is decided. Nil if the attempt has no result.
}

// keepsPermit reports whether the job's permit, and with it its lease, stays until the handler returns.
func (h *stuckHandler) keepsPermit() bool { return h.job.permit && !h.replaced }
