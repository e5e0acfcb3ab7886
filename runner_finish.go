package pawl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pawlhq/pawl/internal/outage"
	"github.com/pawlhq/pawl/internal/pg"
	"github.com/pawlhq/pawl/pawlstate"
)

// A finisher delivers a runner's results in batches. While a statement runs, it collects further results, and the
// next statement delivers them together. There is no timer.
//
// Its goroutines run only while there are results to deliver. Each ends when its results are decided: stored,
// discarded or refused. They all end when ctx ends.
type finisher struct {
	client    *Client
	ctx       context.Context // Ends when the runner gives up.
	worker    string
	outage    *outage.Outage // Of deliveries.
	followups followupRunner

	// onResult, if not nil, is called for each result that is not a plain success, once it is decided.
	onResult func(a attemptResult, became string, err error)

	mu          sync.Mutex
	completed   []attemptResult
	failed      []attemptResult
	endedLeases []string      // Leases whose last job is decided. They are still to be deleted.
	doubtful    []string      // The same, of doubtful leases.
	statements  int           // Statements in flight.
	undecided   int           // Results that are not decided yet.
	idle        chan struct{} // Receives a value when nothing is undecided and no statement is in flight.
}

const (
	maxFinishStatements   = 2   // Statements in flight, at most.
	maxResultsInStatement = 500 // Results in one statement, at most.
	minResultsForSecond   = 64  // From this many results on, a second statement is worth its cost.

	// A result whose job is locked is delivered again after firstLockedWait, and then after doubled times.
	firstLockedWait    = 5 * time.Millisecond
	maxLockedWait      = time.Second
	maxLockedDoublings = 8

	// A statement that failed is tried again after firstFinishRetry, and then after doubled times.
	firstFinishRetry = 50 * time.Millisecond
	maxFinishRetry   = 5 * time.Second
)

// add hands over a result. It does not wait.
func (f *finisher) add(a attemptResult) {
	f.mu.Lock()
	f.undecided++
	if a.verb == verbComplete {
		f.completed = append(f.completed, a)
	} else {
		f.failed = append(f.failed, a)
	}
	second := f.statements < maxFinishStatements && len(f.completed)+len(f.failed) >= minResultsForSecond
	start := f.statements == 0 || second
	if start {
		f.statements++
	}
	f.mu.Unlock()
	if start {
		go f.run()
	}
}

// backlog returns how many results are not decided yet.
func (f *finisher) backlog() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.undecided
}

// run delivers one batch after the other, until there is nothing left to deliver.
func (f *finisher) run() {
	for {
		batch, leases, doubtful := f.next()
		if len(batch) == 0 && len(leases) == 0 && len(doubtful) == 0 {
			return
		}
		f.endLeases(doubtful)
		if len(batch) > 0 || len(leases) > 0 {
			f.deliver(batch, leases)
		}
	}
}

// next takes the next batch: results of one kind, and the leases to delete with them. If there is nothing left, the
// statement of the caller is over.
func (f *finisher) next() (batch []attemptResult, leases, doubtful []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.failed) > 0 && (len(f.completed) == 0 || len(f.failed) >= len(f.completed)) {
		batch = takeResults(&f.failed)
	} else {
		batch = takeResults(&f.completed)
	}
	if len(batch) == 0 || batch[0].verb == verbComplete {
		leases, f.endedLeases = f.endedLeases, nil
	}
	doubtful, f.doubtful = f.doubtful, nil
	if len(batch) == 0 && len(leases) == 0 && len(doubtful) == 0 {
		f.statements--
		f.notifyIdle()
	}
	return batch, leases, doubtful
}

// takeResults removes the first results, as many as fit into one statement.
func takeResults(from *[]attemptResult) []attemptResult {
	n := min(len(*from), maxResultsInStatement)
	batch := append([]attemptResult(nil), (*from)[:n]...)
	rest := copy(*from, (*from)[n:])
	clear((*from)[rest:])
	*from = (*from)[:rest]
	return batch
}

