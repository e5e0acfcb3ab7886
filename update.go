package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/pawlhq/pawl/internal/pg"
	"github.com/pawlhq/pawl/pawlstate"
)

// A JobUpdate has the new values for [Client.Update]. A field that is zero or nil changes nothing.
type JobUpdate struct {
	// Delay is the time until the job is due, counted from the database's clock.
	Delay time.Duration
	// RunAt is the time when the job is due. A time in the past means now. Delay and RunAt cannot both be set.
	RunAt time.Time
	// Priority is the new priority, -32768 to 32767. Lower runs first.
	Priority *int
	// Args are the new args. They have the job's kind, and are checked and encoded as in Insert. Raw(kind, nil)
	// removes the args.
	Args Args
	// Data is the new data. A slice that is empty but not nil removes the data.
	Data []byte
	// MaxAttempts is the new number of attempts before the job is dead, 1 to 32767.
	MaxAttempts int
}

// Update changes live jobs that are not running, and returns their number. A changed job takes a new place among
// the ready jobs, even if its time and priority stay the same. Without Delay or RunAt a scheduled job keeps its
// time.
//
// For an ID, Update returns [ErrNotFound] if no such job is live, and [ErrRunning] if the job is running. Claimed
// jobs are running. For several jobs, or a [Filter] in which only IDs is set, it returns a [JobErrors] with the jobs
// that were not changed. The other jobs are changed. With any other Filter, Update skips running jobs and works in
// batches as [Client.Cancel] does.
//
// Update returns an [*InvalidError] if it would give an ordered job a priority or a job args of another kind. Then
// nothing is changed; with a Filter, earlier batches stay changed. On a client made by [Client.With], roll back.
func (c *Client) Update(ctx context.Context, which Selector, update JobUpdate) (int64, error) {
	changes, err := c.encodeUpdate(update)
	if err != nil {
		return 0, err
	}
	if claimed, ok := which.(ClaimedJobs); ok {
		running := JobErrors{}
		for _, job := range claimed.claimed() {
			if job.lease != nil {
				running[job.ID] = ErrRunning
			}
		}
		if len(running) > 0 {
			return 0, running.orNil(len(claimed.claimed()))
		}
	}
	do := func(ids []int64) (n int64, unchanged JobErrors, err error) {
		err = c.inTx(ctx, func(c *Client) error {
			n, unchanged, err = c.updateOnce(ctx, ids, update, changes)
			return err
		})
		return n, unchanged, err
	}
	var n int64
	var unchanged JobErrors
	ids, _ := which.selection()
	if filter, ok := which.(Filter); ok && !filter.byIDs() {
		n, err = c.each(ctx, filter, pawlstate.Live(), func(ids []int64) (int64, error) {
			n, _, err := do(ids)
			return n, err
		})
	} else if n, unchanged, err = do(ids); err == nil && filter.Progress != nil {
		filter.Progress(n)
	}
	if err != nil {
		return n, fmt.Errorf("pawl: update jobs: %w", err)
	}
	return n, unchanged.orNil(len(ids))
}

// updateOnce makes one statement's changes; unchanged has the reason for each job that could not be changed.
func (c *Client) updateOnce(
	ctx context.Context, ids []int64, update JobUpdate, changes string,
) (n int64, unchanged JobErrors, err error) {
	unchanged = JobErrors{}
	live := make(map[int64]bool, len(ids))
	var refused *InvalidError
	args := []any{ids, changes}
	err = c.query(ctx, "select * from pawl.update($1::bigint[], $2::text::jsonb)", args, func(s scanner) error {
		var id int64
		var result string
		if err := s.Scan(&id, &result); err != nil {
			return err
		}
		live[id] = true
		switch result {
		case "changed":
			n++
		case "running":
			unchanged[ID(id)] = ErrRunning
		case "ordered":
			refused = &InvalidError{Field: "Priority", Reason: fmt.Sprintf(
				"is %d for the ordered job %d: ordered jobs have no priority", *update.Priority, id)}
		case "kind":
			refused = &InvalidError{Field: "Args", Reason: fmt.Sprintf(
				"are of the kind %q, and job %d is of another kind", update.Args.Kind(), id)}
		}
		return nil
	})
	if err == nil && refused != nil {
		n, err = 0, refused
	}
	for _, id := range ids {
		if !live[id] {
			unchanged[ID(id)] = ErrNotFound
		}
	}
	return n, unchanged, err
}

// encodeUpdate checks and encodes an update as update.sql takes it. The values are checked as those of a job to
// insert, without defaults.
func (c *Client) encodeUpdate(update JobUpdate) (string, error) {
	spec := JobSpec{
		Args: Raw("unchanged", nil), Data: update.Data, Delay: update.Delay, RunAt: update.RunAt,
		MaxAttempts: update.MaxAttempts,
	}
	if update.Args != nil {
		args, err := marshalArgs(update.Args)
		if err != nil {
			return "", &InvalidError{Field: "Args", Reason: fmt.Sprintf("do not marshal to JSON: %v", err)}
		}
		spec.Args = Raw(update.Args.Kind(), args)
	}
	if update.Priority != nil {
		spec.Priority = *update.Priority
	}
	config := c.config
	config.Defaults = JobSpec{}
	if update.Args == nil {
		config.RequiredKeys = nil
	}
	bare := &Client{installation: &installation{config: config}}
	r, err := bare.prepare(0, spec)
	if err != nil {
		return "", err
	}
	if reason := checkChange(r.args, r.data); reason != "" {
		return "", &InvalidError{Field: "Args", Reason: reason}
	}
	changes := map[string]any{}
	if update.Args != nil {
		changes["kind"], changes["args"] = r.kind, nil
		if r.args != nil {
			changes["args"] = json.RawMessage(*r.args)
		}
	}
	if update.Data != nil {
		changes["data"] = update.Data
		if len(update.Data) == 0 {
			changes["data"] = nil
		}
	}
	if r.delay != nil {
		changes["delay"] = *r.delay
	}
	if r.runAt != nil {
		changes["run_at"] = pg.Text(*r.runAt)
	}
	if update.Priority != nil {
		changes["priority"] = r.priority
	}
	if r.attempts != nil {
		changes["max_attempts"] = *r.attempts
	}
	if len(changes) == 0 {
		return "", errors.New("pawl: update jobs: the JobUpdate is empty: set a field to change")
	}
	b, err := json.Marshal(changes)
	return string(b), err
}
