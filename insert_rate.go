package pawl

import (
	"context"
)

// InsertAllowance returns the number of jobs that Config.InsertRate lets through now, from 0 to the rate's Burst. It
// returns -1 if there is no rate.
func (c *Client) InsertAllowance() int {
	if c.limiter == nil {
		return -1
	}
	return c.limiter.left()
}

// limit takes n tokens of Config.InsertRate. It returns a *RateError if there are too few.
func (c *Client) limit(ctx context.Context, n int) error {
	if c.limiter == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if wait := c.limiter.take(n); wait > 0 {
		return &RateError{RetryAfter: wait}
	}
	return nil
}
