package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/spf13/pflag"
)

// jobSpec is a job to insert, as flags and lines of JSON say it.
type jobSpec struct {
	Kind        string            `json:"kind"`
	Args        json.RawMessage   `json:"args"`
	Data        []byte            `json:"data"` // As base64.
	Queue       string            `json:"queue"`
	Channel     string            `json:"channel"`
	Ordered     bool              `json:"ordered"`
	Priority    int               `json:"priority"`
	Delay       jsonDuration      `json:"delay"`
	RunAt       time.Time         `json:"run_at"`
	MaxAttempts int               `json:"max_attempts"`
	Backoff     backoffSpec       `json:"backoff"`
	Unique      uniqueSpec        `json:"unique"`
	Fingerprint string            `json:"fingerprint"`
	Headers     map[string]string `json:"headers"`
	Reserve     jsonDuration      `json:"reserve"`
	AfterOK     []pawl.ID         `json:"after_ok"`
	AfterAny    []pawl.ID         `json:"after_any"`
	AfterNotOK  []pawl.ID         `json:"after_not_ok"`
	Hold        bool              `json:"hold"`
}

type backoffSpec struct {
	Base   jsonDuration `json:"base"`
	Max    jsonDuration `json:"max"`
	Growth float64      `json:"growth"`
	Power  float64      `json:"power"`
	Jitter *float64     `json:"jitter"` // Nil: the default; 0: none.
}

type uniqueSpec struct {
	Key        string       `json:"key"`
	Period     jsonDuration `json:"period"`
	Global     bool         `json:"global"`
	UntilStart bool         `json:"until_start"`
	Replace    bool         `json:"replace"`
	Reschedule bool         `json:"reschedule"`
}

// jsonDuration is a number of seconds, or a text of the durationForm.
type jsonDuration time.Duration

func (d *jsonDuration) UnmarshalJSON(text []byte) error {
	if bytes.Equal(text, []byte("null")) {
		return nil
	}
	var s string
	if json.Unmarshal(text, &s) != nil {
		s = string(text)
	}
	read, err := parseDuration(s)
	*d = jsonDuration(read)
	return err
}

func (s *jobSpec) spec() pawl.JobSpec {
	args := []byte(s.Args)
	if bytes.Equal(args, []byte("null")) {
		args = nil
	}
	spec := pawl.JobSpec{
		Args: pawl.Raw(s.Kind, args), Data: s.Data, Queue: s.Queue, Channel: s.Channel, Ordered: s.Ordered, Priority: s.Priority,
		Delay: time.Duration(s.Delay), RunAt: s.RunAt, MaxAttempts: s.MaxAttempts, Fingerprint: s.Fingerprint, Headers: s.Headers,
		Backoff: pawl.Backoff{
			Base: time.Duration(s.Backoff.Base), Max: time.Duration(s.Backoff.Max), Growth: s.Backoff.Growth, Power: s.Backoff.Power,
		},
		Unique: pawl.Unique{
			Key: s.Unique.Key, Period: time.Duration(s.Unique.Period), Global: s.Unique.Global, UntilStart: s.Unique.UntilStart,
			Replace: s.Unique.Replace, Reschedule: s.Unique.Reschedule,
		},
		Reserve: time.Duration(s.Reserve), AfterOK: s.AfterOK, AfterAny: s.AfterAny, AfterNotOK: s.AfterNotOK, KeepWaiting: s.Hold,
	}
	if j := s.Backoff.Jitter; j != nil {
		spec.Backoff.Jitter, spec.Backoff.NoJitter = *j, *j == 0
	}
	return spec
}

// line reads a job from a line of JSON; what the line does not say is as in s.
func (s *jobSpec) line(text []byte) (jobSpec, error) {
	read := *s
	read.Headers = maps.Clone(s.Headers)
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&read); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the JSON object does not end in this line")
		}
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field == "" {
			err = fmt.Errorf("want a JSON object, have: %s", wrong.Value)
		} else if ok {
			err = fmt.Errorf("%s: this is no place for a %s", wrong.Field, wrong.Value)
		} else if _, ok := errors.AsType[*json.SyntaxError](err); ok {
			err = fmt.Errorf("not JSON: %w", err)
		}
		return read, errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return read, errors.New("something follows the JSON object")
	}
	switch delay, runAt := read.Delay != s.Delay, !read.RunAt.Equal(s.RunAt); {
	case delay && !runAt:
		read.RunAt = time.Time{}
	case runAt && !delay:
		read.Delay = 0
	}
	return read, nil
}

// jobFlags are a job as a command says it: kind and args as arguments, the rest as flags.
type jobFlags struct {
	jobSpec
	data string
}

