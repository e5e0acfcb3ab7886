package pawl

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"time"
)

// A BatchSpec is a batch to insert: jobs and callbacks. A callback is a job that is inserted when the batch's jobs
// have finished in a certain way. A callback that is nil is not inserted. The header "batch" of a callback has the
// batch's id.
type BatchSpec struct {
	// Jobs are the jobs of the batch.
	Jobs []JobSpec
	// OnFinish is inserted once, when every job is completed, cancelled, deleted or dead.
	OnFinish *JobSpec
	// OnSuccess is inserted once, when every job has completed.
	OnSuccess *JobSpec
	// OnDeath is inserted once, when the first job dies.
	OnDeath *JobSpec
}

// A Batch is the progress of a batch. If a finished job is retried, it counts as unfinished again.
type Batch struct {
	ID         ID        // ID is the batch's id. It is never the id of a job.
	Total      int       // Total is the number of jobs that were inserted. Duplicates of a unique key are not among them.
	Completed  int       // Completed is the number of jobs that have completed.
	Cancelled  int       // Cancelled is the number of jobs that were cancelled or deleted.
	Dead       int       // Dead is the number of jobs that are dead.
	CreatedAt  time.Time // CreatedAt is when the batch was inserted.
	FinishedAt time.Time // FinishedAt is when the last job finished. It is zero while a job is live.
}

// callbackNames are the fields of BatchSpec in the order of insert_batch's parameters.
var callbackNames = [3]string{"OnFinish", "OnSuccess", "OnDeath"}

// headerBatch is the header of a callback that has the batch's id.
const headerBatch = "batch"

// InsertBatch inserts the jobs of a batch, all or none, and returns the batch's id. If the batch has no jobs,
// OnFinish and OnSuccess are inserted at once. If a finished job is retried, a callback that was already inserted is
// not inserted again. Callbacks cannot be reserved.
func (c *Client) InsertBatch(ctx context.Context, batch BatchSpec) (ID, error) {
	rows, err := c.prepareMany(batch.Jobs)
	if err != nil {
		return 0, err
	}
	callbacks := [3]*insertRow{}
	for i, spec := range []*JobSpec{batch.OnFinish, batch.OnSuccess, batch.OnDeath} {
		if spec == nil {
			continue
		}
		r, err := c.prepare(len(rows)+i, spec)
		if err == nil && r.constraints != nil && r.constraints.Reserve > 0 {
			err = &InvalidError{
				Index: len(rows) + i, Field: "Reserve", Reason: "is set: a batch's callback cannot be reserved",
			}
		}
		if err != nil {
			return 0, fmt.Errorf("pawl: insert batch: %s: %w", callbackNames[i], err)
		}
		callbacks[i] = &r
	}
	if err := c.limit(ctx, len(rows)); err != nil {
		return 0, err
	}
	var id ID
	err = c.inTx(ctx, func(c *Client) (err error) {
		id, err = c.insertBatch(ctx, rows, callbacks)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("pawl: insert batch: %w", c.explainMissingSchema(ctx, err))
	}
	c.runFollowupsSoon(ctx, len(rows) == 0)
	return id, nil
}

// insertBatch inserts a batch in the caller's transaction. A duplicate is a job of another insert and not in the batch.
func (c *Client) insertBatch(ctx context.Context, rows []insertRow, callbacks [3]*insertRow) (id ID, err error) {
	if id, err = c.nextID(ctx); err != nil {
		return 0, err
	}
	texts := [3]*string{}
	for i, r := range callbacks {
		if r == nil {
			continue
		}
		text, err := r.encodeCallback(id)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", callbackNames[i], err)
		}
		texts[i] = &text
	}
	for i := range rows {
		if err := rows[i].putInBatch(id); err != nil {
			return 0, err
		}
	}
	err = c.query(ctx, insertBatchText, []any{int64(id), texts[0], texts[1], texts[2]}, nil)
	if err == nil && len(rows) > 0 {
		_, err = c.insertConstrained(ctx, rows)
	}
	if err == nil {
		err = c.query(ctx, "select pawl.close_batch($1::bigint)", []any{int64(id)}, nil)
	}
	return id, err
}

const insertBatchText = `select pawl.insert_batch($1::bigint,
	$2::text::jsonb, $3::text::jsonb, $4::text::jsonb)`

// nextID draws an id for a batch from the sequence of job ids.
func (c *Client) nextID(ctx context.Context) (id ID, err error) {
	err = c.row(ctx, "select nextval('pawl.pos')", nil, (*int64)(&id))
	return id, err
}

// putInBatch makes a row a job of a batch.
func (r *insertRow) putInBatch(id ID) error {
	if r.constraints == nil {
		r.constraints = &constraintSpec{}
	}
	return r.changeOptions(func(o *jobOptions) { o.Batch = id })
}

// encodeCallback returns a row as insert_constrained.sql takes it, with the header that names the batch.
func (r *insertRow) encodeCallback(batch ID) (string, error) {
	if r.constraints != nil {
		// Maintenance inserts callbacks when the batch finishes. An error in one of them would stop it for all batches.
		for _, after := range r.constraints.After {
			if after.ID >= batch {
				return "", fmt.Errorf("job %d was not inserted before the batch: callbacks depend on earlier jobs",
					after.ID)
			}
		}
	}
	err := r.changeOptions(func(o *jobOptions) {
		if o.Headers = maps.Clone(o.Headers); o.Headers == nil {
			o.Headers = map[string]string{}
		}
		o.Headers[headerBatch] = strconv.FormatInt(int64(batch), 10)
	})
	if err != nil {
		return "", err
	}
	t := r.constraintSpec()
	if t.Data = r.data; r.args != nil {
		t.Args = json.RawMessage(*r.args)
	}
	b, err := json.Marshal([]*constraintSpec{t})
	if m := (jsonbMeter{b: b}); len(b) > maxCallback/6 {
		if m.value(); m.size > maxCallback {
			return "", fmt.Errorf("with its args and data it takes %d bytes as jsonb; a callback takes at most %d",
				m.size, maxCallback)
		}
	}
	return string(b), err
}

// maxCallback is the largest size of a callback in bytes of jsonb. When a batch finishes, all its callbacks become one
// value.
const maxCallback = maxJSONB/len(callbackNames) - 1024

// GetBatch returns the progress of a batch. It returns [ErrNotFound] if there is no batch with this id. A batch is
// deleted 30 days after it has finished.
func (c *Client) GetBatch(ctx context.Context, id ID) (*Batch, error) {
	b := &Batch{ID: id}
	var finished *time.Time
	err := c.row(ctx, `select b.total, b.completed, b.cancelled, b.dead, b.created_at, b.finished_at
		from pawl.batch b where b.id = $1::bigint`,
		[]any{int64(id)}, &b.Total, &b.Completed, &b.Cancelled, &b.Dead, &b.CreatedAt, &finished)
	if err != nil {
		return nil, fmt.Errorf("pawl: get batch %d: %w", id, err)
	}
	b.FinishedAt = valueOrZero(finished)
	return b, nil
}
