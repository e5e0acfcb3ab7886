package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Ties are what keeps a live job waiting, and who waits for it.
type Ties struct {
	ReservedUntil time.Time `json:"reserved_until"` // If it is not committed before, it is gone. Zero: it is not reserved.
	Head          ID        `json:"head"`           // The job of its ordered channel that is to finish first; 0: itself, or it is not ordered.
	Halted        bool      `json:"halted"`         // Its ordered channel stands still until ResumeChannel.
	AfterOK       []ID      `json:"after_ok"`       // What it still waits for, as in JobSpec.
	AfterAny      []ID      `json:"after_any"`
	AfterNotOK    []ID      `json:"after_not_ok"`
	Followers     []ID      `json:"followers"` // Jobs that wait for its end by those fields, the first thousand.
}

// Ties are those of a job as it is now. A job that is not live, or was never there, has none.
func (c *Client) Ties(ctx context.Context, id ID) (ties Ties, err error) {
	var text string
	err = c.row(ctx, `select json_build_object(
		'reserved_until', (select p.expires_at from pawl.parked p where p.job_id = j.id),
		'head', coalesce((select nullif(h.job_id, j.id) from pawl.turn t,
			lateral (select h.job_id from pawl.turn h where h.queue = t.queue and h.channel = t.channel order by h.pos limit 1) h where t.job_id = j.id), 0),
		'halted', exists (select from pawl.turn t join pawl.halt h on h.queue = t.queue and h.channel = t.channel where t.job_id = j.id),
		'after_ok', array(select w.parent_id from pawl.wait w where w.child_id = j.id and w.on_state = 'ok' order by 1),
		'after_any', array(select w.parent_id from pawl.wait w where w.child_id = j.id and w.on_state = 'any' order by 1),
		'after_not_ok', array(select w.parent_id from pawl.wait w where w.child_id = j.id and w.on_state = 'not_ok' order by 1),
		'followers', array(select distinct w.child_id from pawl.wait w where w.parent_id = j.id order by 1 limit 1000))::text
		from pawl.job j where j.id = $1::bigint`, []any{int64(id)}, &text)
	switch {
	case err == nil:
		err = json.Unmarshal([]byte(text), &ties)
	case errors.Is(err, ErrNotFound):
		return Ties{}, nil
	}
	if err != nil {
		return Ties{}, fmt.Errorf("pawl: ties of job %d: %w", id, err)
	}
	return ties, nil
}

// ties are what binds a job to others, as insert_tied.sql takes it. Few jobs have any; the others pay nothing for them.
type ties struct {
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

	Ordered    bool       `json:"ordered,omitempty"`
	Key        string     `json:"key,omitempty"`
	Period     float64    `json:"period,omitempty"`
	Replace    bool       `json:"replace,omitempty"`
	Reschedule bool       `json:"reschedule,omitempty"`
	Reserve    float64    `json:"reserve,omitempty"`
	After      []tieAfter `json:"after,omitempty"`

	Attempt int            `json:"attempt,omitempty"` // Used already: of so few jobs that they go this way.
	Errors  []AttemptError `json:"errors,omitempty"`
}

type tieAfter struct {
	ID   ID     `json:"id"`
	On   string `json:"on"`
	Hold bool   `json:"hold,omitempty"`
}

// resolveTies checks what binds a job to others.
func (c *Client) resolveTies(spec *JobSpec, r *row, o *opts) (field, reason string) {
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
		errs[i].Worker, errs[i].Error, errs[i].Stack = bounded(e.Worker, maxName), bounded(e.Error, maxErrorText), bounded(e.Stack, maxErrorStack)
	}
	if _, err := json.Marshal(errs); err != nil {
		return "Errors", fmt.Sprintf("do not marshal to JSON: %v", err)
	}
	t := &ties{Attempt: spec.Attempt, Errors: errs, Ordered: spec.Ordered, Key: u.Key, Replace: u.Replace, Reschedule: u.Reschedule}
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
			t.After = append(t.After, tieAfter{id, after.on, spec.Hold})
		}
	}
	r.ties = t
	return "", ""
}

