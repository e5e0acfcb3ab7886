package pawl

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// ID names a job for ever; ids are never used again.
type ID int64

// IDs are several jobs.
type IDs []ID

// Args are a job's arguments: a struct that marshals to JSON.
type Args interface {
	Kind() string // Selects the handler. Must not depend on the value.
}

// Defaulter is optional on Args, on the type or its pointer: the kind's defaults, known wherever it is inserted. RawArgs have none.
// The Args of the defaults themselves mean nothing.
type Defaulter interface{ Defaults() JobSpec }

// RawArgs are args whose kind is known at run time only.
type RawArgs struct {
	JSON json.RawMessage // If nil, the job has no args.
	kind string
}

// Raw makes args of JSON; args may be nil.
func Raw(kind string, args []byte) RawArgs { return RawArgs{JSON: args, kind: kind} }

func (r RawArgs) Kind() string { return r.kind }

// JobSpec is a job to insert; itself an Args, so that Insert takes either. A template is a JobSpec value to copy.
// A zero field means "not set": then it is as the kind's Defaults say, else as Config.Defaults. Each field is taken whole, Headers
// too, and Delay and RunAt are one. So no call can set a default back to zero.
type JobSpec struct {
	Args        Args              // Raw(kind, nil) when there is only Data.
	Data        []byte            // Bytes beside or instead of args.
	Queue       string            // If zero, "default".
	Channel     string            // If zero, none.
	Priority    int               // Lower runs first, 0 is normal; -32768 to 32767.
	Delay       time.Duration     // Counts from the database's now.
	RunAt       time.Time         // Delay or RunAt; both is an error. A time gone by: at once.
	MaxAttempts int               // If zero, the queue's, else 20: about 8 hours of outage with the default backoff. At most 32767.
	Backoff     Backoff           // If zero, the kind's, else the queue's, else the default.
	Fingerprint string            // A label to find it by.
	Headers     map[string]string // Carried to the handler (tracing).

	Ordered bool          // One at a time within the channel, in the order of commits. Has no Priority.
	Unique  Unique        // The zero value: the job is not unique.
	Reserve time.Duration // Two-phase: held until Commit, gone if that does not come in time.

	AfterOK    []ID // Waits until all of these have completed,
	AfterAny   []ID // all of these have finished in any way,
	AfterNotOK []ID // all of these have died or were cancelled. Cancelled once that cannot be,
	Hold       bool // unless Hold: then it waits for the dead one to be retried, as long as that is kept.

	// Of a job taken over from elsewhere: how often it failed there, 0 to 32766, and how. The first run here is attempt Attempt + 1;
	// there is one even if MaxAttempts are used up. Of Errors the last ten are kept.
	Attempt int
	Errors  []AttemptError
}

// Unique is a key that only one job may have at a time: for as long as that job lives, scheduled, waiting for a retry or running.
// To insert another meanwhile is a success that puts in nothing: InsertResult.Duplicate is true and its ID is that of the job that
// has the key.
type Unique struct {
	Key        string
	Period     time.Duration // The key is taken so long from the insert in any case, whatever the retention (throttle).
	Global     bool          // Unique over all queues, not in its own.
	UntilStart bool          // Free again when the job starts, not when it finishes.
	Replace    bool          // A duplicate gives a waiting job of its kind its args, data and headers;
	Reschedule bool          // its time (debounce), if it has a Delay or RunAt.
}

// Kind is that of Args.
func (s JobSpec) Kind() string {
	if s.Args == nil {
		return ""
	}
	return s.Args.Kind()
}

// State is where a job is between insert and finish; see docs/states.md.
type State string

const (
	StateReserved  State = "reserved"  // Waits for Commit.
	StateWaiting   State = "waiting"   // Waits for other jobs: those before it in an ordered channel, or those it comes after.
	StateScheduled State = "scheduled" // Waits for its time.
	StateReady     State = "ready"     // May be taken now.
	StateRunning   State = "running"   // Held by a runner or a consumer.
	StateCompleted State = "completed"
	StateCancelled State = "cancelled"
	StateDead      State = "dead" // Out of attempts, poisonous or given up; kept apart to be looked at and retried.
)

