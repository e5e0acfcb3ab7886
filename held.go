package pawl

import (
	"context"
	"fmt"
	"time"
)

// Held are running jobs as who claimed them has them: Complete, Fail, Release, Extend, Checkpoint and Delete take them. So one process
// can claim, and another answer: it must know that the claim was meant for it, by Epoch, or finishes what somebody else is at. What
// of these ids does not run is not among them; if it was lost meanwhile, the answer is ErrLeaseLost as ever.
//
// How long such a job ran is not known: finished, it has no StartedAt.
func (c *Client) Held(ctx context.Context, ids ...ID) (Jobs, error) {
	plain, _ := IDs(ids).selection()
	found := map[ID]*JobInfo{}
	leases := map[string]*lease{}
	err := c.query(ctx, `select h.epoch, h.strikes, h.tied, h.permit, h.lease::text, h.until, h.shared, h.now, g.*
		from pawl.held($1::bigint[]) h join pawl.get($1::bigint[]) g on g.id = h.id`, []any{plain}, func(s scanner) error {
		var epoch int32
		var strikes int16
		var tied, permit bool
		var id string
		var until *time.Time
		var shared int32
		var now time.Time
		job, err := c.scanJob(behind{s, []any{&epoch, &strikes, &tied, &permit, &id, &until, &shared, &now}})
		if err != nil {
			return err
		}
		job.epoch, job.strikes, job.tied, job.permit, job.LeaseUntil = epoch, strikes, tied, permit, given(until)
		job.waited = unknown
		if leases[id] == nil {
			// Of how many of its jobs nobody has answered for yet is not known, but that they are no more than this.
			leases[id] = &lease{byHand: until != nil}
			leases[id].id.Store(&id)
			leases[id].left.Store(shared)
		}
		job.lease = leases[id]
		found[job.ID] = job
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("pawl: held: %w", err)
	}
	var jobs Jobs
	for _, id := range ids {
		if job := found[id]; job != nil {
			jobs = append(jobs, job)
			delete(found, id)
		}
	}
	return jobs, nil
}

// unknown is a duration nobody measured, in milliseconds -1.
const unknown = -time.Millisecond

// behind scans the first columns of a row apart.
type behind struct {
	scanner
	first []any
}

func (b behind) Scan(dest ...any) error { return b.scanner.Scan(append(b.first, dest...)...) }

// Epoch is, of a job that was claimed, the number of the claim: with the ID it names it, in SQL and for Held. It is any number, and
// another each time the job becomes ready again. Of a job that was only looked up it is 0.
func (j *JobInfo) Epoch() int32 { return j.epoch }

// Lease is the id of the lease that a claimed job is held by, which pawl.extend in SQL asks for; else empty.
func (j *JobInfo) Lease() string {
	if j.lease == nil {
		return ""
	}
	return *j.lease.id.Load()
}
