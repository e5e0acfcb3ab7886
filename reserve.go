package pawl

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pawlhq/pawl/internal/pg"
)

// CommitReserved releases jobs that were inserted with JobSpec.Reserve, all or none, so that they can run. It returns
// [ErrExpired] if one of them is no longer reserved. Then its time has passed, or it was committed or aborted before.
func (c *Client) CommitReserved(ctx context.Context, ids ...ID) error {
	err := c.query(ctx, "select pawl.commit_reserved($1::bigint[])", []any{integers(ids)}, nil)
	return reservationError("commit reservation", err)
}

// AbortReserved removes reserved jobs, all or none. It returns [ErrExpired] in the same cases as
// [Client.CommitReserved].
func (c *Client) AbortReserved(ctx context.Context, ids ...ID) error {
	err := c.query(ctx, "select pawl.abort_reserved($1::bigint[])", []any{integers(ids)}, nil)
	return reservationError("abort reservation", err)
}

// ExtendReserved makes reservations last at least until d from now; it never shortens one. It extends all or none. It
// returns [ErrExpired] in the same cases as [Client.CommitReserved].
func (c *Client) ExtendReserved(ctx context.Context, d time.Duration, ids ...ID) error {
	if d < 0 {
		return errors.New("pawl: extend reservation: the duration is negative: want 0 or more")
	}
	args := []any{integers(ids), pg.Interval(d)}
	err := c.query(ctx, "select pawl.extend_reserved($1::bigint[], $2::interval)", args, nil)
	return reservationError("extend reservation", err)
}

func reservationError(verb string, err error) error {
	switch {
	case err == nil:
		return nil
	case pg.SQLState(err) == "PW001":
		return fmt.Errorf("pawl: %s: %w: %w", verb, ErrExpired, err)
	default:
		return fmt.Errorf("pawl: %s: %w", verb, err)
	}
}

// expire removes reserved jobs and unique keys whose time has passed.
func (c *Client) expire(ctx context.Context) error {
	for {
		const most = 1000
		var n int64
		if err := c.row(ctx, "select pawl.expire($1::integer)", []any{most}, &n); err != nil || n < most {
			return err
		}
	}
}
