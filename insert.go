package pawl

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// An InsertResult is the result of inserting a job.
type InsertResult struct {
	// ID is the id of the job that was inserted or, if Duplicate is true, of the job that has the unique key.
	ID ID
	// Duplicate is true if nothing was inserted, because another job has the unique key.
	Duplicate bool
}

// Insert inserts one job. job is plain [Args], or a [JobSpec] with settings. If Insert returns a nil error, the job
// is committed and will not be lost. On a client made by [Client.With], the job commits with that transaction.
//
// Insert returns an [*InvalidError] if the job is invalid and a [*RateError] if Config.InsertRate is exceeded; then
// the database has not seen the job. If the connection fails or ctx ends while the statement runs, the error says
// that the job may have been inserted.
//
// Concurrent calls share statements and commits. If the database refuses one job, the others are inserted.
func (c *Client) Insert(ctx context.Context, job Args) (InsertResult, error) {
	if len(c.config.InsertMiddleware) == 0 {
		return c.insertOne(ctx, job)
	}
	spec, err := specOf(job)
	if err != nil {
		return InsertResult{}, &InvalidError{Field: "Args", Reason: err.Error()}
	}
	results, err := c.around(ctx, []JobSpec{spec}, func(ctx context.Context, jobs []JobSpec) ([]InsertResult, error) {
		result, err := c.insertOne(ctx, &jobs[0])
		return []InsertResult{result}, err
	})
	if len(results) == 0 {
		return InsertResult{}, err
	}
	return results[0], err
}

func (c *Client) insertOne(ctx context.Context, job Args) (InsertResult, error) {
	r, err := c.prepare(0, job)
	if err == nil {
		err = c.limit(ctx, 1)
	}
	if err != nil {
		return InsertResult{}, err
	}
	if r.constraints != nil {
		results, err := c.insertConstrained(ctx, []insertRow{r})
		if err != nil {
			return InsertResult{}, fmt.Errorf("pawl: insert job: %w", c.explainMissingSchema(ctx, err))
		}
		return results[0], nil
	}
	if c.db == nil && c.pool != nil {
		id, err := c.insertBatcher.insert(ctx, r)
		return InsertResult{ID: id}, err
	}
	ids, err := c.insertRows(ctx, []insertRow{r})
	if err != nil {
		return InsertResult{}, fmt.Errorf("pawl: insert job: %w", err)
	}
	return InsertResult{ID: ids[0]}, nil
}

// copyFrom is the number of jobs from which COPY is faster than one statement with arrays.
const copyFrom = 2000

// InsertMany inserts jobs, all or none, and returns their results in the order of jobs. If a job is invalid, it
// returns an [*InvalidError] whose Index is the index of that job. It returns a [*RateError] if Config.InsertRate is
// exceeded.
//
// There is no limit to the number and the total size of jobs. Many or large jobs are inserted by several statements in
// one transaction.
func (c *Client) InsertMany(ctx context.Context, jobs []JobSpec) ([]InsertResult, error) {
	if len(jobs) == 0 {
		return nil, nil
	}
	if len(c.config.InsertMiddleware) == 0 {
		return c.insertMany(ctx, jobs)
	}
	return c.around(ctx, jobs, c.insertMany)
}

func (c *Client) insertMany(ctx context.Context, jobs []JobSpec) ([]InsertResult, error) {
	rows, err := c.prepareMany(jobs)
	if err != nil {
		return nil, err
	}
	if err := c.limit(ctx, len(rows)); err != nil {
		return nil, err
	}
	results, err := c.insertResolved(ctx, rows)
	if err != nil {
		return nil, fmt.Errorf("pawl: insert job: %w", c.explainMissingSchema(ctx, err))
	}
	return results, nil
}

// insertResolved inserts rows, all or none: by insert_constrained.sql if one has constraints, by COPY if they are
// many or large, else by insert.sql.
func (c *Client) insertResolved(ctx context.Context, rows []insertRow) ([]InsertResult, error) {
	if slices.ContainsFunc(rows, func(r insertRow) bool { return r.constraints != nil }) {
		return c.insertConstrained(ctx, rows)
	}
	insert := c.insertRows
	if len(rows) >= copyFrom && c.canCopy() || exceeds(rows, c.limits.statement) {
		insert = c.insertLarge
	}
	ids, err := insert(ctx, rows)
	if err != nil {
		return nil, err
	}
	results := make([]InsertResult, len(ids))
	for i, id := range ids {
		results[i].ID = id
	}
	return results, nil
}

// prepare checks and encodes a job and returns its row. The rate is checked later, so that invalid jobs do not count.
func (c *Client) prepare(index int, job Args) (insertRow, error) {
	r, err := c.resolveSpec(index, job)
	if err == nil {
		err = c.encode(index, &r)
	}
	return r, err
}

// prepareMany prepares jobs of one insert.
func (c *Client) prepareMany(jobs []JobSpec) ([]insertRow, error) {
	rows := make([]insertRow, len(jobs))
	for i := range jobs {
		r, err := c.prepare(i, &jobs[i])
		if err != nil {
			return nil, err
		}
		rows[i] = r
	}
	return rows, nil
}

// Validate returns the [*InvalidError] that [Client.Insert] or [Client.InsertMany] would return for these jobs, or
// nil. It inserts nothing, calls no middleware and no Codec, and does not use Config.InsertRate.
func (c *Client) Validate(jobs ...JobSpec) error {
	for i := range jobs {
		if _, err := c.resolveSpec(i, &jobs[i]); err != nil {
			return err
		}
	}
	return nil
}

// around runs the insert middleware around insert. It gives insert copies of the jobs with their defaults, so that
// middleware does not change the caller's jobs.
func (c *Client) around(
	ctx context.Context, given []JobSpec, insert func(ctx context.Context, jobs []JobSpec) ([]InsertResult, error),
) ([]InsertResult, error) {
	jobs := make([]JobSpec, len(given))
	for i := range given {
		jobs[i] = c.fill(given[i])
		if jobs[i].Headers = maps.Clone(jobs[i].Headers); jobs[i].Headers == nil {
			jobs[i].Headers = map[string]string{}
		}
	}
	var results []InsertResult
	failure := errors.New("pawl: insert job: an InsertMiddleware returned nil and did not call next: " +
		"nothing was inserted; to refuse a job return an error")
	next := func(ctx context.Context) error {
		results, failure = insert(ctx, jobs)
		return failure
	}
	for i := len(c.config.InsertMiddleware) - 1; i >= 0; i-- {
		middleware, inner, called := c.config.InsertMiddleware[i], next, false
		next = func(ctx context.Context) error {
			return middleware(ctx, jobs, func(ctx context.Context) error {
				if called {
					return errors.New("pawl: insert job: an InsertMiddleware called next twice: call it once")
				}
				called = true
				return inner(ctx)
			})
		}
	}
	if err := next(ctx); err != nil {
		return results, err
	}
	return results, failure // Insert returns nil only if the job is inserted, whatever the middleware returns.
}