// Job is what a handler gets.
type Job[T Args] struct {
	*JobInfo
	Args T
}

// JobInfo is any job, live or finished, held or only seen.
type JobInfo struct {
	ID          ID
	Batch       ID // It was inserted with; 0: none.
	Kind        string
	Queue       string
	Channel     string
	Fingerprint string
	Worker      string // Who runs or ran it.
	Args        json.RawMessage
	Data        []byte
	Checkpoint  json.RawMessage // What an attempt left for the next: see Client.Checkpoint.
	Result      json.RawMessage // What the handler returned: see HandleResult.
	Percent     int             // See Progress.
	Message     string
	Headers     map[string]string
	Priority    int
	Attempt     int // 1 in the first run; of a job not running, attempts used.
	MaxAttempts int
	Ordered     bool
	UniqueKey   string
	State       State
	Reason      string // Of a dead job: attempts, poison, handler, unprocessable.
	CreatedAt   time.Time
	RunAt       time.Time // When it became or becomes due; zero: when created.
	StartedAt   time.Time // By the database's clock.
	FinishedAt  time.Time
	LeaseUntil  time.Time      // By Held: when a consumer's lease ends; zero: with its worker.
	Errors      []AttemptError // Oldest first, the last ten.

	epoch     int32
	strikes   int16
	client    *Client // Of the runner whose handler has it.
	stepping  sync.Mutex
	steps     map[string]json.RawMessage // Results of steps done: see Step.
	lease     *lease
	before    *lease // That it was split from in a caller's transaction, which may be rolled back.
	waited    time.Duration
	claimed   time.Time       // By this process's clock, for durations.
	tied      bool            // Others wait for its end.
	permit    bool            // It counts against a limit until its handler has ended.
	result    json.RawMessage // Of the handler, checked; Result is everybody's to write.
	undecoded error           // Why Config.Codec could not read Args, which are as stored then.
	unstored  bool            // In no database: see pawltest.Work.
	answered  atomic.Bool     // Finished by hand, in a transaction that may not have committed.
}

// LogValue is the job as it is logged, by this library and with slog.With("job", job): its id, kind, queue, channel, attempt and worker; none of
// what it carries.
func (j *JobInfo) LogValue() slog.Value {
	if j == nil {
		return slog.Value{}
	}
	attrs := []slog.Attr{slog.Int64("id", int64(j.ID)), slog.String("kind", j.Kind), slog.String("queue", j.Queue)}
	if j.Channel != "" {
		attrs = append(attrs, slog.String("channel", j.Channel))
	}
	return slog.GroupValue(append(attrs, slog.Int("attempt", j.Attempt), slog.String("worker", j.Worker))...)
}

// AttemptError is why an attempt failed.
type AttemptError struct {
	Attempt int       `json:"attempt"`
	At      time.Time `json:"at"`
	Worker  string    `json:"worker"`
	Error   string    `json:"error"`
	Stack   string    `json:"stack,omitempty"`
}

// Jobs are jobs in the order they were claimed. Any slice of a Claim is Jobs again: client.Complete(ctx, jobs[:10]).
type Jobs []*JobInfo

// Held is what is finished, released or extended: *Job[T], *JobInfo, or Jobs.
type Held interface{ held() []*JobInfo }

func (j *JobInfo) held() []*JobInfo { return []*JobInfo{j} }
func (j Jobs) held() []*JobInfo     { return j }

// lease is one claimed batch: shared by its jobs, it goes with the last of them.
type lease struct {
	id     atomic.Pointer[string] // Changes when a consumer's Extend splits the batch.
	left   atomic.Int32           // Jobs not yet answered for.
	byHand bool                   // A consumer's.
}

// waitedAt is for how long the job had been due when its handler began.
func (j *JobInfo) waitedAt(began time.Time) time.Duration {
	return max(j.waited+began.Sub(j.claimed), 1)
}

type jobKey struct{}

