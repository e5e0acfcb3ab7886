package pawl

import (
	"context"
	"fmt"

	"github.com/pawlhq/pawl/pawlstate"
)

// Retry makes jobs run now that are scheduled, waiting for a retry, dead or cancelled, and returns their number. It
// returns ErrNotFound if which is an ID and there is no such job. A job that has used up its attempts gets one
// more.
//
// Jobs that are ready, running or completed are left as they are, and so is a finished job whose unique key another
// job has. An ordered job goes to the end of its channel. Two do not: the dead head of a halted channel takes its
// old place, and a job that others still depend on goes directly behind the head. Retry treats a Filter as Cancel
// does.
func (c *Client) Retry(ctx context.Context, which Selector) (int64, error) {
	among := []pawlstate.State{pawlstate.Scheduled, pawlstate.Dead, pawlstate.Cancelled}
	n, err := c.change(ctx, which, among, func(ids []int64, _ []*int32) (n int64, err error) {
		err = c.query(ctx, "select pawl.retry($1::bigint[])", []any{ids}, func(scanner) error { n++; return nil })
		return n, err
	})
	if err != nil {
		return n, fmt.Errorf("pawl: retry jobs: %w", err)
	}
	return n, nil
}
