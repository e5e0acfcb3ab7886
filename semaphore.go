package pawl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Semaphore returns a function for KindOptions.Permit that limits how many jobs with the same key run at once in the
// whole cluster. Use it if the limit is not for a queue or a channel, for example for calls to one API.
//
// keys returns the keys that a job needs, for example "stripe" and "customer 42". A key has 1 to 255 bytes. The job
// gets a permit for each of its keys, or none at all. If a permit is missing, the job is snoozed for a second without
// using an attempt. A job without keys is not limited. At most n jobs have a permit for the same key, so use the same
// n for a key in every process. If a worker crashes, its permits are freed when its lease expires.
func (c *Client) Semaphore(n int, keys func(job *JobInfo) []string) func(context.Context, *JobInfo) (func(), error) {
	return func(ctx context.Context, job *JobInfo) (func(), error) {
		if n < 1 {
			return nil, fmt.Errorf("pawl: acquire semaphore: n is %d: want at least 1", n)
		}
		names := slices.Clone(keys(job))
		slices.Sort(names)
		names = slices.Compact(names)
		if len(names) == 0 {
			return nil, nil
		}
		if job.lease == nil {
			return nil, errors.New("pawl: acquire semaphore: the job is not claimed: use a job that Run or Claim returned")
		}
		for _, name := range names {
			if name == "" || len(name) > maxName {
				return nil, fmt.Errorf("pawl: acquire semaphore %.50q: the key has %d bytes: want 1 to %d",
					name, len(name), maxName)
			}
		}
		var acquired bool
		err := c.row(ctx, "select pawl.acquire_permits($1::text[], $2::integer, $3::bigint, $4::uuid)",
			[]any{names, n, int64(job.ID), *job.lease.id.Load()}, &acquired)
		if err != nil {
			return nil, fmt.Errorf("pawl: acquire semaphore %.50q: %w", names, err)
		}
		if !acquired {
			return nil, Snooze(time.Second)
		}
		return func() {
			// The handler's context may have ended.
			freeing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			if err := c.free(freeing, []*JobInfo{job}); err != nil {
				c.config.Logger.Warn("pawl: semaphore not released; its permits are freed when the lease ends",
					"job", job, "keys", names, "error", err)
			}
		}, nil
	}
}

// free gives back the permits of jobs whose handlers have ended.
func (c *Client) free(ctx context.Context, jobs []*JobInfo) error {
	ids, leases := make([]int64, len(jobs)), make([]string, len(jobs))
	for i, job := range jobs {
		ids[i], leases[i] = int64(job.ID), *job.lease.id.Load() // Extend may have changed the lease.
	}
	return c.query(ctx, "select pawl.free_permits($1::bigint[], $2::uuid[])", []any{ids, leases}, nil)
}

// freeAnswered gives back the permits of jobs that a consumer has finished. A runner gives back the permits of its
// jobs when their handlers end, even if a handler has finished its job itself.
func (c *Client) freeAnswered(ctx context.Context, results []attemptResult) error {
	var jobs []*JobInfo
	for _, r := range results {
		if r.job.permit && r.job.lease.manual {
			jobs = append(jobs, r.job)
		}
	}
	if len(jobs) == 0 {
		return nil
	}
	return c.free(ctx, jobs)
}

// reclaim drops the permits of workers and leases that are gone.
func (c *Client) reclaim(ctx context.Context) error {
	var n int64
	return c.row(ctx, "select pawl.drop_stale_permits()", nil, &n)
}