// FromContext is, in a handler, its job; else nil.
func FromContext(ctx context.Context) *JobInfo {
	job, _ := ctx.Value(jobKey{}).(*JobInfo)
	return job
}

// opts are a job's rare settings as stored.
type opts struct {
	Backoff *storedBackoff    `json:"backoff,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`

	// Of ties; SQL asks for their presence.
	Ordered    bool `json:"ordered,omitempty"`
	Global     bool `json:"global,omitempty"`
	UntilStart bool `json:"until_start,omitempty"`
	Batch      ID   `json:"batch,omitempty"`
}

// row is a JobSpec as insert.sql takes it.
type row struct {
	queue, channel, kind string
	priority             int16
	args                 *string
	data                 []byte
	delay                *float64
	runAt                *time.Time
	attempts             *int16
	fingerprint          *string
	opts                 *string
	ties                 *ties // Of few.
}

const maxName = 255 // Bytes; an index entry has room for several of them.

// resolve adds the defaults to a job and checks it.
func (c *Client) resolve(index int, job Args) (row, error) {
	invalid := func(field, format string, args ...any) (row, error) {
		return row{}, &InvalidError{Index: index, Field: field, Reason: fmt.Sprintf(format, args...)}
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
	if spec.Queue == "" {
		spec.Queue = "default"
	}

	r := row{queue: spec.Queue, channel: spec.Channel, kind: spec.Args.Kind(), data: spec.Data}
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
	limit := c.config.Validation.ArgsBytes
	if limit == 0 {
		limit = 1 << 20
	}
	if len(args) > limit {
		return invalid("Args", "are %d bytes of JSON; at most %d (Config.Validation.ArgsBytes)", len(args), limit)
	}
	if len(spec.Data) > limit {
		return invalid("Data", "is %d bytes; at most %d (Config.Validation.ArgsBytes)", len(spec.Data), limit)
	}
	if reason := c.config.Validation.refuse(args); reason != "" {
		return invalid("Args", "%s", reason)
	}

	var o opts
	if spec.Backoff != (Backoff{}) {
		if err := spec.Backoff.check(); err != nil {
			return invalid("Backoff", "%v", err)
		}
		o.Backoff = spec.Backoff.stored()
	}
	if len(spec.Headers) > 0 {
		o.Headers = spec.Headers
	}
	if field, reason := c.resolveTies(&spec, &r, &o); field != "" {
		return invalid(field, "%s", reason)
	}
	if o.Backoff != nil || o.Headers != nil || r.ties != nil {
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

// over fills what s does not set from below.
func (s JobSpec) over(below JobSpec) JobSpec {
	if s.Data == nil {
		s.Data = below.Data
	}
	if s.Queue == "" {
		s.Queue = below.Queue
	}
	if s.Channel == "" {
		s.Channel = below.Channel
	}
	if s.Priority == 0 {
		s.Priority = below.Priority
	}
	if s.Delay == 0 && s.RunAt.IsZero() {
		s.Delay, s.RunAt = below.Delay, below.RunAt
	}
	if s.MaxAttempts == 0 {
		s.MaxAttempts = below.MaxAttempts
	}
	if s.Backoff == (Backoff{}) {
		s.Backoff = below.Backoff
	}
	if s.Fingerprint == "" {
		s.Fingerprint = below.Fingerprint
	}
	if s.Headers == nil {
		s.Headers = below.Headers
	}
	s.Ordered = s.Ordered || below.Ordered
	if s.Unique == (Unique{}) {
		s.Unique = below.Unique
	}
	if s.Reserve == 0 {
		s.Reserve = below.Reserve
	}
	if s.AfterOK == nil && s.AfterAny == nil && s.AfterNotOK == nil {
		s.AfterOK, s.AfterAny, s.AfterNotOK = below.AfterOK, below.AfterAny, below.AfterNotOK
	}
	s.Hold = s.Hold || below.Hold
	if s.Attempt == 0 {
		s.Attempt = below.Attempt
	}
	if s.Errors == nil {
		s.Errors = below.Errors
	}
	return s
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
