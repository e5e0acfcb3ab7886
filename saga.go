package pawl

import (
	"context"
	"errors"
	"fmt"
)

// SagaStep is something to do, and how to undo it.
type SagaStep struct{ Do, Undo JobSpec }

// InsertSaga inserts steps that run one after the other, as a batch. If one dies, or is cancelled, those after it are cancelled and
// the Undo of those completed before it run in reverse, each when the one before it has ended in any way. If all complete, the
// Undos are cancelled. A step without args in Undo has nothing to undo, and the last one's
// Undo is never needed. If the last step is deleted, not cancelled, nothing is undone.
func (c *Client) InsertSaga(ctx context.Context, steps ...SagaStep) (ID, error) {
	if len(steps) == 0 {
		return 0, errors.New("pawl: InsertSaga: no steps")
	}
	rows := make([]insertRow, 0, 2*len(steps))
	for i := range steps {
		for _, spec := range []*JobSpec{&steps[i].Do, &steps[i].Undo} {
			if spec == &steps[i].Undo && spec.Args == nil {
				rows = append(rows, insertRow{})
				continue
			}
			r, err := c.prepare(i, spec)
			if err == nil && r.constraints != nil && len(r.constraints.After) > 0 {
				err = &InvalidError{Index: i, Field: "After", Reason: "is set; a saga's order is its own"}
			}
			if err == nil && r.constraints != nil && r.constraints.Reserve > 0 {
				err = &InvalidError{Index: i, Field: "Reserve", Reason: "is set; nobody would commit a saga's jobs"}
			}
			if err != nil {
				return 0, err
			}
			if r.constraints == nil {
				r.constraints = &constraintSpec{}
			}
			rows = append(rows, r)
		}
	}
	if err := c.limit(ctx, len(rows)); err != nil {
		return 0, err
	}
	var id ID
	err := c.inTx(ctx, func(c *Client) error {
		if err := c.row(ctx, "select nextval('pawl.pos')", nil, (*int64)(&id)); err != nil {
			return err
		}
		total := 0
		insert := func(r *insertRow, after ...dependencySpec) (ID, error) {
			if err := r.changeOptions(func(o *jobOptions) { o.Batch = id }); err != nil {
				return 0, err
			}
			r.constraints.After = after
			total++
			results, err := c.insertConstrained(ctx, []insertRow{*r})
			if err != nil {
				return 0, err
			}
			if results[0].Duplicate {
				return 0, fmt.Errorf("job %d has the unique key %q of a step", results[0].ID, r.constraints.Key)
			}
			return results[0].ID, nil
		}
		does := make([]ID, len(steps))
		for i := range steps {
			var after []dependencySpec
			if i > 0 {
				after = []dependencySpec{{ID: does[i-1], On: "ok"}}
			}
			var err error
			if does[i], err = insert(&rows[2*i], after...); err != nil {
				return err
			}
		}
		// The last step is not ok whenever one before it is not: it is cancelled then.
		last := does[len(does)-1]
		var later ID
		for i := len(steps) - 2; i >= 0; i-- {
			undo := &rows[2*i+1]
			if undo.constraints == nil {
				continue
			}
			after := []dependencySpec{{ID: does[i], On: "ok"}, {ID: last, On: "not_ok"}}
			if later != 0 {
				after = append(after, dependencySpec{ID: later, On: "any"})
			}
			var err error
			if later, err = insert(undo, after...); err != nil {
				return err
			}
		}
		return c.query(ctx, putBatch, []any{int64(id), total, nil, nil, nil}, nil)
	})
	if err != nil {
		return 0, fmt.Errorf("pawl: insert saga: %w", c.explainMissingSchema(ctx, err))
	}
	return id, nil
}
