package pawl

import (
	"context"
	"errors"
	"maps"
)

// around runs the insert middleware around insert, which is given the jobs with the defaults filled in, copied: nobody's template
// is changed.
func (c *Client) around(ctx context.Context, given []JobSpec, insert func(ctx context.Context, jobs []JobSpec) ([]InsertResult, error)) ([]InsertResult, error) {
	jobs := make([]JobSpec, len(given))
	for i := range given {
		jobs[i] = c.fill(given[i])
		if jobs[i].Headers = maps.Clone(jobs[i].Headers); jobs[i].Headers == nil {
			jobs[i].Headers = map[string]string{}
		}
	}
	var results []InsertResult
	failure := errors.New("pawl: insert: an InsertMiddleware returned nil and did not call next: nothing was inserted; to refuse a job return an error")
	next := func(ctx context.Context) error {
		results, failure = insert(ctx, jobs)
		return failure
	}
	for i := len(c.config.InsertMiddleware) - 1; i >= 0; i-- {
		middleware, inner, called := c.config.InsertMiddleware[i], next, false
		next = func(ctx context.Context) error {
			return middleware(ctx, jobs, func(ctx context.Context) error {
				if called {
					return errors.New("pawl: insert: an InsertMiddleware called next twice; the second call did nothing")
				}
				called = true
				return inner(ctx)
			})
		}
	}
	if err := next(ctx); err != nil {
		return results, err
	}
	return results, failure // Nil from Insert is a promise: no middleware can give it for a job that is not there.
}
