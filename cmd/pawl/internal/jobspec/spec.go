// Package jobspec reads jobs to insert from flags and from lines of JSON.
package jobspec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
)

// Spec is a job to insert, as flags and lines of JSON describe it.
type Spec struct {
	Kind        string            `json:"kind"`
	Args        json.RawMessage   `json:"args"`
	Data        []byte            `json:"data"` // In base64.
	Queue       string            `json:"queue"`
	Channel     string            `json:"channel"`
	Ordered     bool              `json:"ordered"`
	Priority    int               `json:"priority"`
	Delay       duration          `json:"delay"`
	RunAt       time.Time         `json:"run_at"`
	MaxAttempts int               `json:"max_attempts"`
	Backoff     backoff           `json:"backoff"`
	Unique      unique            `json:"unique"`
	Fingerprint string            `json:"fingerprint"`
	Headers     map[string]string `json:"headers"`
	Reserve     duration          `json:"reserve"`
	AfterOK     []pawl.ID         `json:"after_ok"`
	AfterAny    []pawl.ID         `json:"after_any"`
	AfterNotOK  []pawl.ID         `json:"after_not_ok"`
	KeepWaiting bool              `json:"keep_waiting"`
}

type backoff struct {
	Base   duration `json:"base"`
	Max    duration `json:"max"`
	Growth float64  `json:"growth"`
	Power  float64  `json:"power"`
	Jitter *float64 `json:"jitter"` // Nil for the default, 0 for none.
}

type unique struct {
	Key        string   `json:"key"`
	Period     duration `json:"period"`
	Global     bool     `json:"global"`
	UntilStart bool     `json:"until_start"`
	Replace    bool     `json:"replace"`
	Reschedule bool     `json:"reschedule"`
}

// duration is a number of seconds, or a text that flagvalue.ParseDuration reads.
type duration time.Duration

func (d *duration) UnmarshalJSON(text []byte) error {
	if bytes.Equal(text, []byte("null")) {
		return nil
	}
	var s string
	if json.Unmarshal(text, &s) != nil {
		s = string(text)
	}
	read, err := flagvalue.ParseDuration(s)
	*d = duration(read)
	return err
}

// JobSpec returns the job for pawl.Client.Insert.
func (s *Spec) JobSpec() pawl.JobSpec {
	args := []byte(s.Args)
	if bytes.Equal(args, []byte("null")) {
		args = nil
	}
	spec := pawl.JobSpec{
		Args: pawl.Raw(s.Kind, args), Data: s.Data, Queue: s.Queue, Channel: s.Channel, Ordered: s.Ordered,
		Priority: s.Priority, Delay: time.Duration(s.Delay), RunAt: s.RunAt, MaxAttempts: s.MaxAttempts,
		Fingerprint: s.Fingerprint, Headers: s.Headers,
		Backoff: pawl.Backoff{
			Base: time.Duration(s.Backoff.Base), Max: time.Duration(s.Backoff.Max), Growth: s.Backoff.Growth,
			Power: s.Backoff.Power,
		},
		Unique: pawl.Unique{
			Key: s.Unique.Key, Period: time.Duration(s.Unique.Period), Global: s.Unique.Global,
			UntilStart: s.Unique.UntilStart, Replace: s.Unique.Replace, Reschedule: s.Unique.Reschedule,
		},
		Reserve: time.Duration(s.Reserve), AfterOK: s.AfterOK, AfterAny: s.AfterAny, AfterNotOK: s.AfterNotOK,
		KeepWaiting: s.KeepWaiting,
	}
	if j := s.Backoff.Jitter; j != nil {
		spec.Backoff.Jitter, spec.Backoff.NoJitter = *j, *j == 0
	}
	return spec
}

// Parse reads a job from a line of JSON. Fields that the line leaves out keep the values of s.
func (s *Spec) Parse(text []byte) (Spec, error) {
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
			err = fmt.Errorf("%s: a %s is not valid here", wrong.Field, wrong.Value)
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
