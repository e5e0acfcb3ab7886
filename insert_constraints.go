package pawl

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// ties are what binds a job to others, as insert_constrained.sql takes it. Few jobs have any; the others pay nothing for them.
type constraintSpec struct {
	Queue       string          `json:"queue"`
	Channel     string          `json:"channel"`
	Priority    int16           `json:"priority"`
	Kind        string          `json:"kind"`
	Args        json.RawMessage `json:"args,omitempty"`
	Data        []byte          `json:"data,omitempty"` // As base64.
	Delay       *float64        `json:"delay,omitempty"`
	RunAt       *string         `json:"run_at,omitempty"`
	Attempts    *int16          `json:"attempts,omitempty"`
	Fingerprint *string         `json:"fingerprint,omitempty"`
	Opts        json.RawMessage `json:"opts,omitempty"`

	Ordered    bool             `json:"ordered,omitempty"`
	Key        string           `json:"key,omitempty"`
	Period     float64          `json:"period,omitempty"`
	Replace    bool             `json:"replace,omitempty"`
	Reschedule bool             `json:"reschedule,omitempty"`
	Reserve    float64          `json:"reserve,omitempty"`
	After      []dependencySpec `json:"after,omitempty"`

	Attempt int            `json:"attempt,omitempty"` // Used already: of so few jobs that they go this way.
	Errors  []AttemptError `json:"errors,omitempty"`
}

type dependencySpec struct {
	ID          ID     `json:"id"`
	On          string `json:"on"`
	KeepWaiting bool   `json:"keep_waiting,omitempty"`
}

// resolveTies checks what binds a job to others.
func (c *Client) resolveConstraints(spec *JobSpec, r *insertRow, o *jobOptions) (field, reason string) {
	u := &spec.Unique
	if *u == (Unique{}) && !spec.Ordered && spec.Reserve == 0 && len(spec.AfterOK)+len(spec.AfterAny)+len(spec.AfterNotOK) == 0 &&
		spec.Attempt == 0 && len(spec.Errors) == 0 {
		return "", ""
	}
	if spec.Attempt < 0 || spec.Attempt > 32766 {
		return "Attempt", fmt.Sprintf("is %d; want 0 to 32766", spec.Attempt)
	}
	errs := slices.Clone(spec.Errors[max(0, len(spec.Errors)-maxErrors):])
	for i, e := range errs {
		errs[i].Worker, errs[i].Error, errs[i].Stack = truncate(e.Worker, maxName), truncate(e.Error, maxErrorText), truncate(e.Stack, maxErrorStack)
	}
	if _, err := json.Marshal(errs); err != nil {
		return "Errors", fmt.Sprintf("do not marshal to JSON: %v", err)
	}
	t := &constraintSpec{Attempt: spec.Attempt, Errors: errs, Ordered: spec.Ordered, Key: u.Key, Replace: u.Replace, Reschedule: u.Reschedule}
	if spec.Ordered && spec.Priority != 0 {
		return "Priority", fmt.Sprintf("is %d for an ordered job: the order of its channel is that of commits", spec.Priority)
	}
	if *u != (Unique{}) {
		switch {
		case u.Key == "":
			return "Unique", "has settings, but no Key"
		case len(u.Key) > maxName:
			return "Unique", fmt.Sprintf("has a Key of %d bytes; at most %d", len(u.Key), maxName)
		case !utf8.ValidString(u.Key) || strings.ContainsRune(u.Key, 0):
			return "Unique", fmt.Sprintf("has the Key %q, which is no UTF-8 text without zero bytes", u.Key)
		case u.Period < 0:
			return "Unique", "has a negative Period"
		}
		t.Period = u.Period.Seconds()
		o.Global, o.UntilStart = u.Global, u.UntilStart
	}
	o.Ordered = spec.Ordered
	if spec.Reserve < 0 {
		return "Reserve", "is negative"
	}
	t.Reserve = spec.Reserve.Seconds()
	for _, after := range []struct {
		field, on string
		ids       []ID
	}{{"AfterOK", "ok", spec.AfterOK}, {"AfterAny", "any", spec.AfterAny}, {"AfterNotOK", "not_ok", spec.AfterNotOK}} {
		for _, id := range after.ids {
			if id <= 0 {
				return after.field, fmt.Sprintf("has the id %d; ids are positive", id)
			}
			t.After = append(t.After, dependencySpec{id, after.on, spec.KeepWaiting})
		}
	}
	r.constraints = t
	return "", ""
}

// spec completes the ties of a row.
func (r *insertRow) constraintSpec() *constraintSpec {
	t := r.constraints
	if t == nil {
		t = &constraintSpec{}
	}
	t.Queue, t.Channel, t.Priority, t.Kind, t.Data = r.queue, r.channel, r.priority, r.kind, r.data
	t.Delay, t.Attempts, t.Fingerprint = r.delay, r.attempts, r.fingerprint
	if r.args != nil {
		t.Args = json.RawMessage(*r.args)
	}
	if r.opts != nil {
		t.Opts = json.RawMessage(*r.opts)
	}
	if r.runAt != nil {
		at := textParam(*r.runAt).(string)
		t.RunAt = &at
	}
	return t
}

const (
	maxErrors            = 10   // Kept with a job, the last ones; fail.sql keeps as many.
	maxConstrainedAtOnce = 5000 // Jobs in one statement.
	maxDeadlockRetries   = 10   // Times an insert of its own transaction is tried again after a deadlock.
)

// insertTied inserts jobs of which some are constrained. They never share a statement with those of another caller. Outside of a caller's
// transaction it is tried again after a deadlock, which more jobs than go into one statement can meet: each locks in order, all of them do not.
func (c *Client) insertConstrained(ctx context.Context, rows []insertRow) (results []InsertResult, err error) {
	for try := 0; ; try++ {
		if len(rows) > maxConstrainedAtOnce {
			results = results[:0]
			err = c.inTx(ctx, func(c *Client) error {
				for some := range slices.Chunk(rows, maxConstrainedAtOnce) {
					more, err := c.insertConstrainedOnce(ctx, some)
					if err != nil {
						return err
					}
					results = append(results, more...)
				}
				return nil
			})
		} else {
			results, err = c.insertConstrainedOnce(ctx, rows)
		}
		if err == nil {
			c.counters.inserted(rows, results)
		}
		collided := sqlState(err) == "40P01" || sqlState(err) == "40001"
		if !collided || c.db != nil || try == maxDeadlockRetries || !sleep(ctx, 10*time.Millisecond<<min(try, 6)) {
			return results, err
		}
	}
}

// insertTiedOnce is one statement.
func (c *Client) insertConstrainedOnce(ctx context.Context, rows []insertRow) ([]InsertResult, error) {
	specs := make([]*constraintSpec, len(rows))
	for i := range rows {
		specs[i] = rows[i].constraintSpec()
	}
	b, err := json.Marshal(specs)
	if err != nil {
		return nil, err
	}
	results := make([]InsertResult, 0, len(rows))
	err = c.query(ctx, "select * from pawl.insert_constrained($1::text::jsonb)", []any{string(b)}, func(s scanner) error {
		var id int64
		var r InsertResult
		err := s.Scan(&id, &r.Duplicate)
		r.ID = ID(id)
		results = append(results, r)
		return err
	})
	if err == nil && len(results) != len(rows) {
		err = fmt.Errorf("%d results for %d jobs", len(results), len(rows))
	}
	return results, err
}
