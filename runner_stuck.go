package pawl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// A watcher finds handlers that are stuck: they have not returned some time after the end of their contexts. Go cannot
// end them. So the watcher ends their attempts without them, and tells the log and OnStuck of them.
type watcher struct {
	client   *Client
	slots    *slots
	finisher *finisher
	log      *slog.Logger
	base     context.Context
	after    time.Duration
	onStuck  func(ctx context.Context, job *JobInfo, cause error, stack string)
	breaker  breaker // Of onStuck.

	telling sync.WaitGroup // Calls of tell.

	mu   sync.Mutex // Held while the attempts of stuck handlers are ended.
	over bool       // Run takes care of the handlers that are left.
}

const (
	maxLook        = time.Second     // The longest time between two looks at the handlers.
	maxStuckRecord = 5 * time.Second // How long OnStuck waits until the end of the attempt is stored, at most.
	maxNamedJobs   = 20              // The jobs that an error names, at most.
)

// run looks at the handlers until ctx ends.
func (w *watcher) run(ctx context.Context) {
	defer w.telling.Wait()
	ticker := time.NewTicker(min(max(w.after/5, time.Millisecond), maxLook))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if found, stacks := w.look(); len(found) > 0 && w.onStuck != nil {
			w.telling.Go(func() { w.tell(ctx, found, stacks) })
		}
	}
}

// stop ends the looks. When it returns, the finisher has the results of all attempts that look has ended.
func (w *watcher) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
}

// look finds stuck handlers, logs them, and ends their attempts.
func (w *watcher) look() (found []*running, stacks *stacks) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return nil, nil
	}
	if found = w.slots.takeStuck(sinceStart(time.Now()), w.after); len(found) == 0 {
		return nil, nil
	}
	stacks = stacksOf(found)
	for _, run := range found {
		w.client.counters.stuck(run.job.Queue)
		w.log.Error("pawl: handler is stuck: it did not return after its context ended", "job", run.stuck.job,
			"cause", run.stuck.cause, "for", (sinceStart(time.Now()) - run.stuck.ended).Round(time.Millisecond),
			"replaced", run.stuck.replaced, "stack", stacks.once(run.call.label(), run.job.ID))
	}
	for _, run := range found {
		w.end(run, stacks.of(run.call.label()))
	}
	return found, stacks
}

// tell calls OnStuck.
func (w *watcher) tell(ctx context.Context, found []*running, stacks *stacks) {
	patience := time.NewTimer(maxStuckRecord)
	defer patience.Stop()
	for _, run := range found {
		if run.stuck.recorded != nil {
			select {
			case <-run.stuck.recorded:
			case <-patience.C:
				patience.Reset(0)
			case <-ctx.Done():
			}
		}
		stack := stacks.of(run.call.label())
		w.breaker.call(w.base, w.log, "OnStuck", run.stuck.job, func(ctx context.Context) {
			w.onStuck(ctx, run.stuck.job, run.stuck.cause, stack)
		})
	}
}

// end ends the attempt of a stuck handler. After a timeout the attempt has failed. A cancelled job is finished already,
// and a lost one is not the worker's any more.
func (w *watcher) end(run *running, stack string) {
	h := run.stuck
	if h.recorded == nil {
		if errors.Is(h.cause, ErrCancelled) {
			w.client.counters.cancelled(run.job.Queue)
		}
		if !h.keepsPermit() {
			w.finisher.leaveLease(h.job)
		}
		return
	}
	a := releaseOf(h.job, 0)
	if !errors.Is(h.cause, ErrShutdown) {
		err := fmt.Errorf("%w: it is stuck: it did not return within %v after that", h.cause, w.after)
		a = resultOf(h.job, run.call.handler, err)
		a.err, a.cause = errorText(err.Error(), stack), err
	}
	began := processStart.Add(h.began)
	a.stuck, a.waited, a.ran = h, h.job.waitedAt(began), time.Since(began)
	w.finisher.add(a)
}

// takeStuck takes the jobs whose handlers did not return within a time after the end of their contexts.
func (s *slots) takeStuck(now, after time.Duration) (found []*running) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for run := s.first; run != nil; run = run.next {
		if ended := run.call.endedAt(now); ended > 0 && now-ended >= after {
			found = append(found, run)
		}
	}
	for _, run := range found {
		s.setStuck(run, run.call.replace())
	}
	return found
}

