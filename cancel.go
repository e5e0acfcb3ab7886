package pawl

import (
	"context"
	"fmt"
	"slices"

	"github.com/pawlhq/pawl/pawlstate"
)

// Cancel finishes live jobs as cancelled, whatever their state, and returns their number. Finished jobs stay as
// they are. It returns ErrNotFound if which is an ID and there is no such job.
//
// A running handler is told at once, or behind a pooler at its worker's next heartbeat: its context ends with
// ErrCancelled. The job stays cancelled, whatever the handler returns.
//
// The jobs of a Filter are cancelled in batches, newest first. Each batch is a transaction of its own, except on a
// client made by With. A job that changes its state after it was found is cancelled too.
func (c *Client) Cancel(ctx context.Context, which Selector) (int64, error) {
	return c.remove(ctx, "cancel", which, true)
}

// Delete removes jobs, live or finished, and returns their number. Nothing of them is kept, not even in the
// archive. Claimed jobs whose claim is no longer valid are left alone and not counted. The context of a running
// handler ends with ErrLeaseLost. Delete treats an ID and a Filter as Cancel does.
func (c *Client) Delete(ctx context.Context, which Selector) (int64, error) {
	return c.remove(ctx, "delete", which, false)
}

func (c *Client) remove(ctx context.Context, verb string, which Selector, keep bool) (int64, error) {
	var among []pawlstate.State
	if keep {
		among = pawlstate.Live()
	}
	n, err := c.change(ctx, which, among, func(ids []int64, epochs []*int32) (n int64, err error) {
		text := "select pawl.remove($1::bigint[], $2::integer[], $3::boolean)"
		if !slices.Contains(epochs, nil) {
			// A role that only works on jobs may call this function, but not the other.
			text = "select pawl.remove_claimed($1::bigint[], $2::integer[], $3::boolean)"
		}
		err = c.query(ctx, text, []any{ids, epochs, keep}, func(scanner) error { n++; return nil })
		return n, err
	})
	c.runFollowupsSoon(ctx, n > 0)
	if err != nil {
		return n, fmt.Errorf("pawl: %s jobs: %w", verb, err)
	}
	if jobs, ok := which.(ClaimedJobs); ok {
		for _, job := range jobs.claimed() {
			job.finishedByHand.Store(true)
		}
	}
	return n, nil
}
