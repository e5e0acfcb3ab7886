package pawl

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// resolveSpec returns the row of a job: its defaults are filled in and its fields are checked. An error is an
// *InvalidError.
func (c *Client) resolveSpec(index int, job Args) (insertRow, error) {
	spec, err := specOf(job)
	if err != nil {
		return insertRow{}, &InvalidError{Index: index, Field: "Args", Reason: err.Error()}
	}
	d := draft{config: &c.config, spec: c.fill(spec)}
	for _, step := range draftSteps {
		if field, reason := step(&d); field != "" {
			return insertRow{}, &InvalidError{Index: index, Field: field, Reason: reason}
		}
	}
	return d.row, nil
}

// A draft is a job on its way from a JobSpec to a row.
type draft struct {
	config  *Config
	spec    JobSpec
	row     insertRow
	options jobOptions
}

// draftSteps check a field or a few of the spec and put them into the row. Each returns the field that is wrong and
// the reason, or "".
var draftSteps = []func(*draft) (field, reason string){
	(*draft).takeKind, (*draft).takeNames, (*draft).takeNumbers, (*draft).takeTime, (*draft).takePayload,
	(*draft).takeBackoff, (*draft).takeConstraints, (*draft).takeOptions,
}

func (d *draft) takeKind() (field, reason string) {
	switch d.spec.Args.(type) {
	case nil:
		return "Args", "is nil: for a job with Data alone use Raw(kind, nil)"
	case JobSpec, *JobSpec:
		return "Args", "is a JobSpec inside a JobSpec: put its fields into the outer one"
	}
	if d.spec.Undo != nil {
		return "Undo", "is set: only InsertSaga takes it"
	}
	if d.row.kind = d.spec.Args.Kind(); d.row.kind == "" {
		return "Kind", "is empty: the method Kind of the args must return a name"
	}
	return "", ""
}

// maxName is the largest size of a name in bytes. An index entry has room for several names.
const maxName = 255

func (d *draft) takeNames() (field, reason string) {
	if d.spec.Queue == "" {
		d.spec.Queue = "default"
	}
	for _, name := range []struct{ field, text string }{
		{"Kind", d.row.kind}, {"Queue", d.spec.Queue}, {"Channel", d.spec.Channel}, {"Fingerprint", d.spec.Fingerprint},
	} {
		if reason := checkName(name.text); reason != "" {
			return name.field, reason
		}
	}
	d.row.queue, d.row.channel = d.spec.Queue, d.spec.Channel
	if d.spec.Fingerprint != "" {
		d.row.fingerprint = &d.spec.Fingerprint
	}
	return "", ""
}

// checkName returns what is wrong with a name, or "".
func checkName(text string) (reason string) {
	switch {
	case len(text) > maxName:
		return fmt.Sprintf("is %d bytes long; at most %d", len(text), maxName)
	case !utf8.ValidString(text):
		return fmt.Sprintf("%q is not valid UTF-8", text)
	case strings.ContainsRune(text, 0):
		return fmt.Sprintf("%q contains a zero byte, which PostgreSQL's text cannot", text)
	}
	return ""
}

func (d *draft) takeNumbers() (field, reason string) {
	if p := d.spec.Priority; p < -32768 || p > 32767 {
		return "Priority", fmt.Sprintf("is %d; want -32768 to 32767", p)
	}
	d.row.priority = int16(d.spec.Priority)
	if n := d.spec.MaxAttempts; n < 0 || n > 32767 {
		return "MaxAttempts", fmt.Sprintf("is %d; want 1 to 32767, or 0 for the default", n)
	}
	if d.spec.MaxAttempts > 0 {
		d.row.attempts = new(int16(d.spec.MaxAttempts))
	}
	return "", ""
}

func (d *draft) takeTime() (field, reason string) {
	switch {
	case d.spec.Delay != 0 && !d.spec.RunAt.IsZero():
		return "RunAt", "is set beside Delay; want one of them"
	case d.spec.Delay < 0:
		return "Delay", fmt.Sprintf("is negative: %v", d.spec.Delay)
	case d.spec.Delay > 0:
		d.row.delay = new(d.spec.Delay.Seconds())
	case !d.spec.RunAt.IsZero():
		if !storable(d.spec.RunAt) {
			return "RunAt", fmt.Sprintf("is in the year %d, which PostgreSQL cannot store", d.spec.RunAt.Year())
		}
		d.row.runAt = &d.spec.RunAt
	}
	return "", ""
}

// storable reports whether PostgreSQL can store a time, with room for what is added to it.
func storable(at time.Time) bool { return at.Year() >= -4000 && at.Year() <= 200_000 }

func (d *draft) takePayload() (field, reason string) {
	args, err := marshalArgs(d.spec.Args)
	if err != nil {
		return "Args", fmt.Sprintf("do not marshal to JSON: %v", err)
	}
	most := d.config.maxArgsBytes()
	if args != nil {
		size, reason := scanJSON(args)
		if reason == "" {
			reason = refuseSize(size, len(args), most)
		}
		if reason == "" {
			reason = d.config.refuse(args)
		}
		if reason != "" {
			return "Args", reason
		}
		d.row.args = new(string(args))
	} else if reason := d.config.refuse(nil); reason != "" {
		return "Args", reason
	}
	if len(d.spec.Data) > most {
		return "Data", fmt.Sprintf("is %d bytes; at most %d (Config.MaxArgsBytes)", len(d.spec.Data), most)
	}
	d.row.data = d.spec.Data
	return "", ""
}

// refuseSize returns what is wrong with the size of JSON, which is given twice: with numbers written out, and as it is.
func refuseSize(size, given, most int) (reason string) {
	if size <= most {
		return ""
	}
	what := "bytes of JSON"
	if size > given {
		what += ", with numbers written out without an exponent"
	}
	return fmt.Sprintf("are %d %s; at most %d (Config.MaxArgsBytes)", size, what, most)
}

func (d *draft) takeBackoff() (field, reason string) {
	if d.spec.Backoff == (Backoff{}) {
		return "", ""
	}
	if err := d.spec.Backoff.check(); err != nil {
		return "Backoff", err.Error()
	}
	d.options.Backoff = d.spec.Backoff.stored()
	return "", ""
}

// takeOptions encodes the options. Jobs without any have none, so that they are small.
func (d *draft) takeOptions() (field, reason string) {
	if len(d.spec.Headers) > 0 {
		d.options.Headers = d.spec.Headers
	}
	if d.options.Backoff == nil && d.options.Headers == nil && d.row.constraints == nil {
		return "", ""
	}
	b, err := json.Marshal(d.options)
	if err != nil {
		return "Headers", fmt.Sprintf("do not marshal to JSON: %v", err)
	}
	size, reason := scanJSON(b)
	if reason == "" {
		reason = refuseSize(size, len(b), d.config.maxArgsBytes())
	}
	if reason != "" {
		return "Headers", reason
	}
	d.row.opts = new(string(b))
	return "", ""
}