// deliver writes a batch, and deletes leases with it.
//
// A lease is deleted by the statement that finishes its last jobs, if all its other jobs are decided. Each of those
// was finished, or was found to be lost, by a statement that has committed. So no claimed job of the lease is left.
func (f *finisher) deliver(batch []attemptResult, leases []string) {
	ending := f.endingLeases(batch)
	ambiguous := slices.ContainsFunc(batch, func(a attemptResult) bool { return a.ambiguous })
	var became outcomes
	err := retryDelivery(f.ctx, batch, func() (err error) {
		became, err = f.client.finish(f.ctx, batch, f.worker, append(ending, leases...))
		ambiguous = ambiguous || pg.IsAmbiguous(err)
		if !isRefusal(err) {
			f.outage.Record(err)
		}
		return err
	})
	if err != nil {
		f.refused(batch, leases, err)
		return
	}
	defer f.followups.run(f.ctx, f.client)
	if became.all != "" {
		f.decideAll(batch, became.all, ending)
		return
	}
	f.deleteLater(leases)
	var skipped []attemptResult
	for _, a := range batch {
		if state, ok := became.of(a.job.ID); ok {
			f.decide(a, state, nil)
		} else {
			skipped = append(skipped, a)
		}
	}
	if len(skipped) > 0 {
		go f.resolveSkipped(skipped, ambiguous)
	}
}

// retry tries a statement again until it works, until its error cannot pass, or until the runner gives up. A privilege
// that was revoked may be granted again, and a login may be allowed again.
func (f *finisher) retry(try func() error) error {
	for wait := firstFinishRetry; ; wait = min(2*wait, maxFinishRetry) {
		err := try()
		if err != nil && (f.ctx.Err() != nil || !pg.MayPass(err)) {
			return err
		}
		f.outage.Record(err)
		if err == nil || !pg.Sleep(f.ctx, wait) {
			return err
		}
	}
}

func notDelivered(a attemptResult, err error) error {
	return fmt.Errorf("pawl: deliver result %s: %w", a.verb, err)
}

// deleteLater deletes leases with the next statement that completes jobs.
func (f *finisher) deleteLater(leases []string) {
	if len(leases) == 0 {
		return
	}
	f.mu.Lock()
	f.endedLeases = append(f.endedLeases, leases...)
	f.mu.Unlock()
}

// endingLeases returns the leases whose last jobs are in a batch.
func (f *finisher) endingLeases(batch []attemptResult) (ids []string) {
	if len(batch) == 0 || batch[0].verb != verbComplete {
		return nil
	}
	counts := map[*lease]int32{}
	for _, a := range batch {
		counts[a.job.lease]++
	}
	for l, n := range counts {
		if l.left.Load() == n && !l.doubtful.Load() {
			ids = append(ids, *l.id.Load())
		}
	}
	return ids
}

// decideAll decides a batch of which all jobs got the same state. ending are the leases that were deleted with it.
//
// If the last jobs of a lease were in two batches at once, neither deleted the lease. Then the next statement does.
func (f *finisher) decideAll(batch []attemptResult, became string, ending []string) {
	f.client.counters.finished(batch, func(ID) string { return became })
	var ended, doubtful []string
	for _, a := range batch {
		if a.job.lease.left.Add(-1) == 0 {
			id := *a.job.lease.id.Load()
			switch {
			case a.job.lease.doubtful.Load():
				doubtful = append(doubtful, id)
			case !slices.Contains(ending, id):
				ended = append(ended, id)
			}
		}
		f.decided(a, became, nil)
	}
	f.deleteLater(ended)
	for _, id := range doubtful {
		f.deleteSoon(id)
	}
	f.subtract(len(batch))
}

// decide decides one result. If the job is the last of its lease, the lease is deleted soon.
func (f *finisher) decide(a attemptResult, became string, err error) {
	known := err == nil || errors.Is(err, ErrLeaseLost)
	if known {
		f.client.counters.finished([]attemptResult{a}, func(ID) string { return became })
	}
	// If it is not known what became of the job, the job may be live. Then its lease stays, and it is rescued with it.
	a.job.lease.doubtful.Store(true)
	if known && !a.keepsPermit() && a.job.lease.left.Add(-1) == 0 {
		f.deleteSoon(*a.job.lease.id.Load())
	}
	f.decided(a, became, err)
	f.subtract(1)
}

// leaveLease ends what a job still has although its result is decided, or will never come: its permit, and its place in
// its lease.
func (f *finisher) leaveLease(job *JobInfo) {
	if f.ctx.Err() != nil {
		return // They end with the worker.
	}
	job.lease.doubtful.Store(true)
	if job.lease.left.Add(-1) == 0 {
		f.deleteSoon(*job.lease.id.Load())
	}
	f.followups.record(job)
	f.followups.run(f.ctx, f.client)
}

