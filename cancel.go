package pawl

import (
	"context"
	"fmt"
	"slices"

	"github.com/pawlhq/pawl/pawlstate"
)

// Cancel finishes live jobs in any state as cancelled and returns their number. Finished jobs stay as they are.
// Cancel returns [ErrNotFound] if which is an [ID] and there is no such job.
//
// The context of a running handler ends with ErrCancelled. That happens at once, or behind a transaction pooler at
// the worker's next heartbeat. The job stays cancelled, and the handler's result is discarded.
//
// Cancel finds the jobs of a [Filter] newest first and cancels them in batches of 1,000. Each batch is a transaction
// of its own, except on a client made by [Client.With]. A job that changes its state after Cancel has found it is
// cancelled too.
func (c *Client) Cancel(ctx context.Context, which Selector) (int64, error) {
	return c.remove(ctx, "cancel", which, true)
}

// Delete removes live and finished jobs and returns their number. Deleted jobs are not kept in the archive. A claimed
// job whose claim is no longer valid is not deleted and not counted. The context of a running handler ends with
// ErrLeaseLost. Delete treats an ID and a [Filter] as [Client.Cancel] does.
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
