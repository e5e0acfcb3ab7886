package pawl

import (
	"encoding/json"
	"errors"
	"reflect"
	"sync"
	"time"
)

// Args are the arguments of a job: a type that marshals to JSON, usually a struct.
//
// A type may also have the method
//
//	Defaults() JobSpec
//
// on itself or on its pointer. The returned [JobSpec] has the defaults for every insert of such args. Its field Args
// is ignored.
type Args interface {
	// Kind returns the name that selects the handler for these args. It must not depend on the value.
	Kind() string
}

// A defaulter is Args that have defaults.
type defaulter interface{ Defaults() JobSpec }

// RawArgs are args whose kind is known only at run time. [Raw] makes them. A handler of RawArgs gets the args as
// JSON.
type RawArgs struct {
	JSON json.RawMessage // JSON is the args. If nil, the job has none.
	kind string
}

// Raw returns args of a kind from their JSON. If args is nil, the job has no args.
func Raw(kind string, args []byte) RawArgs { return RawArgs{JSON: args, kind: kind} }

// Kind returns the kind that was given to Raw.
func (r RawArgs) Kind() string { return r.kind }

// A JobSpec is a job to insert: its args and settings. It implements [Args], so that [Client.Insert] takes either.
//
// If a field is zero, its value comes from the method Defaults of the args (see [Args]), or else from
// Config.Defaults. Headers are not merged: they come from one place. Delay and RunAt count as one field. A zero field
// cannot override a default.
type JobSpec struct {
	// Args are the arguments of the job and determine its kind. For a job with Data alone, use Raw(kind, nil).
	Args Args
	// Data is bytes that are stored with the job, beside args or instead of them. Their default limit is 1 MiB.
	Data []byte
	// Queue is the name of the job's queue, at most 255 bytes. It defaults to "default". A queue is created by its
	// first job.
	Queue string
	// Channel is a part of the queue, such as a tenant or an account: at most 255 bytes. Runners serve the channels
	// of a queue in turn. It defaults to the channel without a name.
	Channel string
	// Priority orders the jobs of a queue, -32768 to 32767. Lower runs first. It defaults to 0.
	Priority int
	// Delay is the time until the job is due, counted from the database's clock. It cannot be set together with RunAt.
	Delay time.Duration
	// RunAt is the time when the job is due. A time in the past means now.
	RunAt time.Time
	// MaxAttempts is the number of attempts before the job is dead, 1 to 32767. It defaults to Queue.MaxAttempts, which
	// defaults to 20. With the default backoff, 20 attempts take about 8 hours.
	MaxAttempts int
	// Backoff is the wait after a failed attempt. It defaults to KindOptions.Backoff, then to Queue.Backoff.
	Backoff Backoff
	// Fingerprint is a label of at most 255 bytes. Filter.Fingerprint finds the jobs that have it.
	Fingerprint string
	// Headers are for middleware and tracing. The handler gets them in JobInfo.
	Headers map[string]string

	// Ordered makes the ordered jobs of a channel run one at a time, in the order in which their inserts committed.
	// An ordered job has no Priority.
	Ordered bool
	// Unique gives the job a unique key. The zero value gives none.
	Unique Unique
	// Reserve keeps the job from running until CommitReserved. If that is not called within this time, the job is
	// removed.
	Reserve time.Duration

	// AfterOK, AfterAny and AfterNotOK are jobs that this job depends on. It is blocked until all jobs of AfterOK have
	// completed, all of AfterAny have finished in any way, and all of AfterNotOK are dead or cancelled. If that has
	// become impossible, the job is cancelled.
	AfterOK, AfterAny, AfterNotOK []ID
	// KeepWaiting keeps the job blocked if a job of AfterOK dies, so that the dead job can be retried. When the dead job
	// is deleted or its retention ends, this job is cancelled.
	KeepWaiting bool

	// Undo is the job that undoes the effects of this job. Only InsertSaga accepts it. It has no default.
	Undo *JobSpec

	// Attempt is the number of attempts that failed before the job was inserted, 0 to 32766. Set it for jobs that you
	// import from another queue: their first run is attempt Attempt + 1. The job runs at least once, even if Attempt is
	// not less than MaxAttempts.
	Attempt int
	// Errors are the errors of those attempts. The last ten are kept.
	Errors []AttemptError
}

// A Unique gives a job a unique key: at most one live job has the key at a time. If a live job has the key, an insert
// of another one inserts nothing and returns no error. Its InsertResult has Duplicate set and the ID of the job that
// has the key.
type Unique struct {
	// Key is the unique key, at most 255 bytes.
	Key string
	// Period is how long the key stays in use after the insert, even if the job finishes earlier. At most one job is
	// then inserted in each period (throttling). If zero, the key is free when the job finishes.
	Period time.Duration
	// Global makes the key unique among all queues. If false, it is unique within the queue.
	Global bool
	// UntilStart frees the key when the job starts instead of when it finishes.
	UntilStart bool
	// Replace makes a duplicate replace the args, data and headers of the job that has the key. It does so only if that
	// job has not started and has the same kind.
	Replace bool
	// Reschedule makes a duplicate with a Delay or RunAt move the job that has the key to that time (debouncing).
	Reschedule bool
}

// Kind returns the kind of Args, or "" if Args is nil.
func (s JobSpec) Kind() string {
	if s.Args == nil {
		return ""
	}
	return s.Args.Kind()
}

// withDefaults returns s with the fields that are not set taken from below.
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

// specOf returns the job that Insert was given as a JobSpec.
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

// fill returns spec with its defaults: those of its kind, then those of the client.
func (c *Client) fill(spec JobSpec) JobSpec {
	if spec.Args == nil {
		spec.Args = c.config.Defaults.Args
	}
	if d := defaulterOf(spec.Args); d != nil {
		spec = spec.withDefaults(d.Defaults())
	}
	return spec.withDefaults(c.config.Defaults)
}

// defaultsOfPointer holds, for each type of args, whether only its pointer has the method Defaults.
var defaultsOfPointer sync.Map // reflect.Type: bool

// defaulterOf returns args as a defaulter, or nil if their type has no defaults. The method Defaults of a pointer
// counts for a plain value too: both have the same kind, and the caller would not notice that the defaults were
// left out.
func defaulterOf(args Args) defaulter {
	if d, ok := args.(defaulter); ok || args == nil {
		return d
	}
	t := reflect.TypeOf(args)
	has, known := defaultsOfPointer.Load(t)
	if !known {
		has = t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(reflect.TypeFor[defaulter]())
		defaultsOfPointer.Store(t, has)
	}
	if !has.(bool) {
		return nil
	}
	p := reflect.New(t)
	p.Elem().Set(reflect.ValueOf(args))
	return p.Interface().(defaulter)
}
