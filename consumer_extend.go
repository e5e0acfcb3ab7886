package pawl

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/pawlhq/pawl/internal/pg"
)

// Extend makes the leases of claimed jobs last for at least the time lasting from now. It never shortens a lease.
//
// The jobs of one Claim share a lease. If Extend gets only some of them, it splits the lease, and the other jobs'
// lease expires as before. A job that a runner runs needs no Extend: its lease lasts while the runner sends
// heartbeats.
//
// If a job's claim is no longer valid, Extend returns ErrLeaseLost. For several jobs, it returns a [JobErrors] with
// the errors of those jobs. The leases of the other jobs are extended.
func (c *Client) Extend(ctx context.Context, which ClaimedJobs, lasting time.Duration) error {
	jobs := which.claimed()
	if len(jobs) == 0 {
		return nil
	}
	if lasting <= 0 {
		return fmt.Errorf("pawl: extend leases by %v: want a positive time: to give jobs back, call Release", lasting)
	}
	split := newLeaseID()
	now, err := c.extendLeases(ctx, jobs, lasting, split)
	if err != nil {
		return err
	}
	lost := JobErrors{}
	var rolledBack Jobs
	apart := &lease{manual: true}
	apart.id.Store(&split)
	for _, job := range jobs {
		switch lease, found := now[job.ID]; {
		case !found && job.splitFrom != nil:
			// The job may have been split off in a transaction that was rolled back. Then it is still in its old
			// lease.
			job.moveTo(job.splitFrom)
			job.splitFrom, rolledBack = nil, append(rolledBack, job)
		case !found:
			lost[job.ID] = ErrLeaseLost
		case lease == split:
			if c.db != nil {
				job.splitFrom = job.lease
			}
			job.moveTo(apart)
		}
	}
	if err := c.extendAgain(ctx, rolledBack, lasting, lost); err != nil {
		return err
	}
	return lost.orNil(len(jobs))
}

// extendLeases extends the leases of jobs, and returns the lease that each job is in now. If it splits off jobs, they
// are in the lease split.
func (c *Client) extendLeases(
	ctx context.Context, jobs []*JobInfo, lasting time.Duration, split string,
) (now map[ID]string, err error) {
	leases := make([]string, len(jobs))
	for i, job := range jobs {
		if job.lease == nil {
			return nil, notClaimed("extend", job)
		}
		leases[i] = *job.lease.id.Load()
	}
	ids, epochs := idsAndEpochs(jobs)
	now = map[ID]string{}
	read := func(s scanner) error {
		var id int64
		var lease string
		err := s.Scan(&id, &lease)
		now[ID(id)] = lease
		return err
	}
	err = c.query(ctx, "select * from pawl.extend($1::bigint[], $2::integer[], $3::uuid[], $4::uuid, $5::interval)",
		[]any{ids, epochs, leases, split, pg.Interval(lasting)}, read)
	if err != nil {
		return nil, fmt.Errorf("pawl: extend: %w", err)
	}
	return now, nil
}

// extendAgain extends the leases of jobs that were not in the lease that they were expected in, and adds the lost
// jobs.
func (c *Client) extendAgain(ctx context.Context, jobs Jobs, lasting time.Duration, lost JobErrors) error {
	if len(jobs) == 0 {
		return nil
	}
	err := c.Extend(ctx, jobs, lasting)
	each, several := errors.AsType[JobErrors](err)
	switch {
	case several:
		maps.Copy(lost, each)
	case errors.Is(err, ErrLeaseLost):
		lost[jobs[0].ID] = ErrLeaseLost
	case err != nil:
		return err
	}
	return nil
}

// moveTo moves a job to another lease of this process.
func (j *JobInfo) moveTo(to *lease) {
	j.lease.left.Add(-1)
	j.lease = to
	to.left.Add(1)
}
