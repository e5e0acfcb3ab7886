package pawl

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// row is a JobSpec as insert.sql takes it.
type insertRow struct {
	queue, channel, kind string
	priority             int16
	args                 *string
	data                 []byte
	delay                *float64
	runAt                *time.Time
	attempts             *int16
	fingerprint          *string
	opts                 *string
	constraints          *constraintSpec // Of few.
}

// options changes a row's opts.
func (r *insertRow) changeOptions(change func(*jobOptions)) error {
	var o jobOptions
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

// opts are a job's rare settings as stored.
type jobOptions struct {
	Backoff *storedBackoff    `json:"backoff,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`

	// Of ties; SQL asks for their presence.
	Ordered    bool `json:"ordered,omitempty"`
	Global     bool `json:"global,omitempty"`
	UntilStart bool `json:"until_start,omitempty"`
	Batch      ID   `json:"batch,omitempty"`
}

const maxName = 255 // Bytes; an index entry has room for several of them.

// resolve adds the defaults to a job and checks it.
func (c *Client) resolveSpec(index int, job Args) (insertRow, error) {
	invalid := func(field, format string, args ...any) (insertRow, error) {
		return insertRow{}, &InvalidError{Index: index, Field: field, Reason: fmt.Sprintf(format, args...)}
	}
	spec, err := specOf(job)
	if err != nil {
		return invalid("Args", "%v", err)
	}
	spec = c.fill(spec)
	switch spec.Args.(type) {
	case nil:
		return invalid("Args", "is nil; for a job with Data alone give Raw(kind, nil)")
	case JobSpec, *JobSpec:
		return invalid("Args", "is a JobSpec inside a JobSpec")
	}
	if spec.Undo != nil {
		return invalid("Undo", "is set: only InsertSaga takes it")
	}
	if spec.Queue == "" {
		spec.Queue = "default"
	}

	r := insertRow{queue: spec.Queue, channel: spec.Channel, kind: spec.Args.Kind(), data: spec.Data}
	if r.kind == "" {
		return invalid("Kind", "is empty")
	}
	for _, name := range []struct{ field, text string }{
		{"Kind", r.kind}, {"Queue", r.queue}, {"Channel", r.channel}, {"Fingerprint", spec.Fingerprint},
	} {
		switch {
		case len(name.text) > maxName:
			return invalid(name.field, "is %d bytes long; at most %d", len(name.text), maxName)
		case !utf8.ValidString(name.text):
			return invalid(name.field, "%q is not valid UTF-8", name.text)
		case strings.ContainsRune(name.text, 0):
			return invalid(name.field, "%q contains a zero byte, which PostgreSQL's text cannot", name.text)
		}
	}
	if spec.Priority < -32768 || spec.Priority > 32767 {
		return invalid("Priority", "is %d; want -32768 to 32767", spec.Priority)
	}
	r.priority = int16(spec.Priority)
	if spec.MaxAttempts < 0 || spec.MaxAttempts > 32767 {
		return invalid("MaxAttempts", "is %d; want 1 to 32767, or 0 for the default", spec.MaxAttempts)
	}
	if spec.MaxAttempts > 0 {
		n := int16(spec.MaxAttempts)
		r.attempts = &n
	}
	switch {
	case spec.Delay != 0 && !spec.RunAt.IsZero():
		return invalid("RunAt", "is set beside Delay; want one of them")
	case spec.Delay < 0:
		return invalid("Delay", "is negative: %v", spec.Delay)
	case spec.Delay > 0:
		s := spec.Delay.Seconds()
		r.delay = &s
	case !spec.RunAt.IsZero():
		if y := spec.RunAt.Year(); y < -4000 || y > 200000 {
			return invalid("RunAt", "is in the year %d, which PostgreSQL cannot store", y)
		}
		r.runAt = &spec.RunAt
	}
	if spec.Fingerprint != "" {
		r.fingerprint = &spec.Fingerprint
	}

	args, err := marshalArgs(spec.Args)
	if err != nil {
		return invalid("Args", "do not marshal to JSON: %v", err)
	}
	if args != nil {
		if reason := checkJSON(args); reason != "" {
			return invalid("Args", "%s", reason)
		}
		s := string(args)
		r.args = &s
	}
	limit := c.config.maxArgsBytes()
	if len(args) > limit {
		return invalid("Args", "are %d bytes of JSON; at most %d (Config.MaxArgsBytes)", len(args), limit)
	}
	if len(spec.Data) > limit {
		return invalid("Data", "is %d bytes; at most %d (Config.MaxArgsBytes)", len(spec.Data), limit)
	}
	if reason := c.config.refuse(args); reason != "" {
		return invalid("Args", "%s", reason)
	}

	var o jobOptions
	if spec.Backoff != (Backoff{}) {
		if err := spec.Backoff.check(); err != nil {
			return invalid("Backoff", "%v", err)
		}
		o.Backoff = spec.Backoff.stored()
	}
	if len(spec.Headers) > 0 {
		o.Headers = spec.Headers
	}
	if field, reason := c.resolveConstraints(&spec, &r, &o); field != "" {
		return invalid(field, "%s", reason)
	}
	if o.Backoff != nil || o.Headers != nil || r.constraints != nil {
		b, err := json.Marshal(o)
		if err != nil {
			return invalid("Headers", "do not marshal to JSON: %v", err)
		}
		if reason := checkJSON(b); reason != "" {
			return invalid("Headers", "%s", reason)
		}
		s := string(b)
		r.opts = &s
	}
	return r, nil
}

func marshalArgs(args Args) (json.RawMessage, error) {
	switch a := args.(type) {
	case RawArgs:
		return a.JSON, a.check()
	case *RawArgs:
		return a.JSON, a.check()
	}
	return json.Marshal(args)
}

func (r RawArgs) check() error {
	if r.JSON != nil && !json.Valid(r.JSON) {
		return fmt.Errorf("not valid JSON")
	}
	return nil
}

// checkJSON finds what is valid JSON and yet refused by jsonb: invalid UTF-8, \u0000, and half a surrogate pair.
func checkJSON(b []byte) (reason string) {
	if !utf8.Valid(b) {
		return "contain invalid UTF-8"
	}
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			continue
		}
		i++
		if i+4 >= len(b) || b[i] != 'u' {
			continue
		}
		switch code := strings.ToLower(string(b[i+1 : i+5])); {
		case code == "0000":
			return `contain \u0000, which PostgreSQL's jsonb cannot; use Data for bytes`
		case code >= "d800" && code < "dc00":
			if i+10 < len(b) && b[i+5] == '\\' && b[i+6] == 'u' {
				if low := strings.ToLower(string(b[i+7 : i+11])); low >= "dc00" && low < "e000" {
					i += 10
					continue
				}
			}
			return fmt.Sprintf(`contain \u%s, the first half of a surrogate pair, without its second`, code)
		case code >= "dc00" && code < "e000":
			return fmt.Sprintf(`contain \u%s, the second half of a surrogate pair, without its first`, code)
		}
		i += 4
	}
	return ""
}

