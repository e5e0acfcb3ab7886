package pawl

import (
	"context"
)

// InsertAllowance returns how many jobs Insert accepts at this moment under Config.InsertRate. It is at most the rate's
// Burst. Without a rate it is -1.
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
