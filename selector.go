package pawl

import (
	"context"
	"fmt"
)

// Selector chooses jobs: an ID, IDs, a Filter, or held jobs, which are then fenced as Complete is.
type Selector interface{ selection() ([]int64, []*int32) }

func (id ID) selection() ([]int64, []*int32) { return []int64{int64(id)}, []*int32{nil} }

func (ids IDs) selection() ([]int64, []*int32) {
	plain := make([]int64, len(ids))
	for i, id := range ids {
		plain[i] = int64(id)
	}
	return plain, make([]*int32, len(ids))
}

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

// known is ErrNotFound if nothing was done to a single job because there is none.
func (c *Client) mustExist(ctx context.Context, which Selector, done int64) error {
	id, single := which.(ID)
	if !single || done > 0 {
		return nil
	}
	var exists bool
	if err := c.row(ctx, "select exists (select from pawl.get($1::bigint[]))", []any{[]int64{int64(id)}}, &exists); err != nil {
		return err
	}
	if !exists {
		return fmt.Errorf("job %d: %w", id, ErrNotFound)
	}
	return nil
}