func (c *Client) insertRows(ctx context.Context, rows []insertRow) ([]ID, error) {
	n := len(rows)
	var (
		queues, channels, kinds  = make([]string, n), make([]string, n), make([]string, n)
		priorities               = make([]int16, n)
		args, fingerprints, opts = make([]*string, n), make([]*string, n), make([]*string, n)
		data                     = make([][]byte, n)
		delays                   = make([]*float64, n)
		runAts                   = make([]*time.Time, n)
		attempts                 = make([]*int16, n)
	)
	for i := range rows {
		r := &rows[i]
		queues[i], channels[i], kinds[i], priorities[i] = r.queue, r.channel, r.kind, r.priority
		args[i], fingerprints[i], opts[i], data[i] = r.args, r.fingerprint, r.opts, r.data
		delays[i], runAts[i], attempts[i] = r.delay, r.runAt, r.attempts
	}
	ids := make([]ID, 0, n)
	err := c.query(ctx, `select pawl.insert($1::text[], $2::text[], $3::smallint[], $4::text[], $5::text[], $6::bytea[],
		$7::double precision[], $8::timestamptz[], $9::smallint[], $10::text[], $11::text[])`,
		[]any{queues, channels, priorities, kinds, args, data, delays, runAts, attempts, fingerprints, opts},
		func(s scanner) error {
			var id int64
			err := s.Scan(&id)
			ids = append(ids, ID(id))
			return err
		})
	if err == nil && len(ids) != n {
		err = fmt.Errorf("%d ids for %d jobs", len(ids), n)
	}
	if err == nil {
		c.counters.inserted(rows, nil)
	}
	return ids, err
}
