package pawl

import (
	"context"
	"fmt"
	"slices"

	"github.com/pawlhq/pawl/pawlstate"
)

// Cancel finishes live jobs as cancelled, whatever they are doing, and says how many; finished ones stay as they are. A running
// handler is told at once, or behind a pooler by the next heartbeat of its worker: its context ends with ErrCancelled. Whatever it
// returns, the job stays cancelled.
//
// ErrNotFound: there is no job of this ID. Of a Filter, jobs are cancelled in batches, each its own transaction but with With; what they do
// between being found and being cancelled does not save them.
func (c *Client) Cancel(ctx context.Context, which Selector) (int64, error) {
	return c.remove(ctx, "cancel", which, true)
}

// Delete takes jobs away, live or finished, and leaves nothing, not even in the archive, and says how many. Held jobs that are not held any
// more are left alone and not counted. The context of a running handler ends with ErrLeaseLost. IDs and Filters are as with Cancel.
func (c *Client) Delete(ctx context.Context, which Selector) (int64, error) {
	return c.remove(ctx, "delete", which, false)
}

func (c *Client) remove(ctx context.Context, verb string, which Selector, keep bool) (n int64, err error) {
	some := func(ids []int64, epochs []*int32) (n int64, err error) {
		text := "select pawl.remove($1::bigint[], $2::integer[], $3::boolean)"
		if !slices.Contains(epochs, nil) {
			text = "select pawl.remove_claimed($1::bigint[], $2::integer[], $3::boolean)" // What a worker may do.
		}
		err = c.query(ctx, text, []any{ids, epochs, keep},
			func(scanner) error { n++; return nil })
		return n, err
	}
	if filter, ok := which.(Filter); ok {
		var among []pawlstate.State
		if keep {
			among = pawlstate.Live()
		}
		n, err = c.each(ctx, filter, among, func(ids []int64) (int64, error) { return some(ids, make([]*int32, len(ids))) })
	} else {
		n, err = some(which.selection())
		if err == nil {
			err = c.mustExist(ctx, which, n)
		}
	}
	c.runFollowupsSoon(ctx, n > 0)
	if err != nil {
		return n, fmt.Errorf("pawl: %s: %w", verb, err)
	}
	if jobs, ok := which.(ClaimedJobs); ok {
		for _, job := range jobs.claimed() {
			job.finishedByHand.Store(true)
		}
	}
	return n, nil
}
