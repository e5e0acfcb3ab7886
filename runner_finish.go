package pawl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pawlhq/pawl/pawlstate"
)

// finisher writes a runner's answers by natural batching: what gathers while a statement is under way goes with the next.
// Its goroutines live only while there is work.
type finisher struct {
	client   *Client
	ctx      context.Context // Ends when the runner gives up delivering.
	worker   string
	onResult func(a attemptResult, became string, err error) // Of every answer but the plain successes, once it is decided; may be nil.

	mu          sync.Mutex
	completed   []attemptResult
	failed      []attemptResult
	endedLeases []string // Leases whose last job is decided, still to be deleted.
	statements  int
	open        int // Answers not decided yet.
	followups   followupRunner
	idle        chan struct{}
}

const (
	maxFinishing     = 2   // Statements at once.
	maxFinishAtOnce  = 500 // Jobs in one.
	minFinishInAPair = 64  // A second statement is worth its cost from here on.
)

func (f *finisher) add(a attemptResult) {
	f.mu.Lock()
	f.open++
	if a.verb == verbComplete {
		f.completed = append(f.completed, a)
	} else {
		f.failed = append(f.failed, a)
	}
	start := f.statements == 0 || f.statements < maxFinishing && len(f.completed)+len(f.failed) >= minFinishInAPair
	if start {
		f.statements++
	}
	f.mu.Unlock()
	if start {
		go f.run()
	}
}

// backlog is how many answers are not decided yet.
func (f *finisher) backlog() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open
}