// deleteSoon deletes a doubtful lease with the next statement, and starts one if none is in flight.
func (f *finisher) deleteSoon(lease string) {
	f.mu.Lock()
	f.doubtful = append(f.doubtful, lease)
	start := f.statements == 0
	if start {
		f.statements++
	}
	f.mu.Unlock()
	if start {
		go f.run()
	}
}

// endLeases deletes doubtful leases. If it fails, the heartbeat finds them.
func (f *finisher) endLeases(leases []string) {
	if len(leases) == 0 {
		return
	}
	_ = f.retry(func() error {
		return f.client.query(f.ctx, "select pawl.end_leases($1::uuid[])", []any{leases}, nil)
	})
}

// decided passes a decided result on.
func (f *finisher) decided(a attemptResult, became string, err error) {
	if !a.keepsPermit() {
		f.followups.record(a.job)
	}
	if a.stuck != nil {
		defer close(a.stuck.recorded)
	}
	if f.onResult != nil && (a.verb != verbComplete || err != nil) {
		f.onResult(a, became, err)
	}
}

// subtract removes decided results from the backlog.
func (f *finisher) subtract(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.undecided -= n
	f.notifyIdle()
}

// notifyIdle wakes wait if there is nothing left to do. The caller holds f.mu.
func (f *finisher) notifyIdle() {
	if f.undecided == 0 && f.statements == 0 {
		notify(f.idle)
	}
}

// resolveSkipped handles the results that a statement skipped. If a job is not the runner's any more, its result is
// decided. If another transaction has locked a job's row, its result is delivered again after a while. Nothing waits
// for that transaction in the database: neither other jobs nor a connection.
//
// A job that is not the runner's any more may have finished: an ambiguous delivery stored its result, or the job was
// cancelled while its handler ran.
func (f *finisher) resolveSkipped(batch []attemptResult, ambiguous bool) {
	defer f.followups.run(f.ctx, f.client)
	jobs := make([]*JobInfo, len(batch))
	for i, a := range batch {
		jobs[i] = a.job
	}
	var missing map[ID]bool
	var finished map[ID]string
	err := f.retry(func() (err error) {
		missing, err = f.client.findMissing(f.ctx, jobs)
		return err
	})
	if err == nil {
		if jobs = unexplained(batch, missing, ambiguous); len(jobs) > 0 {
			finished, err = f.client.findFinished(f.ctx, jobs)
		}
	}
	var locked []attemptResult
	for _, a := range batch {
		switch {
		case err != nil:
			f.decide(a, "", notDelivered(a, err))
		case !missing[a.job.ID]:
			a.skips, a.ambiguous = a.skips+1, ambiguous
			locked = append(locked, a)
		case finished[a.job.ID] == string(pawlstate.Cancelled) && !(ambiguous && a.verb == verbCancel) &&
			!a.job.finishedByHand.Load():
			a.ended = ErrCancelled
			f.decide(a, "", ErrLeaseLost)
		case a.job.finishedByHand.Load() || ambiguous && finished[a.job.ID] != "":
			f.decide(a, string(pawlstate.Completed), nil)
		default:
			f.decide(a, "", ErrLeaseLost)
		}
	}
	if len(locked) > 0 {
		pg.Sleep(f.ctx, min(firstLockedWait<<min(locked[0].skips, maxLockedDoublings), maxLockedWait))
		f.deliver(locked, nil)
	}
}

// unexplained returns the missing jobs of which it is not known what became of them. A handler whose context has ended
// has learned it from a heartbeat.
func unexplained(batch []attemptResult, missing map[ID]bool, ambiguous bool) (jobs []*JobInfo) {
	for _, a := range batch {
		told := errors.Is(a.ended, ErrCancelled) || errors.Is(a.ended, ErrLeaseLost)
		if missing[a.job.ID] && (ambiguous || !told && !a.job.finishedByHand.Load()) {
			jobs = append(jobs, a.job)
		}
	}
	return jobs
}

// waitForFollowups returns when no followup of a decided result is running.
func (f *finisher) waitForFollowups() { f.followups.wait() }

// wait returns when all results are decided and all ended leases are deleted, or with the error of ctx.
func (f *finisher) wait(ctx context.Context) error {
	for {
		f.mu.Lock()
		busy := f.undecided > 0 || f.statements > 0
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
