package pawl

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pawlhq/pawl/internal/pg"
)

// A constraintSpec is a job with constraints in the form that insert_constrained.sql takes. Such a job is ordered,
// unique or reserved, depends on other jobs, belongs to a batch, or has failed attempts. A job without constraints
// has no constraintSpec; insert.sql inserts it.
type constraintSpec struct {
	Queue       string          `json:"queue"`
	Channel     string          `json:"channel"`
	Priority    int16           `json:"priority"`
	Kind        string          `json:"kind"`
	Args        json.RawMessage `json:"args,omitempty"` // Of a callback; others have them beside the spec.
	Data        []byte          `json:"data,omitempty"` // The same, as base64.
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

	Attempt int            `json:"attempt,omitempty"` // Attempts used before the insert.
	Errors  []AttemptError `json:"errors,omitempty"`
}

type dependencySpec struct {
	ID          ID     `json:"id"`
	On          string `json:"on"`
	KeepWaiting bool   `json:"keep_waiting,omitempty"`
}

// takeConstraints checks the constraints of a job and puts them into its row.
func (d *draft) takeConstraints() (field, reason string) {
	if !d.spec.constrained() {
		return "", ""
	}
	d.row.constraints = &constraintSpec{}
	for _, step := range []func(*draft) (field, reason string){
		(*draft).takeHistory, (*draft).takeOrder, (*draft).takeUnique, (*draft).takeReservation,
		(*draft).takeDependencies,
	} {
		if field, reason := step(d); field != "" {
			return field, reason
		}
	}
	return "", ""
}

// constrained reports whether insert_constrained.sql has to insert the job.
func (s *JobSpec) constrained() bool {
	return s.Unique != (Unique{}) || s.Ordered || s.Reserve != 0 ||
		len(s.AfterOK)+len(s.AfterAny)+len(s.AfterNotOK) > 0 || s.Attempt != 0 || len(s.Errors) > 0
}

func (d *draft) takeHistory() (field, reason string) {
	if d.spec.Attempt < 0 || d.spec.Attempt > 32766 {
		return "Attempt", fmt.Sprintf("is %d; want 0 to 32766", d.spec.Attempt)
	}
	errs := slices.Clone(d.spec.Errors[max(0, len(d.spec.Errors)-maxErrors):])
	for i, e := range errs {
		errs[i].Worker = truncate(e.Worker, maxName)
		errs[i].Error, errs[i].Stack = truncate(e.Error, maxErrorText), truncate(e.Stack, maxErrorStack)
	}
	b, err := json.Marshal(errs)
	if err != nil {
		return "Errors", fmt.Sprintf("do not marshal to JSON: %v", err)
	}
	d.row.errorBytes = len(b)
	d.row.constraints.Attempt, d.row.constraints.Errors = d.spec.Attempt, errs
	return "", ""
}

func (d *draft) takeOrder() (field, reason string) {
	if d.spec.Ordered && d.spec.Priority != 0 {
		return "Priority", fmt.Sprintf("is %d for an ordered job: ordered jobs have no priority", d.spec.Priority)
	}
	d.row.constraints.Ordered, d.options.Ordered = d.spec.Ordered, d.spec.Ordered
	return "", ""
}

func (d *draft) takeUnique() (field, reason string) {
	u := &d.spec.Unique
	if *u == (Unique{}) {
		return "", ""
	}
	switch {
	case u.Key == "":
		return "Unique", "has settings, but no Key"
	case len(u.Key) > maxName:
		return "Unique", fmt.Sprintf("has a Key of %d bytes; at most %d", len(u.Key), maxName)
	case !utf8.ValidString(u.Key) || strings.ContainsRune(u.Key, 0):
		return "Unique", fmt.Sprintf("has the Key %q; want UTF-8 text without zero bytes", u.Key)
	case u.Period < 0:
		return "Unique", fmt.Sprintf("has a negative Period: %v", u.Period)
	}
	if reason := checkChange(d.row.args, d.row.data); u.Replace && reason != "" {
		return "Args", reason + ", and so does a Unique with Replace"
	}
	t := d.row.constraints
	t.Key, t.Period, t.Replace, t.Reschedule = u.Key, u.Period.Seconds(), u.Replace, u.Reschedule
	d.options.Global, d.options.UntilStart = u.Global, u.UntilStart
	return "", ""
}

