package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/pawlhq/pawl/pawlstate"
)

// JobUpdate is what Update changes; a zero field leaves what is there.
type JobUpdate struct {
	Delay       time.Duration // Counts from the database's now.
	RunAt       time.Time     // Delay or RunAt; both is an error. A time gone by: at once.
	Priority    *int
	Args        Args   // Of the job's own kind; checked, and encoded, as in Insert. Raw(kind, nil) clears them.
	Data        []byte // Empty, not nil, clears it.
	MaxAttempts int
}

// Update changes live jobs that are not running, and says how many. A job changed has a new place in line, also if its time and
// priority stay. Without Delay or RunAt a scheduled job keeps its time.
//
// By ID, ErrNotFound says that the job is finished or never was, and ErrRunning that it runs; so it is with a held job, which by
// definition runs. Of several, an Errors has those, and the others are changed. Of a Filter the running are passed by; jobs are
// changed in batches, each its own transaction but with With.
//
// An ordered job with a priority, and a job of another kind than Args, are an *InvalidError: nothing is changed, or of a Filter
// only what was in the batches before. In a transaction it means: roll back.
func (c *Client) Update(ctx context.Context, which Selector, update JobUpdate) (n int64, err error) {
	changes, err := c.changes(update)
	if err != nil {
		return 0, err
	}
	failed := JobErrors{}
	some := func(ids []int64) (n int64, err error) {
		err = c.inTx(ctx, func(c *Client) error {
			n = 0
			live := make(map[int64]bool, len(ids))
			var refused *InvalidError
			err := c.query(ctx, "select * from pawl.update($1::bigint[], $2::text::jsonb)", []any{ids, changes}, func(s scanner) error {
				var id int64
				var became string
				if err := s.Scan(&id, &became); err != nil {
					return err
				}
				live[id] = true
				switch became {
				case "changed":
					n++
				case "running":
					failed[ID(id)] = ErrRunning
				case "ordered":
					refused = &InvalidError{Field: "Priority", Reason: fmt.Sprintf("is %d for the ordered job %d: the order of its channel is that of commits",
						*update.Priority, id)}
				case "kind":
					refused = &InvalidError{Field: "Args", Reason: fmt.Sprintf("are of the kind %q, and job %d is of another", update.Args.Kind(), id)}
				}
				return nil
			})
			if err == nil && refused != nil {
				n, err = 0, refused
			}
			for _, id := range ids {
				if !live[id] {
					failed[ID(id)] = ErrNotFound
				}
			}
			return err
		})
		return n, err
	}
	if filter, ok := which.(Filter); ok {
		if n, err = c.each(ctx, filter, pawlstate.Live(), some); err != nil {
			return n, fmt.Errorf("pawl: update: %w", err)
		}
		return n, nil
	}
	if held, ok := which.(ClaimedJobs); ok {
		for _, job := range held.claimed() {
			if job.lease != nil {
				failed[job.ID] = ErrRunning
			}
		}
		if len(failed) > 0 {
			return 0, failed.orNil(len(held.claimed()))
		}
	}
	ids, _ := which.selection()
	if n, err = some(ids); err != nil {
		return 0, fmt.Errorf("pawl: update: %w", err)
	}
	return n, failed.orNil(len(ids))
}

// changes is an update as change.sql takes it: checked and encoded as a job to insert is, without defaults.
func (c *Client) changes(update JobUpdate) (string, error) {
	spec := JobSpec{Args: Raw("unchanged", nil), Data: update.Data, Delay: update.Delay, RunAt: update.RunAt, MaxAttempts: update.MaxAttempts}
	bare := &Client{installation: &installation{config: Config{Validation: c.config.Validation, Codec: c.config.Codec}}}
	changes := map[string]any{}
	if update.Args == nil {
		bare.config.Validation.Required = nil
	} else {
		args, err := marshalArgs(update.Args)
		if err != nil {
			return "", &InvalidError{Field: "Args", Reason: fmt.Sprintf("do not marshal to JSON: %v", err)}
		}
		spec.Args = Raw(update.Args.Kind(), args)
	}
	if update.Priority != nil {
		spec.Priority = *update.Priority
	}
	r, err := bare.prepare(0, spec)
	if err != nil {
		return "", err
	}
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
		changes["run_at"] = textParam(*r.runAt)
	}
	if update.Priority != nil {
		changes["priority"] = r.priority
	}
	if r.attempts != nil {
		changes["max_attempts"] = *r.attempts
	}
	if len(changes) == 0 {
		return "", errors.New("pawl: update: the JobUpdate says nothing to change")
	}
	b, err := json.Marshal(changes)
	return string(b), err
}
