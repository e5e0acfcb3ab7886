package pawl

import (
	"context"
	"errors"

	"github.com/pawlhq/pawl/internal/pg"
)

// readJobs returns the jobs that a call of get or list returns. If the database cannot compute, encode or send a row,
// each, a call of read_jobs with the same parameters, tries each row by itself. In a caller's transaction readJobs
// begins with that, because an error would end the transaction.
func (c *Client) readJobs(ctx context.Context, call, each string, args ...any) (jobs Jobs, err error) {
	if c.db == nil {
		err = c.query(ctx, call, args, func(s scanner) error {
			job, err := c.scanJob(s)
			jobs = append(jobs, job)
			return err
		})
		if !pg.IsUnreadable(err) {
			return jobs, err
		}
		jobs = nil
	}
	err = c.query(ctx, each, args, func(s scanner) error {
		var unreadable *string
		job, err := c.scanJob(prefixedScanner{s, []any{&unreadable}})
		if err == nil && unreadable != nil {
			job.Unreadable = errors.New("pawl: read job: " + *unreadable)
		}
		jobs = append(jobs, job)
		return err
	})
	return jobs, err
}

// listJobs calls the function list.
func (c *Client) listJobs(ctx context.Context, filter string, below *int64, most int) (Jobs, error) {
	return c.readJobs(ctx, "select * from pawl.list($1::text::jsonb, $2::bigint, $3::integer)",
		"select * from pawl.read_jobs(null, $1::text::jsonb, $2::bigint, $3::integer)", filter, below, most)
}
