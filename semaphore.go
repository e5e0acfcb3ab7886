package pawl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// free gives back the permits of jobs whose handlers have ended.
func (c *Client) free(ctx context.Context, jobs []*JobInfo) error {
	ids, leases := make([]int64, len(jobs)), make([]string, len(jobs))
	for i, job := range jobs {
		ids[i], leases[i] = int64(job.ID), *job.lease.id.Load()
	}
	return c.query(ctx, "select pawl.free_permits($1::bigint[], $2::uuid[])", []any{ids, leases}, nil)
}

// freeAnswered gives back the permits of jobs answered for by hand. Those of a runner's handler it keeps until that has ended.
func (c *Client) freeAnswered(ctx context.Context, answers []attemptResult) error {
	var jobs []*JobInfo
	for _, a := range answers {
		if a.job.permit && a.job.lease.manual {
			jobs = append(jobs, a.job)
		}
	}
	if len(jobs) == 0 {
		return nil
	}
	return c.free(ctx, jobs)
}

// reclaim drops the permits of who is gone.
func (c *Client) reclaim(ctx context.Context) error {
	var n int64
	return c.row(ctx, "select pawl.drop_stale_permits()", nil, &n)
}

// Semaphore is a KindOptions.Permit for limits beyond queues and channels: at most n of the jobs that have a key run at once over
// the whole cluster. keys names what a job needs, several if need be ("stripe", "customer 42"); it gets all of them or none, and
// comes again after a second (with no attempt used) when one is not to be had. Crashed workers' permits come free with their
// leases. Use one n for a key everywhere.
func (c *Client) Semaphore(n int, keys func(job *JobInfo) []string) func(context.Context, *JobInfo) (func(), error) {
	return func(ctx context.Context, job *JobInfo) (func(), error) {
		if n < 1 {
			return nil, fmt.Errorf("pawl: Semaphore of %d: want at least 1", n)
		}
		names := slices.Clone(keys(job))
		slices.Sort(names)
		names = slices.Compact(names)
		if len(names) == 0 {
			return nil, nil
		}
		if job.lease == nil {
			return nil, errors.New("pawl: Semaphore: the job is not held")
		}
		for _, name := range names {
			if name == "" || len(name) > maxName {
				return nil, fmt.Errorf("pawl: Semaphore: a key has 1 to %d bytes", maxName)
			}
		}
		lease := *job.lease.id.Load()
		var got bool
		if err := c.row(ctx, "select pawl.acquire_permits($1::text[], $2::integer, $3::bigint, $4::uuid)", []any{names, n, int64(job.ID), lease}, &got); err != nil {
			return nil, fmt.Errorf("pawl: Semaphore: %w", err)
		}
		if !got {
			return nil, Snooze(time.Second)
		}
		return func() {
			lease := *job.lease.id.Load() // Extend may have changed it.
			giving, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			if err := c.query(giving, "select pawl.free_permits(array[$1::bigint], array[$2::uuid])", []any{int64(job.ID), lease}, nil); err != nil {
				c.config.Logger.Warn("pawl: permits not given back; they go with the lease", "job", job, "keys", names, "error", err)
			}
		}, nil
	}
}
