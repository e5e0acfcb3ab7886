package pawl

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Await waits until a job has finished, whoever runs it, and returns it: completed with its Result, cancelled, or dead. Insert-and-wait
// is Insert, then Await. ErrNotFound: it is not kept (its queue's retention is zero, or it was deleted), or never was.
//
// It looks for the job's row, at growing intervals from 1 ms to 100 ms: a read of one index entry each.
func (c *Client) Await(ctx context.Context, id ID) (*JobInfo, error) {
	if err := c.standing("Await"); err != nil {
		return nil, err
	}
	wait := time.Millisecond
	for {
		var live bool
		err := c.row(ctx, "select exists (select from pawl.job where id = $1::bigint)", []any{int64(id)}, &live)
		if err == nil && !live {
			job, err := c.Get(ctx, id)
			if err == nil && !job.FinishedAt.IsZero() || errors.Is(err, ErrNotFound) {
				return job, err
			}
			// It lives again: retried in between.
		}
		if err != nil && (!isPassing(err) || ctx.Err() != nil) {
			return nil, fmt.Errorf("pawl: await job %d: %w", id, err)
		}
		if !pause(ctx, wait) {
			return nil, fmt.Errorf("pawl: await job %d: %w", id, ctx.Err())
		}
		wait = min(wait*3/2+time.Millisecond, 100*time.Millisecond)
	}
}
