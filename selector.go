package pawl

import (
	"context"
	"fmt"

	"github.com/pawlhq/pawl/pawlstate"
)

// A Selector chooses the jobs that [Client.Cancel], [Client.Delete], [Client.Retry] and [Client.Update] change. It is
// an [ID], a [Filter], or claimed jobs: a *[Job], a [*JobInfo] or [Jobs]. Claimed jobs are changed only while their
// claim is valid.
type Selector interface{ selection() ([]int64, []*int32) }

func (id ID) selection() ([]int64, []*int32) { return []int64{int64(id)}, []*int32{nil} }

// selection returns the ids of a Filter in which no other field is set. Client.each handles other filters.
func (f Filter) selection() ([]int64, []*int32) { return integers(f.IDs), make([]*int32, len(f.IDs)) }

func (j *JobInfo) selection() ([]int64, []*int32) { return Jobs{j}.selection() }

func (j Jobs) selection() ([]int64, []*int32) {
	ids, epochs := idsAndEpochs(j)
	fences := make([]*int32, len(j))
	for i := range epochs {
		if j[i].lease != nil {
			fences[i] = &epochs[i]
		}
	}
	return ids, fences
}

// integers returns ids as a statement's parameter.
func integers(ids []ID) []int64 {
	plain := make([]int64, len(ids))
	for i, id := range ids {
		plain[i] = int64(id)
	}
	return plain
}

// change calls do with the jobs of a Selector, in batches if it is a Filter. among, if not nil, are the states that
// do can change. An epoch that is not nil is the one a job must still be claimed at. It returns ErrNotFound if the
// Selector is an ID without a job.
func (c *Client) change(
	ctx context.Context, which Selector, among []pawlstate.State, do func(ids []int64, epochs []*int32) (int64, error),
) (n int64, err error) {
	filter, filtered := which.(Filter)
	if filtered && !filter.byIDs() {
		return c.each(ctx, filter, among, func(ids []int64) (int64, error) { return do(ids, make([]*int32, len(ids))) })
	}
	ids, epochs := which.selection()
	if n, err = do(ids, epochs); err != nil {
		return n, err
	}
	if filter.Progress != nil {
		filter.Progress(n)
	}
	if id, single := which.(ID); single && n == 0 {
		err = c.mustExist(ctx, id)
	}
	return n, err
}

// mustExist returns ErrNotFound if there is no job with this id.
func (c *Client) mustExist(ctx context.Context, id ID) error {
	var exists bool
	err := c.row(ctx, "select exists (select from pawl.get($1::bigint[]))", []any{[]int64{int64(id)}}, &exists)
	if err == nil && !exists {
		err = fmt.Errorf("job %d: %w", id, ErrNotFound)
	}
	return err
}
