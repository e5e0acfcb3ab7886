package pawl

import (
	"context"
	"time"
)

// DoctorAnxious is a Doctor whom everything worries at once: tests need not wait for what is old, or make what is large.
func (c *Client) DoctorAnxious(ctx context.Context) ([]Finding, error) {
	return c.doctor(ctx, concerns{late: time.Millisecond, locked: time.Millisecond, transactions: 1, bloat: 1 << 20, archive: 1 << 20, now: time.Now})
}

// DoctorAhead is a Doctor on a machine whose clock is ahead.
func (c *Client) DoctorAhead(ctx context.Context, by time.Duration) ([]Finding, error) {
	return c.doctor(ctx, concerns{late: time.Hour, locked: time.Hour, transactions: 1 << 40, bloat: 1 << 40, archive: 1 << 50,
		now: func() time.Time { return time.Now().Add(by) }})
}
