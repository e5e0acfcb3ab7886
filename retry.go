package pawl

import (
	"context"
	"fmt"

	"github.com/pawlhq/pawl/pawlstate"
)

// Retry makes scheduled, dead and cancelled jobs ready now and returns their number. A scheduled job may be waiting
// for its first run or for its next attempt. A job that has used up its attempts gets one more. Retry returns
// [ErrNotFound] if which is an [ID] and there is no such job.
//
// Retry does not change jobs that are ready, running or completed. It does not change a finished job either if
// another job has its unique key.
//
// An ordered job goes to the end of its channel, with two exceptions. The dead head of a halted channel takes its old
// place. A job that other jobs still depend on goes directly behind the head. Retry treats a [Filter] as
// [Client.Cancel] does.
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
