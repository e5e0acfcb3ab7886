package pawl

import (
	"context"
	"fmt"

	"github.com/pawlhq/pawl/pawlstate"
)

// Retry lets jobs run now, be they scheduled, waiting for a retry, dead or cancelled, and says how many. One that had used up its
// attempts gets one more. The ready, the running and the completed are left as they are, and the finished whose unique key another has. An
// ordered job goes to the end of its channel, the dead head of a halted one to its old place, and one that others still wait for behind
// the one whose turn it is. IDs and Filters are as with Cancel.
func (c *Client) Retry(ctx context.Context, which Selector) (n int64, err error) {
	some := func(ids []int64) (n int64, err error) {
		err = c.query(ctx, "select pawl.retry($1::bigint[])", []any{ids}, func(scanner) error { n++; return nil })
		return n, err
	}
	if filter, ok := which.(Filter); ok {
		n, err = c.each(ctx, filter, []pawlstate.State{pawlstate.Scheduled, pawlstate.Dead, pawlstate.Cancelled}, some)
	} else {
		ids, _ := which.selection()
		n, err = some(ids)
		if err == nil {
			err = c.mustExist(ctx, which, n)
		}
	}
	if err != nil {
		return n, fmt.Errorf("pawl: retry: %w", err)
	}
	return n, nil
}
