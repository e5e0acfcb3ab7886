package pawl

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pawlhq/pawl/internal/pg"
	"github.com/pawlhq/pawl/pawlstate"
)

const (
	// minDelivery and maxDelivery bound the time between two deliveries to a database that takes no results.
	minDelivery, maxDelivery = time.Second, time.Minute
)

// refused handles a batch that the database refused, or that could not be delivered before the runner gave up.
//
// If one result is at fault, the halves of the batch are delivered, so that only this result fails. It becomes a failed
// attempt, without what the database refused. If that is refused too, the job's row is at fault, and the job is dead.
// If the whole database is at fault, the batch is delivered again later.
func (f *finisher) refused(batch []attemptResult, leases []string, err error) {
	switch {
	case f.ctx.Err() != nil || len(batch) == 0:
		// The leases are not tried again: the runner has given up. They end with its worker.
		for _, a := range batch {
			f.decide(a, "", notDelivered(a, err))
		}
	case isRefusal(err) && len(batch) > 1 && batch[0].verb == verbComplete:
		f.deleteLater(leases)
		f.completeIsolated(batch)
	case isRefusal(err) && len(batch) > 1:
		f.deleteLater(leases)
		f.deliver(batch[:len(batch)/2], nil)
		f.deliver(batch[len(batch)/2:], nil)
	case isRefusal(err) && !batch[0].refused:
		f.deliver([]attemptResult{batch[0].refusedWith(err)}, leases)
	case isRefusal(err):
		f.deleteLater(leases)
		f.bury(batch[0], err)
	default:
		f.deleteLater(leases)
		go f.deliverLater(batch)
	}
}

// completeIsolated completes the jobs of a batch of which the database refuses some. The refused results become failed
// attempts. In the database this takes one statement; halves that are sent one by one would take dozens.
func (f *finisher) completeIsolated(batch []attemptResult) {
	problems := map[ID]*string{} // The jobs that were not skipped; nil if the job is completed.
	ambiguous := false
	err := pg.RetryUntil(f.ctx, func() error {
		clear(problems)
		err := f.client.completeIsolated(f.ctx, batch, f.worker, problems)
		ambiguous = ambiguous || pg.IsAmbiguous(err)
		return err
	})
	if err != nil {
		go f.deliverLater(batch)
		return
	}
	defer f.followups.run(f.ctx, f.client)
	var refused, skipped []attemptResult
	for _, a := range batch {
		switch problem, ok := problems[a.job.ID]; {
		case !ok:
			skipped = append(skipped, a)
		case problem == nil:
			f.decide(a, string(pawlstate.Completed), nil)
		default:
			refused = append(refused, a.refusedWith(errors.New(*problem)))
		}
	}
	if len(skipped) > 0 {
		go f.resolveSkipped(skipped, ambiguous)
	}
	if len(refused) > 0 {
		f.deliver(refused, nil)
	}
}

// completeIsolated calls the function complete_isolated. It records the jobs that were completed, and why the database
// refused others.
func (c *Client) completeIsolated(
	ctx context.Context, batch []attemptResult, worker string, problems map[ID]*string,
) error {
	p, returned, keep := completeParameters(batch, worker)
	const text = "select * from pawl.complete_isolated($1::bigint[], $2::integer[], $3::bigint[], $4::bigint[], " +
		"$5::text[], $6::text, $7::bigint[])"
	return c.query(ctx, text, []any{p.ids, p.epochs, p.waited, p.ran, returned, p.worker, keep}, func(s scanner) error {
		var id int64
		var problem *string
		err := s.Scan(&id, &problem)
		problems[ID(id)] = problem
		return err
	})
}

// refusedWith returns the failed attempt that takes the place of a result that the database refused with an error: no
// result, and the default backoff.
func (a attemptResult) refusedWith(err error) attemptResult {
	a.job.result = nil
	a.cause = fmt.Errorf("pawl: deliver result %s: the database refused it: %w", a.verb, err)
	if a.verb == verbComplete || a.verb == verbRetry || a.verb == verbSnooze {
		a.verb, a.delay = verbRetry, secondsOf(Backoff{}.Wait(a.job.Attempt))
	}
	a.backoff, a.err, a.refused = nil, errorText(a.cause.Error(), ""), true
	return a
}

// bury makes a job dead whose row takes no result at all, not even a failed attempt.
func (f *finisher) bury(a attemptResult, refusal error) {
	var buried bool
	err := pg.RetryUntil(f.ctx, func() error {
		return f.client.row(f.ctx, "select pawl.bury($1::bigint, $2::integer, $3::text)",
			[]any{int64(a.job.ID), a.job.epoch, truncate(refusal.Error(), maxErrorText)}, &buried)
	})
	switch {
	case err != nil && f.ctx.Err() != nil:
		f.decide(a, "", notDelivered(a, err))
	case err != nil:
		go f.deliverLater([]attemptResult{a})
	case buried:
		a.verb, a.cause = verbUnprocessable, refusal
		f.decide(a, string(pawlstate.Dead), nil)
		f.followups.run(f.ctx, f.client)
	default: // It is locked, or not this runner's any more.
		go f.resolveSkipped([]attemptResult{a}, a.ambiguous)
	}
}

// deliverLater delivers a batch again after a while, because the database takes no results for another reason than the
// batch: a privilege was revoked, for example. It waits longer each time.
func (f *finisher) deliverLater(batch []attemptResult) {
	wait := min(minDelivery<<min(batch[0].delayed, 10), maxDelivery)
	for i := range batch {
		batch[i].delayed++
	}
	pg.Sleep(f.ctx, wait)
	f.deliver(batch, nil)
}
