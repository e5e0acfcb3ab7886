package pawl

import (
	"context"
	"errors"
	"slices"
	"time"
)

// chunk takes what is pending for the same handler as first, up to its Chunk. The caller has r.mu.
func (r *runner) chunk(h *handler, first *running) []*running {
	chunk := []*running{first}
	r.pending = slices.DeleteFunc(r.pending, func(run *running) bool {
		if len(chunk) >= h.opts.Chunk || r.mux.handler(run.job.Kind) != h {
			return false
		}
		chunk = append(chunk, run)
		return true
	})
	return chunk
}

// many runs a chunk; each job has its own answer.
func (r *runner) many(chunk []*running) {
	h := r.mux.handler(chunk[0].job.Kind)
	jobs := make([]*JobInfo, len(chunk))
	for i, run := range chunk {
		jobs[i] = run.job
	}
	var err error = &PanicError{Value: "the handler ended its goroutine (runtime.Goexit)"}
	var began time.Time
	var ran time.Duration
	unstarted := false
	ctx, cancel := context.WithCancelCause(context.WithValue(r.base, jobKey{}, (*JobInfo)(nil)))
	defer func() {
		each, some := errors.AsType[JobErrors](err)
		for _, run := range chunk {
			own := err
			if some {
				own = each[run.job.ID]
			}
			a := resultOf(run.job, h, own)
			if unstarted || a.verb == "retry" && (errors.Is(context.Cause(ctx), ErrShutdown) || errors.Is(context.Cause(run.ctx), ErrShutdown)) {
				a = attemptResult{job: run.job, verb: "release", delay: new(float64)}
			}
			if a.ran = ran; !began.IsZero() {
				a.waited = run.job.waitedAt(began)
			}
			r.done(run, a, own)
			run.cancel(nil)
			r.jobs.Done()
		}
		cancel(nil)
	}()
	// It ends with the last of its jobs.
	ended := make(chan struct{})
	stops := make([]func() bool, len(chunk))
	left := make(chan struct{}, len(chunk))
	for i, run := range chunk {
		stops[i] = context.AfterFunc(run.ctx, func() { left <- struct{}{} })
	}
	go func() {
		for range chunk {
			select {
			case <-left:
			case <-ended:
				return
			}
		}
		cancel(context.Cause(chunk[0].ctx))
	}()
	defer func() {
		close(ended)
		for _, stop := range stops {
			stop()
		}
	}()
	if h.slot != nil {
		select {
		case h.slot <- struct{}{}:
			defer func() { <-h.slot }()
		case <-r.drain:
			unstarted, err = true, nil
			return
		case <-ctx.Done():
			unstarted, err = true, nil
			return
		}
	}
	for _, job := range jobs {
		r.client.decode(job)
	}
	began = time.Now()
	defer func() { ran = time.Since(began) }()
	err = r.mux.work(ctx, h, jobs...)
}
