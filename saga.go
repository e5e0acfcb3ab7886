package pawl

import (
	"context"
	"errors"
	"fmt"
)

// InsertSaga inserts steps that run one after the other, and returns the id of the batch that they form. The steps
// are all inserted, or none.
//
// If a step is dead or cancelled, the steps after it are cancelled. Then the Undo jobs of the completed steps run in
// reverse order. Each Undo job runs when the previous one is completed, cancelled or dead. If all steps complete, the
// Undo jobs are cancelled.
//
// Undo may be nil if a step has nothing to undo. The Undo job of the last step never runs. If the last step is
// deleted instead of cancelled, nothing is undone.
//
// The jobs of a saga cannot depend on other jobs and cannot be reserved. If another job has the unique key of a step,
// InsertSaga returns an error and inserts nothing.
func (c *Client) InsertSaga(ctx context.Context, steps ...JobSpec) (ID, error) {
	if len(steps) == 0 {
		return 0, errors.New("pawl: insert saga: no steps: give at least one")
	}
	s := saga{do: make([]insertRow, len(steps)), undo: make([]*insertRow, len(steps))}
	jobs := 0
	for i, step := range steps {
		undo := step.Undo
		step.Undo = nil
		r, err := c.prepareStep(i, &step)
		if err != nil {
			return 0, err
		}
		s.do[i] = r
		jobs++
		if undo == nil {
			continue
		}
		if r, err = c.prepareStep(i, undo); err != nil {
			return 0, fmt.Errorf("pawl: insert saga: Undo: %w", err)
		}
		s.undo[i] = &r
		jobs++
	}
	if err := c.limit(ctx, jobs); err != nil {
		return 0, err
	}
	err := c.inTx(ctx, func(c *Client) error { return s.insert(ctx, c) })
	if err != nil {
		return 0, fmt.Errorf("pawl: insert saga: %w", c.explainMissingSchema(ctx, err))
	}
	return s.id, nil
}

// prepareStep prepares one job of a saga.
func (c *Client) prepareStep(index int, spec *JobSpec) (insertRow, error) {
	r, err := c.prepare(index, spec)
	if err != nil || r.constraints == nil {
		return r, err
	}
	if len(r.constraints.After) > 0 {
		return r, &InvalidError{Index: index, Field: "After", Reason: "is set: a saga orders its jobs itself"}
	}
	if r.constraints.Reserve > 0 {
		return r, &InvalidError{Index: index, Field: "Reserve", Reason: "is set: a saga's jobs cannot be reserved"}
	}
	return r, nil
}

// A saga is the rows of InsertSaga.
type saga struct {
	id   ID
	do   []insertRow
	undo []*insertRow // Of the same steps; nil: there is nothing to undo.
}

// insert inserts the saga in the client's transaction.
func (s *saga) insert(ctx context.Context, c *Client) (err error) {
	if s.id, err = c.nextID(ctx); err != nil {
		return err
	}
	if err := c.query(ctx, insertBatchText, []any{int64(s.id), nil, nil, nil}, nil); err != nil {
		return err
	}
	done := make([]ID, len(s.do))
	for i := range s.do {
		var after []dependencySpec
		if i > 0 {
			after = []dependencySpec{{ID: done[i-1], On: "ok"}}
		}
		if done[i], err = s.insertStep(ctx, c, s.do[i], after); err != nil {
			return err
		}
	}
	// If a step fails, all steps after it are cancelled, the last one too. So an Undo need only wait for that one
	// to fail.
	last := done[len(done)-1]
	var before ID // The Undo that runs before the next one.
	for i := len(s.do) - 2; i >= 0; i-- {
		if s.undo[i] == nil {
			continue
		}
		after := []dependencySpec{{ID: done[i], On: "ok"}, {ID: last, On: "not_ok"}}
		if before != 0 {
			after = append(after, dependencySpec{ID: before, On: "any"})
		}
		if before, err = s.insertStep(ctx, c, *s.undo[i], after); err != nil {
			return err
		}
	}
	return nil
}

func (s *saga) insertStep(ctx context.Context, c *Client, r insertRow, after []dependencySpec) (ID, error) {
	if err := r.putInBatch(s.id); err != nil {
		return 0, err
	}
	r.constraints.After = after
	results, err := c.insertConstrained(ctx, []insertRow{r})
	if err != nil {
		return 0, err
	}
	if results[0].Duplicate {
		return 0, fmt.Errorf("job %d has the unique key %q of a step: finish it first, or use another key",
			results[0].ID, r.constraints.Key)
	}
	return results[0].ID, nil
}