// spec completes the ties of a row.
func (r *row) spec() *ties {
	t := r.ties
	if t == nil {
		t = &ties{}
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
	maxErrors     = 10   // Kept with a job, the last ones; fail.sql keeps as many.
	maxTiedAtOnce = 5000 // Jobs in one statement.
	maxCollisions = 10   // Times an insert of its own transaction is tried again after a deadlock.
)

// insertTied inserts jobs of which some are tied. They never share a statement with those of another caller. Outside of a caller's
// transaction it is tried again after a deadlock, which more jobs than go into one statement can meet: each locks in order, all of them do not.
func (c *Client) insertTied(ctx context.Context, rows []row) (results []InsertResult, err error) {
	for try := 0; ; try++ {
		if len(rows) > maxTiedAtOnce {
			results = results[:0]
			err = c.inTx(ctx, func(c *Client) error {
				for some := range slices.Chunk(rows, maxTiedAtOnce) {
					more, err := c.insertTiedOnce(ctx, some)
					if err != nil {
						return err
					}
					results = append(results, more...)
				}
				return nil
			})
		} else {
			results, err = c.insertTiedOnce(ctx, rows)
		}
		if err == nil {
			c.tally.inserted(rows, results)
		}
		collided := sqlState(err) == "40P01" || sqlState(err) == "40001"
		if !collided || c.db != nil || try == maxCollisions || !pause(ctx, 10*time.Millisecond<<min(try, 6)) {
			return results, err
		}
	}
}

// insertTiedOnce is one statement.
func (c *Client) insertTiedOnce(ctx context.Context, rows []row) ([]InsertResult, error) {
	specs := make([]*ties, len(rows))
	for i := range rows {
		specs[i] = rows[i].spec()
	}
	b, err := json.Marshal(specs)
	if err != nil {
		return nil, err
	}
	results := make([]InsertResult, 0, len(rows))
	err = c.query(ctx, "select * from pawl.insert_tied($1::text::jsonb)", []any{string(b)}, func(s scanner) error {
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

// Commit is the second phase of jobs inserted with Reserve: they may run. All or none: ErrExpired, if one is not reserved any
// more because its time came, it was aborted, or committed before.
func (c *Client) Commit(ctx context.Context, ids ...ID) error {
	plain, _ := IDs(ids).selection()
	return expired("commit", c.query(ctx, "select pawl.commit($1::bigint[])", []any{plain}, nil))
}

// Abort takes reserved jobs away, all or none, as Commit.
func (c *Client) Abort(ctx context.Context, ids ...ID) error {
	plain, _ := IDs(ids).selection()
	return expired("abort", c.query(ctx, "select pawl.abort($1::bigint[])", []any{plain}, nil))
}

// ExtendReserve lets reservations last until now + d; it never shortens them. All or none, as Commit.
func (c *Client) ExtendReserve(ctx context.Context, d time.Duration, ids ...ID) error {
	if d < 0 {
		return errors.New("pawl: ExtendReserve: a negative duration")
	}
	plain, _ := IDs(ids).selection()
	return expired("extend reserve", c.query(ctx, "select pawl.keep($1::bigint[], $2::interval)", []any{plain, interval(d)}, nil))
}

func expired(verb string, err error) error {
	switch {
	case err == nil:
		return nil
	case sqlState(err) == "PW001":
		return fmt.Errorf("pawl: %s: %w: %w", verb, ErrExpired, err)
	default:
		return fmt.Errorf("pawl: %s: %w", verb, err)
	}
}

// settle does what follows from the end of tied jobs, as far as nobody has it locked.
func (c *Client) settle(ctx context.Context) error {
	for {
		const most = 500
		var settled, left int
		var more bool
		if err := c.row(ctx, "select * from pawl.settle($1::integer)", []any{most}, &settled, &left, &more); err != nil {
			return err
		}
		if settled == 0 || settled+left < most && !more {
			return nil
		}
	}
}

// settleSoon settles at once what this client has committed. In a caller's transaction it cannot: there the chore does it, within
// a second of the commit.
func (c *Client) settleSoon(ctx context.Context, tied bool) {
	if tied && c.db == nil {
		if err := c.settle(ctx); err != nil {
			c.config.Logger.Info("pawl: what follows from the end of tied jobs is left to a tender", "error", err)
		}
	}
}

// expire takes away reservations and unique keys whose time has passed.
func (c *Client) expire(ctx context.Context) error {
	for {
		const most = 1000
		var n int64
		if err := c.row(ctx, "select pawl.expire($1::integer)", []any{most}, &n); err != nil || n < most {
			return err
		}
	}
}
