package pawl

import (
	"context"
	"sync/atomic"
	"time"
)

// A chunk is the jobs of one call of a HandleChunk handler. Each job has a result of its own.
type chunk struct {
	slots   *slots
	handler *handler
	runs    []*running
	call    handlerCall
	cancel  context.CancelCauseFunc

	unstarted bool // The handler was not to start.
	began     time.Time
	ran       time.Duration
	err       error
}

// runChunk runs jobs that share a handler. The jobs get results even if the handler ends the goroutine.
func (s *slots) runChunk(h *handler, runs []*running, goroutine string, labelled context.Context) {
	c := &chunk{slots: s, handler: h, runs: runs, err: errGoexit}
	c.call.handler, c.call.goroutine, c.call.values.goroutine = h, goroutine, labelled
	c.call.ctx, c.cancel = context.WithCancelCause(&c.call.values)
	s.mu.Lock()
	for _, run := range runs {
		run.call = &c.call
	}
	s.mu.Unlock()
	defer c.finish()
	defer c.cancelWithLastJob()()
	c.work()
}

// cancelWithLastJob makes the chunk's context end when the contexts of all its jobs have ended. The caller calls
// stop.
func (c *chunk) cancelWithLastJob() (stop func()) {
	var left atomic.Int32
	left.Store(int32(len(c.runs)))
	stops := make([]func() bool, len(c.runs))
	for i, run := range c.runs {
		stops[i] = context.AfterFunc(run.ctx, func() {
			if left.Add(-1) == 0 {
				c.cancel(context.Cause(c.runs[0].ctx))
			}
		})
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// work runs the handler.
func (c *chunk) work() {
	e := c.slots.executor
	if !e.acquire(&c.call) {
		c.unstarted, c.err = true, nil
		return
	}
	defer c.call.release()
	c.call.begin(time.Now())
	jobs := make([]*JobInfo, len(c.runs))
	for i, run := range c.runs {
		jobs[i] = run.job
		_ = e.client.decode(run.job) // decodeArgs returns the error, so that middleware sees it.
	}
	c.call.decoded.Store(true)
	c.began = time.Now()
	defer func() { c.ran = time.Since(c.began) }()
	c.err = e.mux.call(c.call.ctx, &c.call, c.handler, jobs...)
}

// finish frees the slots of the jobs.
func (c *chunk) finish() {
	each, several := jobErrors(c.err)
	for _, run := range c.runs {
		err := c.err
		if several {
			err = each[run.job.ID]
		}
		a := resultOf(run.job, c.handler, err)
		if c.unstarted || a.verb == verbRetry && (isShutdown(c.call.ctx) || isShutdown(run.ctx)) {
			a = releaseOf(run.job, 0)
		}
		if a.ran = c.ran; !c.began.IsZero() {
			a.waited = run.job.waitedAt(c.began)
		}
		c.slots.free(run, a, err)
	}
	c.cancel(nil)
}