func (f *finisher) run() {
	for {
		f.mu.Lock()
		take := func(from *[]attemptResult) []attemptResult {
			n := min(len(*from), maxFinishAtOnce)
			batch := append([]attemptResult(nil), (*from)[:n]...)
			rest := copy(*from, (*from)[n:])
			clear((*from)[rest:])
			*from = (*from)[:rest]
			return batch
		}
		var batch []attemptResult
		if len(f.failed) > 0 && (len(f.completed) == 0 || len(f.failed) >= len(f.completed)) {
			batch = take(&f.failed)
		} else {
			batch = take(&f.completed)
		}
		var leases []string
		if len(batch) == 0 || batch[0].verb == verbComplete {
			leases, f.endedLeases = f.endedLeases, nil
		}
		if len(batch) == 0 && len(leases) == 0 {
			f.statements--
			if f.statements == 0 && f.open == 0 {
				select {
				case f.idle <- struct{}{}:
				default:
				}
			}
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		f.deliver(batch, leases)
	}
}

// land writes a batch. A lease goes in the same statement as its last jobs, when all its others are decided already: each was
// finished or found not ours by a statement that has committed, so no live pair of it is left.
func (f *finisher) deliver(batch []attemptResult, leases []string) {
	ending := f.endingLeases(batch)
	lost := slices.ContainsFunc(batch, func(a attemptResult) bool { return a.ambiguous })
	var became outcomes
	err := retryUntil(f.ctx, func() (err error) {
		became, err = f.client.finish(f.ctx, batch, f.worker, append(ending, leases...))
		lost = lost || isAmbiguous(err)
		return err
	})
	if err != nil {
		if isDataError(err) && len(batch) > 1 {
			f.mu.Lock()
			f.endedLeases = append(f.endedLeases, leases...)
			f.mu.Unlock()
			f.deliver(batch[:len(batch)/2], nil)
			f.deliver(batch[len(batch)/2:], nil)
			return
		}
		for _, a := range batch {
			f.decide(a, "", fmt.Errorf("pawl: %s not delivered: %w", a.verb, err))
		}
		return
	}
	defer f.followups.run(f.ctx, f.client)
	if became.all != "" {
		f.client.counters.finished(batch, func(ID) string { return became.all })
		// A lease whose jobs were in two batches at once is ended by neither; it goes with the next.
		var ended []string
		for _, a := range batch {
			if a.job.lease.left.Add(-1) == 0 {
				if id := *a.job.lease.id.Load(); !slices.Contains(ending, id) {
					ended = append(ended, id)
				}
			}
			f.notify(a, became.all, nil)
		}
		if len(ended) > 0 {
			f.mu.Lock()
			f.endedLeases = append(f.endedLeases, ended...)
			f.mu.Unlock()
		}
		f.done(len(batch))
		return
	}
	if len(leases) > 0 {
		f.mu.Lock()
		f.endedLeases = append(f.endedLeases, leases...)
		f.mu.Unlock()
	}
	var passed []attemptResult
	for _, a := range batch {
		if what, ok := became.of(a.job.ID); ok {
			f.decide(a, what, nil)
		} else {
			passed = append(passed, a)
		}
	}
	go f.resolveSkipped(passed, lost)
}

// ending are the leases that end with a batch.
func (f *finisher) endingLeases(batch []attemptResult) (ids []string) {
	if len(batch) == 0 || batch[0].verb != verbComplete {
		return nil
	}
	counts := map[*lease]int32{}
	for _, a := range batch {
		counts[a.job.lease]++
	}
	for l, n := range counts {
		if l.left.Load() == n {
			ids = append(ids, *l.id.Load())
		}
	}
	return ids
}

// passed is for what a batch passed by. What is not ours any more is decided; what is locked by somebody is tried again after a
// while, without waiting in the database: neither other jobs nor a connection wait for a stranger's transaction.
func (f *finisher) resolveSkipped(batch []attemptResult, lost bool) {
	defer f.followups.run(f.ctx, f.client)
	jobs := make([]*JobInfo, len(batch))
	for i, a := range batch {
		jobs[i] = a.job
	}
	var missing, known map[ID]bool
	err := retryUntil(f.ctx, func() (err error) {
		missing, err = f.client.findMissing(f.ctx, jobs)
		return err
	})
	if err == nil && lost && len(missing) > 0 {
		// An earlier try may have been carried out and only its answer lost.
		known, err = f.client.findFinished(f.ctx, slices.DeleteFunc(jobs, func(job *JobInfo) bool { return !missing[job.ID] }))
	}
	var locked []attemptResult
	for _, a := range batch {
		switch {
		case err != nil:
			f.decide(a, "", fmt.Errorf("pawl: %s not delivered: %w", a.verb, err))
		case !missing[a.job.ID]:
			a.skips, a.ambiguous = a.skips+1, lost
			locked = append(locked, a)
		case a.job.finishedByHand.Load() || known[a.job.ID]:
			f.decide(a, string(pawlstate.Completed), nil)
		default:
			f.decide(a, "", ErrLeaseLost)
		}
	}
	if len(locked) > 0 {
		sleep(f.ctx, min(5*time.Millisecond<<min(locked[0].skips, 8), time.Second))
		f.deliver(locked, nil)
	}
}

// decide ends an answer; the lease of the last one is to be deleted.
func (f *finisher) decide(a attemptResult, became string, err error) {
	if err == nil || errors.Is(err, ErrLeaseLost) {
		f.client.counters.finished([]attemptResult{a}, func(ID) string { return became })
	}
	if a.job.lease.left.Add(-1) == 0 && (err == nil || errors.Is(err, ErrLeaseLost)) {
		f.mu.Lock()
		f.endedLeases = append(f.endedLeases, *a.job.lease.id.Load())
		start := f.statements == 0
		if start {
			f.statements++
		}
		f.mu.Unlock()
		if start {
			go f.run()
		}
	}
	f.notify(a, became, err)
	f.done(1)
}

func (f *finisher) notify(a attemptResult, became string, err error) {
	f.followups.record(a.job)
	if f.onResult != nil && (a.verb != verbComplete || err != nil) {
		f.onResult(a, became, err)
	}
}

func (f *finisher) done(n int) {
	f.mu.Lock()
	f.open -= n
	if f.open == 0 && f.statements == 0 {
		select {
		case f.idle <- struct{}{}:
		default:
		}
	}
	f.mu.Unlock()
}

// wait returns when every answer is decided and no lease is left to delete, or ctx ends.
func (f *finisher) wait(ctx context.Context) error {
	for {
		f.mu.Lock()
		busy := f.open > 0 || f.statements > 0
		f.mu.Unlock()
		if !busy {
			return nil
		}
		select {
		case <-f.idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
