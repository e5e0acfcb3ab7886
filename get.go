package pawl

import (
	"context"
	"fmt"
	"time"

	"github.com/pawlhq/pawl/pawlstate"
)

// Get is a job, live, archived or dead. ErrNotFound: it never was, or is not kept any more. Args that Config.Codec cannot decode are
// as stored, a JSON string that begins with "pawl:codec:"; the rest of the job can be read.
func (c *Client) Get(ctx context.Context, id ID) (*JobInfo, error) {
	var job *JobInfo
	err := c.query(ctx, "select * from pawl.get($1::bigint[])", []any{[]int64{int64(id)}}, func(s scanner) (err error) {
		job, err = c.scanJob(s)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("pawl: get: %w", err)
	}
	if job == nil {
		return nil, fmt.Errorf("job %d: %w", id, ErrNotFound)
	}
	return job, nil
}

// scanJob reads a row of get or list.
func (c *Client) scanJob(s scanner) (*JobInfo, error) {
	job := &JobInfo{}
	var (
		reason, worker, fingerprint *string
		runAt, finished             *time.Time
		waited, ran                 *int64
		priority, attempt, most     int16
		key                         int64
		state                       string
		args, opts, errs            []byte
		unique                      *string
		save, result                []byte
	)
	if err := s.Scan(&key, &state, &reason, &job.Queue, &job.Channel, &job.Kind, &args, &job.Data, &priority, &attempt, &most,
		&job.CreatedAt, &runAt, &finished, &waited, &ran, &worker, &fingerprint, &opts, &errs, &unique, &save, &result); err != nil {
		return nil, err
	}
	job.ID, job.State, job.Args = ID(key), pawlstate.State(state), args
	job.Priority, job.Attempt, job.MaxAttempts = int(priority), int(attempt), int(most)
	if job.State == pawlstate.Running {
		job.Attempt++
	}
	for _, t := range []struct {
		from *string
		to   *string
	}{{reason, &job.Reason}, {worker, &job.Worker}, {fingerprint, &job.Fingerprint}, {unique, &job.UniqueKey}} {
		if t.from != nil {
			*t.to = *t.from
		}
	}
	if runAt != nil {
		job.RunAt = *runAt
	}
	if finished != nil {
		job.FinishedAt = *finished
		if ran != nil {
			job.StartedAt = finished.Add(-time.Duration(*ran) * time.Millisecond)
		}
	}
	job.Result = result
	if err := job.unpack(opts, errs, save); err != nil {
		return nil, err
	}
	c.decode(job)
	return job, nil
}

// Held are running jobs as who claimed them has them: Complete, Fail, Release, Extend, Checkpoint and Delete take them. So one process
// can claim, and another answer: it must know that the claim was meant for it, by Epoch, or finishes what somebody else is at. What
// of these ids does not run is not among them; if it was lost meanwhile, the answer is ErrLeaseLost as ever.
//
// How long such a job ran is not known: finished, it has no StartedAt.
func (c *Client) Claimed(ctx context.Context, ids ...ID) (Jobs, error) {
	found := map[ID]*JobInfo{}
	leases := map[string]*lease{}
	err := c.query(ctx, `select h.epoch, h.crashes, h.constrained, h.permit, h.lease::text, h.until, h.shared, h.now, g.*
		from pawl.claimed($1::bigint[]) h join pawl.get($1::bigint[]) g on g.id = h.id`, []any{integers(ids)}, func(s scanner) error {
		var epoch int32
		var crashes int16
		var constrained, permit bool
		var id string
		var until *time.Time
		var shared int32
		var now time.Time
		job, err := c.scanJob(prefixedScanner{s, []any{&epoch, &crashes, &constrained, &permit, &id, &until, &shared, &now}})
		if err != nil {
			return err
		}
		job.client = c
		job.epoch, job.crashes, job.constrained, job.permit, job.LeaseUntil = epoch, crashes, constrained, permit, valueOrZero(until)
		job.waited = unknownDuration
		if leases[id] == nil {
			// Of how many of its jobs nobody has answered for yet is not known, but that they are no more than this.
			leases[id] = &lease{manual: until != nil}
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
const unknownDuration = -time.Millisecond

// behind scans the first columns of a row apart.
type prefixedScanner struct {
	scanner
	first []any
}

func (b prefixedScanner) Scan(dest ...any) error { return b.scanner.Scan(append(b.first, dest...)...) }
