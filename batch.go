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
	rows := make([]insertRow, len(batch.Jobs))
	for i := range batch.Jobs {
		r, err := c.prepare(i, &batch.Jobs[i])
		if err != nil {
			return 0, err
		}
		rows[i] = r
	}
	follow := [3]*insertRow{}
	for i, spec := range []*JobSpec{batch.OnFinish, batch.OnSuccess, batch.OnDeath} {
		if spec == nil {
			continue
		}
		r, err := c.prepare(len(rows)+i, spec)
		if err == nil && r.constraints != nil && r.constraints.Reserve > 0 {
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
		return 0, fmt.Errorf("pawl: insert batch: %w", c.explainMissingSchema(ctx, err))
	}
	c.runFollowupsSoon(ctx, len(rows) == 0)
	return id, nil
}

// insertBatch is in a transaction.
func (c *Client) insertBatch(ctx context.Context, rows []insertRow, follow [3]*insertRow) (id ID, err error) {
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
		if r.constraints != nil {
			// They are inserted when the batch ends, by a chore that an error would stop.
			for _, after := range r.constraints.After {
				if after.ID >= id {
					return 0, fmt.Errorf("%s: a job comes after those inserted before it, and %d is not", followers[i], after.ID)
				}
			}
		}
		if err := r.changeOptions(func(o *jobOptions) {
			if o.Headers = maps.Clone(o.Headers); o.Headers == nil {
				o.Headers = map[string]string{}
			}
			o.Headers[headerBatch] = strconv.FormatInt(n, 10)
		}); err != nil {
			return 0, err
		}
		b, err := json.Marshal([]*constraintSpec{r.constraintSpec()})
		if err != nil {
			return 0, err
		}
		s := string(b)
		texts[i] = &s
	}
	for i := range rows {
		if err := rows[i].changeOptions(func(o *jobOptions) { o.Batch = id }); err != nil {
			return 0, err
		}
		if rows[i].constraints == nil {
			rows[i].constraints = &constraintSpec{}
		}
	}
	total := 0
	if len(rows) > 0 {
		results, err := c.insertConstrained(ctx, rows)
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

// Batch is a batch's counts. ErrNotFound: it never was, or is not kept any more.
func (c *Client) GetBatch(ctx context.Context, id ID) (*Batch, error) {
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
