package pawl

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Commit is the second phase of jobs inserted with Reserve: they may run. All or none: ErrExpired, if one is not reserved any
// more because its time came, it was aborted, or committed before.
func (c *Client) CommitReserved(ctx context.Context, ids ...ID) error {
	return reservationError("commit", c.query(ctx, "select pawl.commit_reserved($1::bigint[])", []any{integers(ids)}, nil))
}

// Abort takes reserved jobs away, all or none, as Commit.
func (c *Client) AbortReserved(ctx context.Context, ids ...ID) error {
	return reservationError("abort", c.query(ctx, "select pawl.abort_reserved($1::bigint[])", []any{integers(ids)}, nil))
}

// ExtendReserve lets reservations last until now + d; it never shortens them. All or none, as Commit.
func (c *Client) ExtendReserved(ctx context.Context, d time.Duration, ids ...ID) error {
	if d < 0 {
		return errors.New("pawl: ExtendReserve: a negative duration")
	}
	return reservationError("extend reserve", c.query(ctx, "select pawl.extend_reserved($1::bigint[], $2::interval)", []any{integers(ids), interval(d)}, nil))
}

func reservationError(verb string, err error) error {
	switch {
	case err == nil:
		return nil
	case sqlState(err) == "PW001":
		return fmt.Errorf("pawl: %s: %w: %w", verb, ErrExpired, err)
	default:
		return fmt.Errorf("pawl: %s: %w", verb, err)
	}
}

// expire takes away reservations and unique keys whose time has passed.
func (c *Client) expire(ctx context.Context) error {
	for {
		const most = 1000
		var n int64
		if err := c.row(ctx, "select pawl.expire($1::integer)", []any{most}, &n); err != nil || n < most {
			return err
		}
	}
}
