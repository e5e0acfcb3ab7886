package pawl

import (
	"context"
	"fmt"
)

// maxListed is the largest number of jobs that List returns.
const maxListed = 100_000

// List returns the live and finished jobs that meet a filter, newest first. It returns at most Filter.Limit jobs, or
// 100 if Limit is zero, and never more than 100,000. If it returns fewer, there are no more jobs. For the next page,
// set Filter.Before to the id of the last job.
//
// List is fast if a full page of matching jobs is among the newest jobs. If few jobs match, it reads all jobs below
// Filter.Before. If Filter.States contains neither completed nor cancelled, it reads only live and dead jobs.
//
// If the database cannot read some columns of a job, List returns the job without them and sets JobInfo.Unreadable.
func (c *Client) List(ctx context.Context, filter Filter) (Jobs, error) {
	text, below, _, err := filter.stored(nil)
	if err != nil {
		return nil, fmt.Errorf("pawl: list: %w", err)
	}
	limit := filter.Limit
	if limit == 0 {
		limit = 100
	}
	limit = min(limit, maxListed)
	jobs, err := c.listJobs(ctx, text, below, limit)
	if err != nil {
		return nil, fmt.Errorf("pawl: list: %w", err)
	}
	return jobs, nil
}

// Count returns the exact number of live and finished jobs that meet a filter. If Filter.Limit is set, it returns at
// most that. The database reads every job that it counts, and whole tables if no index fits. For figures that are
// cheap at any size, see [Client.Stats].
func (c *Client) Count(ctx context.Context, filter Filter) (n int64, err error) {
	text, below, _, err := filter.stored(nil)
	if err == nil {
		var most *int64
		if filter.Limit > 0 {
			most = new(int64(filter.Limit))
		}
		err = c.row(ctx, "select pawl.count($1::text::jsonb, $2::bigint, $3::bigint)", []any{text, below, most}, &n)
	}
	if err != nil {
		return 0, fmt.Errorf("pawl: count jobs: %w", err)
	}
	return n, nil
}
