package pawl

import (
	"context"
	"errors"

	"github.com/pawlhq/pawl/internal/pg"
)

// readJobs returns the jobs that a function of SQL returns: get or list. If the database cannot compute, encode or send
// a row, it reads them with the function that tries each row by itself, get_readable or list_readable. In a caller's
// transaction it begins with that, because an error would end the transaction.
func (c *Client) readJobs(ctx context.Context, function, parameters string, args ...any) (jobs Jobs, err error) {
	if c.db == nil {
		err = c.query(ctx, "select * from pawl."+function+parameters, args, func(s scanner) error {
			job, err := c.scanJob(s)
			jobs = append(jobs, job)
			return err
		})
		if !pg.IsUnreadable(err) {
			return jobs, err
		}
		jobs = nil
	}
	err = c.query(ctx, "select * from pawl."+function+"_readable"+parameters, args, func(s scanner) error {
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
	return c.readJobs(ctx, "list", "($1::text::jsonb, $2::bigint, $3::integer)", filter, below, most)
}
