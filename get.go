package pawl

import (
	"context"
	"fmt"
	"time"

	"github.com/pawlhq/pawl/pawlstate"
)

// Get returns a live or finished job. It returns [ErrNotFound] if there is no such job, or if its retention has
// ended. If Config.Codec cannot decode the args, Args has them as stored: a JSON string that begins with
// "pawl:codec:". If the database cannot read some columns of the job, Get returns the job without them and sets
// JobInfo.Unreadable.
func (c *Client) Get(ctx context.Context, id ID) (*JobInfo, error) {
	jobs, err := c.readJobs(ctx, "select * from pawl.get($1::bigint[])",
		"select * from pawl.read_jobs($1::bigint[], null, null, null)", []int64{int64(id)})
	if err != nil {
		return nil, fmt.Errorf("pawl: get job %d: %w", id, err)
	}
	if len(jobs) == 0 {
		return nil, fmt.Errorf("pawl: get job %d: %w", id, ErrNotFound)
	}
	return jobs[len(jobs)-1], nil
}

// scanJob reads a row of get.sql or list.sql.
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
	err := s.Scan(&key, &state, &reason, &job.Queue, &job.Channel, &job.Kind, &args, &job.Data, &priority, &attempt,
		&most, &job.CreatedAt, &runAt, &finished, &waited, &ran, &worker, &fingerprint, &opts, &errs, &unique, &save,
		&result)
	if err != nil {
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
		job.Unreadable = fmt.Errorf("pawl: read job: %w", err)
	}
	_ = c.decode(job) // If it fails, the args stay as stored.
	return job, nil
}

// Claimed returns jobs that are claimed now, in the order of ids, so that another process than the one that claimed
// them can finish them. Pass the jobs to [Client.Complete], [Client.Fail], [Client.Release], [Client.Extend],
// [Client.Checkpoint] or [Client.Delete]. These return [ErrLeaseLost] if the claim is no longer valid. Claimed leaves
// out jobs that are not running.
//
// Compare [JobInfo.Epoch] with the epoch of the claim that you mean to finish: another worker may have claimed the
// job since. Pawl does not know how long such a job ran, so StartedAt is zero after it has finished.
func (c *Client) Claimed(ctx context.Context, ids ...ID) (Jobs, error) {
	found := map[ID]*JobInfo{}
	leases := map[string]*lease{}
	const text = `select h.epoch, h.crashes, h.constrained, h.permit, h.lease::text, h.until, h.shared, h.now, g.*
		from pawl.claimed($1::bigint[]) h join pawl.get($1::bigint[]) g on g.id = h.id`
	err := c.query(ctx, text, []any{integers(ids)}, func(s scanner) error {
		var epoch int32
		var crashes int16
		var constrained, permit bool
		var id string
		var until *time.Time
		var shared int32
		var now time.Time
		first := []any{&epoch, &crashes, &constrained, &permit, &id, &until, &shared, &now}
		job, err := c.scanJob(prefixedScanner{s, first})
		if err != nil {
			return err
		}
		job.client = c
		job.epoch, job.crashes, job.constrained, job.permit = epoch, crashes, constrained, permit
		job.LeaseUntil = valueOrZero(until)
		job.waited = unknownDuration
		if leases[id] == nil {
			// How many results of its jobs are stored already is not known: at most this many jobs are left.
			leases[id] = &lease{manual: until != nil}
			leases[id].id.Store(&id)
			leases[id].left.Store(shared)
		}
		job.lease = leases[id]
		found[job.ID] = job
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("pawl: get claimed jobs: %w", err)
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

// unknownDuration is a duration that was not measured. In SQL it is -1 milliseconds.
const unknownDuration = -time.Millisecond

// A prefixedScanner scans the first columns of a row into values of its own.
type prefixedScanner struct {
	scanner
	first []any
}

func (b prefixedScanner) Scan(dest ...any) error { return b.scanner.Scan(append(b.first, dest...)...) }
