package pawl

import (
	"encoding/json"
	"errors"
	"reflect"
	"sync"
	"time"
)

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

	AfterOK     []ID // Waits until all of these have completed,
	AfterAny    []ID // all of these have finished in any way,
	AfterNotOK  []ID // all of these have died or were cancelled. Cancelled once that cannot be,
	KeepWaiting bool // unless Hold: then it waits for the dead one to be retried, as long as that is kept.

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

// over fills what s does not set from below.
func (s JobSpec) withDefaults(below JobSpec) JobSpec {
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
	s.KeepWaiting = s.KeepWaiting || below.KeepWaiting
	if s.Attempt == 0 {
		s.Attempt = below.Attempt
	}
	if s.Errors == nil {
		s.Errors = below.Errors
	}
	return s
}

// specOf is the job that Insert was given.
func specOf(job Args) (JobSpec, error) {
	switch j := job.(type) {
	case nil:
		return JobSpec{}, errors.New("is nil; want a struct with a Kind method, or Raw")
	case JobSpec:
		return j, nil
	case *JobSpec:
		if j == nil {
			return JobSpec{}, errors.New("is a nil *JobSpec")
		}
		return *j, nil
	}
	return JobSpec{Args: job}, nil
}

// fill adds the defaults: the kind's, then the client's.
func (c *Client) fill(spec JobSpec) JobSpec {
	if spec.Args == nil {
		spec.Args = c.config.Defaults.Args
	}
	if d := defaulter(spec.Args); d != nil {
		spec = spec.withDefaults(d.Defaults())
	}
	return spec.withDefaults(c.config.Defaults)
}

// byPointer says of a type of args whether its pointer alone has Defaults.
var byPointer sync.Map // reflect.Type: bool

// defaulter is who knows the defaults of args, nil if nobody. The Defaults of a pointer count for a plain value too: the kind
// is the same, and nothing would tell that they were passed over.
func defaulter(args Args) Defaulter {
	if d, ok := args.(Defaulter); ok || args == nil {
		return d
	}
	t := reflect.TypeOf(args)
	has, known := byPointer.Load(t)
	if !known {
		has = t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(reflect.TypeFor[Defaulter]())
		byPointer.Store(t, has)
	}
	if !has.(bool) {
		return nil
	}
	p := reflect.New(t)
	p.Elem().Set(reflect.ValueOf(args))
	return p.Interface().(Defaulter)
}