func (d *draft) takeReservation() (field, reason string) {
	if d.spec.Reserve < 0 {
		return "Reserve", fmt.Sprintf("is negative: %v", d.spec.Reserve)
	}
	d.row.constraints.Reserve = d.spec.Reserve.Seconds()
	return "", ""
}

func (d *draft) takeDependencies() (field, reason string) {
	for _, after := range []struct {
		field, on string
		ids       []ID
	}{
		{"AfterOK", "ok", d.spec.AfterOK},
		{"AfterAny", "any", d.spec.AfterAny},
		{"AfterNotOK", "not_ok", d.spec.AfterNotOK},
	} {
		for _, id := range after.ids {
			if id <= 0 {
				return after.field, fmt.Sprintf("has the id %d; ids are positive", id)
			}
			d.row.constraints.After = append(d.row.constraints.After, dependencySpec{id, after.on, d.spec.KeepWaiting})
		}
	}
	return "", ""
}

// constraintSpec returns the row in the form of insert_constrained.sql, without its args and data.
func (r *insertRow) constraintSpec() *constraintSpec {
	t := r.constraints
	if t == nil {
		t = &constraintSpec{}
	}
	t.Queue, t.Channel, t.Priority, t.Kind = r.queue, r.channel, r.priority, r.kind
	t.Delay, t.Attempts, t.Fingerprint = r.delay, r.attempts, r.fingerprint
	if r.opts != nil {
		t.Opts = json.RawMessage(*r.opts)
	}
	if r.runAt != nil {
		at := pg.Text(*r.runAt).(string)
		t.RunAt = &at
	}
	return t
}

const (
	maxErrors          = 10 // Errors kept with a job, the last ones. fail.sql keeps as many.
	maxDeadlockRetries = 10 // Retries of an insert after a deadlock, without With.
)

// insertConstrained inserts rows if one of them has constraints. The rows never share a statement with rows of
// another caller. Many or large rows are inserted by several statements in one transaction.
//
// One statement locks keys and channels in order. Several statements in one transaction do not, so two inserts can
// deadlock. On the pool, the insert is then retried.
func (c *Client) insertConstrained(ctx context.Context, rows []insertRow) (results []InsertResult, err error) {
	for try := 0; ; try++ {
		if len(rows) <= c.limits.rows && !exceeds(rows, c.limits.statement) {
			results, err = c.insertConstrainedOnce(ctx, rows)
		} else {
			err = c.inTx(ctx, func(c *Client) (err error) {
				results, err = insertParts(ctx, rows, c.limits.rows, c.limits.statement, c.insertConstrainedOnce)
				return err
			})
		}
		if err == nil {
			c.counters.inserted(rows, results)
		}
		state := pg.SQLState(err)
		collided := state == "40P01" || state == "40001"
		if !collided || c.db != nil || try == maxDeadlockRetries || !pg.Sleep(ctx, 10*time.Millisecond<<min(try, 6)) {
			return results, err
		}
	}
}

// insertConstrainedOnce inserts rows in one statement.
func (c *Client) insertConstrainedOnce(ctx context.Context, rows []insertRow) ([]InsertResult, error) {
	n := len(rows)
	specs, args, data := make([]*constraintSpec, n), make([]*string, n), make([][]byte, n)
	for i := range rows {
		specs[i], args[i], data[i] = rows[i].constraintSpec(), rows[i].args, rows[i].data
	}
	b, err := json.Marshal(specs)
	if err != nil {
		return nil, err
	}
	results := make([]InsertResult, 0, n)
	const text = "select * from pawl.insert_constrained($1::text::jsonb, $2::text[]::jsonb[], $3::bytea[])"
	err = c.query(ctx, text, []any{string(b), args, data}, func(s scanner) error {
		var id int64
		var r InsertResult
		err := s.Scan(&id, &r.Duplicate)
		r.ID = ID(id)
		results = append(results, r)
		return err
	})
	if err == nil && len(results) != n {
		err = fmt.Errorf("%d results for %d jobs", len(results), n)
	}
	return results, err
}
