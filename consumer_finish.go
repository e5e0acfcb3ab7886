package pawl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Complete finishes claimed jobs as completed.
//
// On a client made by [Client.With], the completion is part of that transaction. Effects that the transaction writes
// commit together with the completion or not at all, so they happen exactly once. If Complete returns [ErrLeaseLost],
// roll back.
//
// If a job's claim is no longer valid, Complete returns ErrLeaseLost. For several jobs, it returns a [JobErrors] with
// the errors of those jobs, and the other jobs are completed.
//
// If JobInfo.Keep is true, the job stays in the archive even if its queue keeps no completed jobs.
func (c *Client) Complete(ctx context.Context, jobs ClaimedJobs) error {
	return c.finishClaimed(ctx, jobs, attemptResult{verb: verbComplete})
}

// Fail ends the attempts of claimed jobs as failed, with err as the reason. If err is or wraps an outcome, the
// outcome decides instead: [Snooze], [RetryAfter], [Cancel], [Dead] or [ErrSkip]. If [Mux.Work] ran the job's
// handler, the handler's KindOptions.Backoff and Delay apply. Fail returns errors as [Client.Complete] does. It also
// returns an error if err is nil: to complete a job, call Complete.
func (c *Client) Fail(ctx context.Context, jobs ClaimedJobs, err error) error {
	if err == nil {
		return errors.New("pawl: fail jobs: err is nil: complete jobs that succeeded with Complete")
	}
	result := resultOf(nil, nil, err)
	result.cause = err
	return c.finishClaimed(ctx, jobs, result)
}

// Release gives claimed jobs back without using an attempt. They become ready after the time after. If that is 0,
// they are ready at once and run before other jobs. Release returns errors as [Client.Complete] does.
func (c *Client) Release(ctx context.Context, jobs ClaimedJobs, after time.Duration) error {
	return c.finishClaimed(ctx, jobs, releaseOf(nil, max(after, 0)))
}

// finishClaimed finishes each of the jobs with a result like the given one.
func (c *Client) finishClaimed(ctx context.Context, which ClaimedJobs, like attemptResult) error {
	jobs := which.claimed()
	if len(jobs) == 0 {
		return nil
	}
	results, leases, err := resultsByHand(jobs, like)
	if err != nil {
		return err
	}
	failed := JobErrors{}
	became, undecided, err := c.finishByHand(ctx, results, jobs[0].Worker, leases)
	if c.db == nil && isRefusal(err) && len(results) > 1 {
		became, undecided, err = outcomes{each: map[ID]string{}}, err, nil
		c.finishApart(ctx, results, jobs[0].Worker, became, failed)
	}
	if err != nil {
		return fmt.Errorf("pawl: %s: %w", like.verb, err)
	}
	if undecided != nil {
		results = slices.DeleteFunc(results, func(a attemptResult) bool {
			_, decided := became.of(a.job.ID)
			if !decided && failed[a.job.ID] == nil {
				failed[a.job.ID] = fmt.Errorf("pawl: %s: %w", like.verb, undecided)
			}
			return !decided
		})
	}
	if err := c.freeAnswered(ctx, results); err != nil {
		return err
	}
	c.runFollowupsSoon(ctx, slices.ContainsFunc(results, func(a attemptResult) bool { return a.job.constrained }))
	c.counters.finished(results, became.state)
	for _, a := range results {
		if _, ok := became.of(a.job.ID); !ok {
			failed[a.job.ID] = ErrLeaseLost
			continue
		}
		a.job.finishedByHand.Store(true)
		if a.job.lease.manual && c.db == nil {
			a.job.lease.left.Add(-1)
		}
	}
	return failed.orNil(len(jobs))
}

// finishApart finishes the halves of results of which the database refused one, so that only that one fails. It adds
// what became of the jobs.
func (c *Client) finishApart(
	ctx context.Context, results []attemptResult, worker string, became outcomes, failed JobErrors,
) {
	for _, half := range [][]attemptResult{results[:len(results)/2], results[len(results)/2:]} {
		now, undecided, err := c.finishByHand(ctx, half, worker, nil)
		if isRefusal(err) && len(half) > 1 {
			c.finishApart(ctx, half, worker, became, failed)
			continue
		}
		for _, a := range half {
			switch state, ok := now.of(a.job.ID); {
			case ok:
				became.each[a.job.ID] = state
			case cmp.Or(err, undecided) != nil:
				failed[a.job.ID] = fmt.Errorf("pawl: %s: %w", a.verb, cmp.Or(err, undecided))
			default:
				failed[a.job.ID] = ErrLeaseLost
			}
		}
	}
}

// resultsByHand returns a result for each job, and the leases of which these are the last jobs. A job that occurs
// twice has one result.
func resultsByHand(jobs []*JobInfo, like attemptResult) (results []attemptResult, leases []string, err error) {
	results = make([]attemptResult, 0, len(jobs))
	counts := map[*lease]int32{}
	named := make(map[ID]bool, len(jobs))
	for _, job := range jobs {
		if named[job.ID] {
			continue
		}
		named[job.ID] = true
		if job.lease == nil {
			return nil, nil, notClaimed(like.verb, job)
		}
		a := like
		a.job = job
		if a.verb == verbRetry && a.delay == nil && job.handler != nil {
			a.delay, a.backoff = job.handler.retryAfter(job, like.cause)
		}
		switch {
		case job.claimedAt.IsZero(): // Another process claimed it.
			a.ran = unknownDuration
		case job.lease.manual:
			a.waited, a.ran = job.waitedAt(job.claimedAt), time.Since(job.claimedAt)
		}
		results = append(results, a)
		counts[job.lease]++
	}
	for l, n := range counts {
		if l.manual && l.left.Load() == n {
			leases = append(leases, *l.id.Load())
		}
	}
	return results, leases, nil
}

// notClaimed returns the error of a verb that needs a claimed job.
func notClaimed(verb string, job *JobInfo) error {
	return fmt.Errorf("pawl: %s job %d: the job is not claimed, it was only looked up: claim it first", verb, job.ID)
}

// finishByHand writes results, and waits for the rows that are locked. If this fails when some jobs are finished
// already, undecided is the error of the others: the caller has to learn which ones are finished.
func (c *Client) finishByHand(
	ctx context.Context, results []attemptResult, worker string, leases []string,
) (became outcomes, undecided, err error) {
	if c.db == nil {
		became, err = c.finish(ctx, results, worker, leases)
		if err != nil || became.all != "" {
			return became, nil, err
		}
	}
	rest := slices.DeleteFunc(slices.Clone(results), func(a attemptResult) bool {
		_, ok := became.of(a.job.ID)
		return ok
	})
	if len(rest) == 0 {
		return became, nil, nil
	}
	more, err := c.finishLocking(ctx, rest, worker, leases)
	switch {
	case err != nil && len(rest) == len(results):
		return became, nil, err
	case err != nil:
		return became, err, nil
	}
	each := map[ID]string{}
	maps.Copy(each, became.each)
	for _, a := range rest {
		if state, ok := more.of(a.job.ID); ok {
			each[a.job.ID] = state
		}
	}
	return outcomes{each: each}, nil, nil
}

// orNil returns the errors of jobs as one error, or nil if there are none. If the verb was given one job, it returns
// that job's error.
func (e JobErrors) orNil(jobs int) error {
	if len(e) == 0 {
		return nil
	}
	if jobs == 1 {
		for id, err := range e {
			return fmt.Errorf("job %d: %w", id, err)
		}
	}
	return e
}
