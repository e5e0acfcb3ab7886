package pawl

import (
	"encoding/json"
	"maps"
	"math"
	"time"
)

// cronJob is the job of a cron, as the cron's row holds it: a JobSpec with its args marshalled and defaults applied.
type cronJob struct {
	Kind        string            `json:"kind"`
	Args        json.RawMessage   `json:"args,omitempty"`
	Data        []byte            `json:"data,omitempty"`
	Queue       string            `json:"queue"`
	Channel     string            `json:"channel,omitempty"`
	Priority    int16             `json:"priority,omitempty"`
	Delay       float64           `json:"delay,omitempty"` // Delay is in seconds.
	MaxAttempts *int16            `json:"max_attempts,omitempty"`
	Backoff     *storedBackoff    `json:"backoff,omitempty"`
	Fingerprint *string           `json:"fingerprint,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
	Constraints *constraintSpec   `json:"constraints,omitempty"`
	Global      bool              `json:"global,omitempty"`
	UntilStart  bool              `json:"until_start,omitempty"`
}

// cronJob returns the row of a checked JobSpec as the job of a cron.
func (r insertRow) cronJob() (cronJob, error) {
	j := cronJob{
		Kind: r.kind, Data: r.data, Queue: r.queue, Channel: r.channel, Priority: r.priority, MaxAttempts: r.attempts,
		Fingerprint: r.fingerprint, Constraints: r.constraints,
	}
	if r.args != nil {
		j.Args = json.RawMessage(*r.args)
	}
	if r.delay != nil {
		j.Delay = *r.delay
	}
	if r.opts != nil {
		var o jobOptions
		if err := json.Unmarshal([]byte(*r.opts), &o); err != nil {
			return j, err
		}
		j.Backoff, j.Headers, j.Global, j.UntilStart = o.Backoff, o.Headers, o.Global, o.UntilStart
	}
	return j, nil
}

// row returns the job of one tick, for insert. If runAt is nil, the job runs Delay after its insert.
func (j cronJob) row(name string, tick time.Time, runAt *time.Time) (insertRow, error) {
	r := insertRow{
		queue: j.Queue, channel: j.Channel, kind: j.Kind, priority: j.Priority, data: j.Data, runAt: runAt,
		attempts: j.MaxAttempts, fingerprint: j.Fingerprint,
	}
	if runAt == nil && j.Delay > 0 {
		r.delay = &j.Delay
	}
	if j.Args != nil {
		r.args = new(string(j.Args))
	}
	o := jobOptions{Backoff: j.Backoff, Headers: maps.Clone(j.Headers), Global: j.Global, UntilStart: j.UntilStart}
	if j.Constraints != nil {
		constraints := *j.Constraints // A copy, because the insert completes it for each row.
		r.constraints, o.Ordered = &constraints, constraints.Ordered
	}
	if o.Headers == nil {
		o.Headers = map[string]string{}
	}
	o.Headers[headerCron], o.Headers[headerTick] = name, tick.UTC().Format(time.RFC3339)
	b, err := json.Marshal(o)
	text := string(b)
	r.opts = &text
	return r, err
}

// spec returns the job as the JobSpec that it was made from. Its args are still encoded.
func (j cronJob) spec() JobSpec {
	s := JobSpec{
		Args: Raw(j.Kind, j.Args), Data: j.Data, Queue: j.Queue, Channel: j.Channel, Priority: int(j.Priority),
		Delay: j.delay(), Headers: j.Headers,
	}
	if j.MaxAttempts != nil {
		s.MaxAttempts = int(*j.MaxAttempts)
	}
	if j.Backoff != nil {
		s.Backoff = j.Backoff.backoff()
	}
	if j.Fingerprint != nil {
		s.Fingerprint = *j.Fingerprint
	}
	if c := j.Constraints; c != nil {
		s.Ordered, s.Attempt, s.Errors = c.Ordered, c.Attempt, c.Errors
		s.Unique = Unique{
			Key: c.Key, Period: seconds(c.Period), Global: j.Global, UntilStart: j.UntilStart,
			Replace: c.Replace, Reschedule: c.Reschedule,
		}
		for _, after := range c.After {
			ids := map[string]*[]ID{"ok": &s.AfterOK, "any": &s.AfterAny, "not_ok": &s.AfterNotOK}[after.On]
			*ids, s.KeepWaiting = append(*ids, after.ID), s.KeepWaiting || after.KeepWaiting
		}
	}
	return s
}

func (j cronJob) delay() time.Duration { return seconds(j.Delay) }

// seconds turns a number of seconds from the database into a duration, rounded to nanoseconds.
func seconds(s float64) time.Duration { return time.Duration(math.Round(s * float64(time.Second))) }
