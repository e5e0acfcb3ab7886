package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
)

// Batch is jobs inserted together, and jobs to follow.
type Batch struct {
	ID        ID // Read only, as the counts.
	Jobs      []JobSpec
	OnFinish  *JobSpec // Inserted once, when all have ended in any way;
	OnSuccess *JobSpec // when all have completed;
	OnDeath   *JobSpec // when the first has died.

	Total, Completed, Cancelled, Dead int // Cancelled: deleted ones too.
}

var followers = [3]string{"OnFinish", "OnSuccess", "OnDeath"}

// headerBatch is the header of a job that follows a batch: the batch's id.
const headerBatch = "batch"

// InsertBatch inserts a batch, all or none. Jobs that follow carry its id in the header "batch". A batch of no jobs is finished and a
// success at once. A job of it that is retried counts as live again; what has followed already does not follow twice.
// Counts are kept for 30 days after the end.
func (c *Client) InsertBatch(ctx context.Context, batch Batch) (ID, error) {
	var id ID
	rows := make([]row, len(batch.Jobs))
	for i := range batch.Jobs {
		r, err := c.prepare(i, &batch.Jobs[i])
		if err != nil {
			return 0, err
		}
		rows[i] = r
	}
	follow := [3]*row{}
	for i, spec := range []*JobSpec{batch.OnFinish, batch.OnSuccess, batch.OnDeath} {
		if spec == nil {
			continue
		}
		r, err := c.prepare(len(rows)+i, spec)
		if err == nil && r.ties != nil && r.ties.Reserve > 0 {
			err = &InvalidError{Index: len(rows) + i, Field: "Reserve", Reason: "is set; nobody would commit what follows a batch"}
		}
		if err != nil {
			return 0, fmt.Errorf("%s: %w", followers[i], err)
		}
		follow[i] = &r
	}
	if err := c.limit(ctx, len(rows)); err != nil {
		return 0, err
	}
	err := c.inTx(ctx, func(c *Client) (err error) {
		id, err = c.insertBatch(ctx, rows, follow)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("pawl: insert batch: %w", c.explain(ctx, err))
	}
	c.settleSoon(ctx, len(rows) == 0)
	return id, nil
}

// insertBatch is in a transaction.
func (c *Client) insertBatch(ctx context.Context, rows []row, follow [3]*row) (id ID, err error) {
	var n int64
	if err := c.row(ctx, "select nextval('pawl.pos')", nil, &n); err != nil {
		return 0, err
	}
	id = ID(n)
	texts := [3]*string{}
	for i, r := range follow {
		if r == nil {
			continue
		}
		if r.ties != nil {
			// They are inserted when the batch ends, by a chore that an error would stop.
			for _, after := range r.ties.After {
				if after.ID >= id {
					return 0, fmt.Errorf("%s: a job comes after those inserted before it, and %d is not", followers[i], after.ID)
				}
			}
		}
		if err := r.options(func(o *opts) {
			if o.Headers = maps.Clone(o.Headers); o.Headers == nil {
				o.Headers = map[string]string{}
			}
			o.Headers[headerBatch] = strconv.FormatInt(n, 10)
		}); err != nil {
			return 0, err
		}
		b, err := json.Marshal([]*ties{r.spec()})
		if err != nil {
			return 0, err
		}
		s := string(b)
		texts[i] = &s
	}
	for i := range rows {
		if err := rows[i].options(func(o *opts) { o.Batch = id }); err != nil {
			return 0, err
		}
		if rows[i].ties == nil {
			rows[i].ties = &ties{}
		}
	}
	total := 0
	if len(rows) > 0 {
		results, err := c.insertTied(ctx, rows)
		if err != nil {
			return 0, err
		}
		for _, r := range results {
			if !r.Duplicate { // Duplicates are another's; the batch is of those that were put in.
				total++
			}
		}
	}
	return id, c.query(ctx, putBatch, []any{n, total, texts[0], texts[1], texts[2]}, nil)
}

const putBatch = "select pawl.insert_batch($1::bigint, $2::integer, $3::text::jsonb, $4::text::jsonb, $5::text::jsonb)"

// options changes a row's opts.
func (r *row) options(change func(*opts)) error {
	var o opts
	if r.opts != nil {
		if err := json.Unmarshal([]byte(*r.opts), &o); err != nil {
			return err
		}
	}
	change(&o)
	b, err := json.Marshal(o)
	s := string(b)
	r.opts = &s
	return err
}

// Batch is a batch's counts. ErrNotFound: it never was, or is not kept any more.
func (c *Client) Batch(ctx context.Context, id ID) (*Batch, error) {
	b := &Batch{ID: id}
	err := c.row(ctx, "select total, completed, cancelled, dead from pawl.batch where id = $1::bigint", []any{int64(id)}, &b.Total, &b.Completed, &b.Cancelled, &b.Dead)
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("batch %d: %w", id, err)
	}
	if err != nil {
		return nil, fmt.Errorf("pawl: batch: %w", err)
	}
	return b, nil
}

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
	rows := make([]row, 0, 2*len(steps))
	for i := range steps {
		for _, spec := range []*JobSpec{&steps[i].Do, &steps[i].Undo} {
			if spec == &steps[i].Undo && spec.Args == nil {
				rows = append(rows, row{})
				continue
			}
			r, err := c.prepare(i, spec)
			if err == nil && r.ties != nil && len(r.ties.After) > 0 {
				err = &InvalidError{Index: i, Field: "After", Reason: "is set; a saga's order is its own"}
			}
			if err == nil && r.ties != nil && r.ties.Reserve > 0 {
				err = &InvalidError{Index: i, Field: "Reserve", Reason: "is set; nobody would commit a saga's jobs"}
			}
			if err != nil {
				return 0, err
			}
			if r.ties == nil {
				r.ties = &ties{}
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
		insert := func(r *row, after ...tieAfter) (ID, error) {
			if err := r.options(func(o *opts) { o.Batch = id }); err != nil {
				return 0, err
			}
			r.ties.After = after
			total++
			results, err := c.insertTied(ctx, []row{*r})
			if err != nil {
				return 0, err
			}
			if results[0].Duplicate {
				return 0, fmt.Errorf("job %d has the unique key %q of a step", results[0].ID, r.ties.Key)
			}
			return results[0].ID, nil
		}
		does := make([]ID, len(steps))
		for i := range steps {
			var after []tieAfter
			if i > 0 {
				after = []tieAfter{{ID: does[i-1], On: "ok"}}
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
			if undo.ties == nil {
				continue
			}
			after := []tieAfter{{ID: does[i], On: "ok"}, {ID: last, On: "not_ok"}}
			if later != 0 {
				after = append(after, tieAfter{ID: later, On: "any"})
			}
			var err error
			if later, err = insert(undo, after...); err != nil {
				return err
			}
		}
		return c.query(ctx, putBatch, []any{int64(id), total, nil, nil, nil}, nil)
	})
	if err != nil {
		return 0, fmt.Errorf("pawl: insert saga: %w", c.explain(ctx, err))
	}
	return id, nil
}