// endedAt returns when the context of a call ended, or 0 if it has not ended, or no code of the user runs. The caller
// holds the lock of the slots.
func (c *handlerCall) endedAt(now time.Duration) time.Duration {
	if c.began.Load() == 0 {
		return 0
	}
	if c.ended == 0 {
		deadline := time.Duration(c.deadline.Load())
		switch {
		case deadline > 0 && now >= deadline:
			c.ended = deadline
		case c.ctx.Err() != nil:
			c.ended = now
		}
	}
	return c.ended
}

// setStuck moves a job from the list to those whose handlers are stuck. It leaves the counts if its handler is
// replaced. The caller holds s.mu.
func (s *slots) setStuck(run *running, replaced bool) {
	h := &stuckHandler{
		job: run.job.copyFor(run.lease), cause: ErrTimeout,
		ended: run.call.ended, began: time.Duration(run.call.began.Load()), replaced: replaced,
	}
	if s.public.config.Codec == nil || run.call.decoded.Load() {
		h.job.Args = run.job.Args
	}
	if run.ctx.Err() != nil {
		h.cause = context.Cause(run.ctx)
	}
	if !errors.Is(h.cause, ErrCancelled) && !errors.Is(h.cause, ErrLeaseLost) {
		h.recorded = make(chan struct{})
	}
	run.stuck = h
	s.unlist(run)
	s.stuck = append(s.stuck, run)
	s.uncountCrashes(run.job)
	if h.replaced && s.uncount(run) {
		notify(s.freed)
	}
	s.jobs.Done()
}

// replace decides whether other jobs may take the places of a stuck call.
func (c *handlerCall) replace() bool {
	if !c.judged {
		c.judged = true
		h := c.handler
		if c.replaced = int(h.replaced.Add(1)) <= h.opts.ReplaceStuck; c.replaced {
			c.release()
		} else {
			h.replaced.Add(-1)
		}
	}
	return c.replaced
}

// freeStuck frees the slot of a job whose handler was stuck and has returned now. Its result is discarded.
func (s *slots) freeStuck(run *running, err error) {
	h := run.stuck
	s.mu.Lock()
	s.stuck = slices.DeleteFunc(s.stuck, func(other *running) bool { return other == run })
	switch {
	case !h.replaced:
		if s.uncount(run) {
			notify(s.freed)
		}
	case run.call.replaced:
		run.call.replaced = false
		run.call.handler.replaced.Add(-1)
	}
	if h.keepsPermit() && !s.left {
		s.finisher.leaveLease(h.job)
	}
	s.mu.Unlock()
	run.cancel(nil)
	text := ""
	if err != nil {
		text = truncate(errorMessage(err), maxLoggedError)
	}
	message := "pawl: a stuck handler has returned; its result is discarded"
	if errors.Is(h.cause, ErrCancelled) {
		message = "pawl: the handler of a cancelled job has returned; its result is discarded"
	}
	s.executor.log.Info(message, "job", h.job, "ran", (sinceStart(time.Now()) - h.began).Round(time.Millisecond),
		"error", text)
}

// stuckKinds returns the kind of each stuck handler.
func (s *slots) stuckKinds() (kinds []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, run := range s.stuck {
		kinds = append(kinds, run.job.Kind)
	}
	return kinds
}

// leave takes all jobs whose handlers still run, because Run returns without them. It returns those that were stuck
// before, and the others.
func (s *slots) leave() (stuck, others []*running) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = true
	stuck = slices.Clone(s.stuck)
	for run := s.first; run != nil; run = run.next {
		others = append(others, run)
	}
	for _, run := range others {
		s.setStuck(run, false)
	}
	return stuck, others
}

// named returns a list of jobs, for an error.
func named(runs []*running) string {
	var b strings.Builder
	for i, run := range runs {
		if i == maxNamedJobs {
			fmt.Fprintf(&b, " and %d more", len(runs)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "job %d (%s)", run.job.ID, run.job.Kind)
	}
	return b.String()
}