func (s *jobFlags) add(flags *pflag.FlagSet) {
	flags.SortFlags = false
	flags.StringVar(&s.data, "data", "", "bytes beside or instead of args: as they are, @FILE, or - for standard input")
	flags.Var((*nameValue)(&s.Queue), "queue", `if not given, "default"`)
	flags.StringVar(&s.Channel, "channel", "", "of the queue: a tenant, an account")
	flags.BoolVar(&s.Ordered, "ordered", false, "one at a time within the channel, in the order of inserts")
	flags.Var(&numberValue{&s.Priority, math.MinInt16, math.MaxInt16}, "priority", "-32768 to 32767; lower runs first")
	flags.Var((*durationValue)(&s.Delay), "delay", "not before so long from now")
	flags.Var(&numberValue{&s.MaxAttempts, 0, math.MaxInt16}, "max-attempts", "if 0, as the setting max_attempts says, else the queue's, else 20")
	flags.Var((*durationValue)(&s.Backoff.Base), "backoff-base", "wait after the first failed attempt (if not given, 1s, as long as no other backoff flag is: the queue's)")
	flags.Var((*durationValue)(&s.Backoff.Max), "backoff-max", "longest wait (1h)")
	flags.Float64Var(&s.Backoff.Growth, "backoff-growth", 0, "factor from one wait to the next (2)")
	flags.Float64Var(&s.Backoff.Power, "backoff-power", 0, "of the number of the attempt, as another factor (0)")
	flags.Var(&floatValue{&s.Backoff.Jitter}, "backoff-jitter", "share of the wait that is random, 0 to 1 (0.1)")
	flags.StringVar(&s.Unique.Key, "unique", "", "a key that one live job of the queue may have: another insert puts in nothing and answers with that job")
	flags.Var((*durationValue)(&s.Unique.Period), "unique-period", "the key is taken for so long in any case")
	flags.BoolVar(&s.Unique.Global, "unique-global", false, "over all queues")
	flags.BoolVar(&s.Unique.UntilStart, "unique-until-start", false, "the key is free again when the job starts")
	flags.BoolVar(&s.Unique.Replace, "unique-replace", false, "a duplicate gives a waiting job its args, data and headers")
	flags.BoolVar(&s.Unique.Reschedule, "unique-reschedule", false, "a duplicate gives a waiting job its time")
	flags.StringVar(&s.Fingerprint, "fingerprint", "", "a label to find it by")
	flags.Var((*headersValue)(&s.Headers), "header", "NAME=VALUE, carried to the handler; again for more")
	flags.Var((*idsValue)(&s.AfterOK), "after-ok", "ID,...: waits until all of these are completed")
	flags.Var((*idsValue)(&s.AfterAny), "after-any", "ID,...: until all have finished in any way")
	flags.Var((*idsValue)(&s.AfterNotOK), "after-not-ok", "ID,...: until all have died or were cancelled")
	flags.BoolVar(&s.Hold, "hold", false, "it waits for a dead job to be retried; else it is cancelled with that")
}

// read takes in the arguments [KIND [ARGS]] and what --data names.
func (s *jobFlags) read(p *program, args []string) (err error) {
	if len(args) > 0 {
		s.Kind = args[0]
	}
	if len(args) > 1 {
		if args[1] == "-" && s.data == "-" {
			return usageError{errors.New("args and --data cannot both be standard input")}
		}
		if s.Args, err = p.given(args[1]); err != nil {
			return fmt.Errorf("args: %w", err)
		}
		if !json.Valid(s.Args) {
			return usageError{errors.New("the args are not JSON: " + wantJSON)}
		}
	}
	if s.data != "" {
		if s.Data, err = p.given(s.data); err != nil {
			return fmt.Errorf("--data: %w", err)
		}
	}
	return nil
}

const wantJSON = `want an object such as '{"user": 42}', or text in its quotes: '"hello"'`

var (
	innerUpper = regexp.MustCompile(`([a-z])([A-Z])`)
	// settingOfField replaces the fields of pawl.Config that bound args by the settings they come from.
	settingOfField = strings.NewReplacer(
		"Config.MaxArgsBytes", "the setting validation.args_bytes",
		"Config.MaxStringBytes", "the setting validation.string_bytes",
		"Config.MaxDepth", "the setting validation.depth",
		"Config.ForbiddenKeys", "the setting validation.forbidden",
		"Config.RequiredKeys", "the setting validation.required",
	)
)

// wrongWith says what is wrong with a job by the names of flags, lines and settings.
func wrongWith(job *pawl.InvalidError) error {
	small := func(name string) string { return strings.ToLower(innerUpper.ReplaceAllString(name, "${1}_$2")) }
	return fmt.Errorf("%s: %s", small(job.Field), settingOfField.Replace(job.Reason))
}

// given is what an argument says: itself, the content of @FILE, or for - standard input.
func (p *program) given(text string) ([]byte, error) {
	if text == "-" {
		return io.ReadAll(p.input())
	}
	if file, ok := strings.CutPrefix(text, "@"); ok {
		return os.ReadFile(file)
	}
	return []byte(text), nil
}

// timeValue is a flag of a time to come.
type timeValue time.Time

func (v *timeValue) Set(text string) error {
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			*v = timeValue(t)
			return nil
		}
	}
	return fmt.Errorf("%q: want a time such as 2026-01-31 08:00 or 2026-01-31T08:00:00+01:00, in UTC if it has no zone", text)
}

func (v *timeValue) Type() string { return "time" }

func (v *timeValue) String() string {
	if time.Time(*v).IsZero() {
		return ""
	}
	return time.Time(*v).UTC().Format(time.RFC3339)
}

// floatValue is a flag that tells 0 from not given.
type floatValue struct{ to **float64 }

func (v *floatValue) Set(text string) error {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return fmt.Errorf("%q: want a number", text)
	}
	*v.to = &f
	return nil
}

func (*floatValue) Type() string   { return "float" }
func (*floatValue) String() string { return "" }

type headersValue map[string]string

func (v *headersValue) Set(text string) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return fmt.Errorf("%q: want NAME=VALUE", text)
	}
	if *v == nil {
		*v = map[string]string{}
	}
	(*v)[name] = value
	return nil
}

func (*headersValue) Type() string   { return "name=value" }
func (*headersValue) String() string { return "" }

// idsValue is a flag of ids with commas, again for more.
type idsValue []pawl.ID

func (v *idsValue) Set(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		id, err := parseID(strings.TrimSpace(word))
		if err != nil {
			return err
		}
		*v = append(*v, id)
	}
	return nil
}

func (*idsValue) Type() string   { return "ids" }
func (*idsValue) String() string { return "" }
