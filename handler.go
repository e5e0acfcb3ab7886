package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"time"
)

// Mux leads kinds to handlers. The zero Mux is ready to use. Register everything before Run.
type Mux struct {
	handlers   map[string]*handler
	middleware []Middleware
}

// Middleware runs around a handler: it may look at the job, change the context, look at and change what next returns.
// A panic of the handler is a *PanicError to it.
type Middleware func(ctx context.Context, job *JobInfo, next func(context.Context) error) error

// Use puts middleware around every handler, the first outermost.
func (m *Mux) Use(middleware ...Middleware) { m.middleware = append(m.middleware, middleware...) }

// KindOptions are for Handle; the zero value works.
type KindOptions struct {
	Kind    string        // If zero, T's (needed for RawArgs). "*": every kind without a handler of its own.
	Aliases []string      // Former names.
	Timeout time.Duration // Of one attempt: then its context ends with ErrTimeout. If zero, none.
	Max     int           // Running at once in this process. If zero, the runner's.
	Chunk   int           // Most jobs for HandleChunk at once. If zero, 100.
	Backoff Backoff       // Where the job has none of its own. If zero, the queue's.
	// Delay, if not nil, computes the wait after a failed attempt; 0 falls back to Backoff.
	Delay func(job *JobInfo, err error) time.Duration
	// Permit, if not nil, is asked before the handler and may wait; release, if not nil, is called after it. Its error is taken as the
	// handler's: with Snooze the job comes again later, no attempt used; nothing burns an attempt for congestion.
	Permit func(ctx context.Context, job *JobInfo) (release func(), err error)
	Use    []Middleware // Inside those of Mux.Use.
}

type handler struct {
	run  func(ctx context.Context, job *JobInfo) error
	many func(ctx context.Context, jobs []*JobInfo) error // Of HandleChunk, instead of run.
	opts KindOptions
	slot chan struct{} // Opts.Max places; nil: no limit.
}

// Handle registers the handler of T's kind. It panics when the kind has one already, or none can be told: a mistake to find at start.
//
// What the handler returns decides: nil completes; an error or a panic is a failed attempt, tried again after a backoff until
// the attempts are used up and the job is dead; Snooze, RetryAfter, Cancel, Dead and Skip say something else, through any
// wrapping. Args that do not decode into T make the job dead, "unprocessable".
//
// A handler's context ends with a cause: ErrCancelled, ErrLeaseLost, ErrTimeout or ErrShutdown. It has the values of Run's
// context, where shared things may be put.
func Handle[T Args](mux *Mux, handle func(context.Context, *Job[T]) error, options ...KindOptions) {
	h := newHandler[T](options)
	h.run = func(ctx context.Context, info *JobInfo) error {
		job := &Job[T]{JobInfo: info}
		if err := decodeArgs(info, &job.Args); err != nil {
			return &unprocessable{err}
		}
		return handle(ctx, job)
	}
	mux.register(h)
}

// HandleResult is Handle for a handler with a result: what it returns is kept as JSON with the finished job, for as long as that is
// kept, in JobInfo.Result. A result that does not marshal is a failed attempt; one beyond 1 MiB too.
func HandleResult[T Args, R any](mux *Mux, handle func(context.Context, *Job[T]) (R, error), options ...KindOptions) {
	const most = 1 << 20
	Handle(mux, func(ctx context.Context, job *Job[T]) error {
		result, err := handle(ctx, job)
		if err != nil && !errors.Is(err, ErrSkip) {
			return err
		}
		b, e := json.Marshal(result)
		if e != nil {
			return fmt.Errorf("pawl: the handler's result does not marshal to JSON: %w", e)
		}
		if reason := checkJSON(b); reason != "" {
			return fmt.Errorf("pawl: strings of the handler's result %s", reason)
		}
		if len(b) > most {
			return fmt.Errorf("pawl: the handler's result is %d bytes of JSON; at most %d", len(b), most)
		}
		job.Result, job.result = b, b
		return err
	}, options...)
}

// HandleChunk is Handle for a handler that gets up to KindOptions.Chunk jobs of its kind at once: those a runner holds when it
// comes to the first of them, so never more than its Max, with no waiting for more. Return nil when all succeeded, Errors when only some failed, each with its
// own outcome; any other error is that of all.
//
// The context ends when it does for every job of the chunk, and at the timeout, which is that of the chunk. Middleware and Permit
// are called once, with the first job.
func HandleChunk[T Args](mux *Mux, handle func(context.Context, []*Job[T]) error, options ...KindOptions) {
	h := newHandler[T](options)
	if h.opts.Chunk == 0 {
		h.opts.Chunk = 100
	}
	if h.opts.Chunk < 1 {
		panic("pawl: HandleChunk of " + h.opts.Kind + ": KindOptions.Chunk is negative")
	}
	h.many = func(ctx context.Context, infos []*JobInfo) error {
		jobs := make([]*Job[T], 0, len(infos))
		failed := JobErrors{}
		for _, info := range infos {
			job := &Job[T]{JobInfo: info}
			if err := decodeArgs(info, &job.Args); err != nil {
				failed[info.ID] = &unprocessable{err}
				continue
			}
			jobs = append(jobs, job)
		}
		if len(jobs) > 0 {
			err := caught(func() error { return handle(ctx, jobs) })
			some, each := errors.AsType[JobErrors](err)
			for _, job := range jobs {
				switch {
				case each && some[job.ID] != nil:
					failed[job.ID] = some[job.ID]
				case !each && err != nil:
					failed[job.ID] = err
				}
			}
		}
		if len(failed) == 0 {
			return nil
		}
		return failed
	}
	mux.register(h)
}

func newHandler[T Args](options []KindOptions) *handler {
	var o KindOptions
	if len(options) > 0 {
		o = options[0]
	}
	if o.Kind == "" {
		o.Kind = kindOf[T]()
	}
	if o.Kind == "" {
		panic(fmt.Sprintf("pawl: Handle[%T]: the kind is not known: set KindOptions.Kind", *new(T)))
	}
	if err := o.Backoff.check(); err != nil {
		panic("pawl: Handle of " + o.Kind + ": Backoff: " + err.Error())
	}
	h := &handler{opts: o}
	if o.Max > 0 {
		h.slot = make(chan struct{}, o.Max)
	}
	return h
}

func (m *Mux) register(h *handler) {
	if m.handlers == nil {
		m.handlers = map[string]*handler{}
	}
	for _, kind := range append([]string{h.opts.Kind}, h.opts.Aliases...) {
		if _, taken := m.handlers[kind]; taken {
			panic("pawl: Handle: kind " + kind + " has a handler already")
		}
		m.handlers[kind] = h
	}
}

// kindOf asks T's zero value, made first where T is a pointer.
func kindOf[T Args]() (kind string) {
	var zero T
	defer func() {
		if recover() != nil {
			kind = ""
		}
	}()
	if json.Unmarshal([]byte("{}"), &zero) != nil {
		zero = *new(T)
	}
	return zero.Kind()
}

// anyKind is the Kind of a handler for all that have none.
const anyKind = "*"

// handler is that of a kind; nil: none.
func (m *Mux) handler(kind string) *handler {
	if h, ok := m.handlers[kind]; ok {
		return h
	}
	return m.handlers[anyKind]
}

func decodeArgs(info *JobInfo, args any) error {
	if info.undecoded != nil {
		return info.undecoded
	}
	if raw, ok := args.(*RawArgs); ok {
		*raw = RawArgs{JSON: info.Args, kind: info.Kind}
		return nil
	}
	if len(info.Args) == 0 {
		return nil
	}
	return json.Unmarshal(info.Args, args)
}

// call runs a handler with its middleware and timeout; a panic comes out as *PanicError.
func (m *Mux) call(ctx context.Context, h *handler, jobs ...*JobInfo) error {
	job := jobs[0]
	if h.opts.Permit != nil {
		var release func()
		err := caught(func() (err error) { release, err = h.opts.Permit(ctx, job); return err })
		if release != nil {
			defer release()
		}
		if err != nil {
			return err
		}
	}
	if h.opts.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, h.opts.Timeout, ErrTimeout)
		defer cancel()
	}
	next := func(ctx context.Context) error {
		return caught(func() error {
			if h.many != nil {
				return h.many(ctx, jobs)
			}
			return h.run(ctx, job)
		})
	}
	if len(m.middleware)+len(h.opts.Use) == 0 {
		return next(ctx)
	}
	wrap := func(middleware Middleware, inner func(context.Context) error) func(context.Context) error {
		return func(ctx context.Context) error {
			return caught(func() error { return middleware(ctx, job, inner) })
		}
	}
	for i := len(h.opts.Use) - 1; i >= 0; i-- {
		next = wrap(h.opts.Use[i], next)
	}
	for i := len(m.middleware) - 1; i >= 0; i-- {
		next = wrap(m.middleware[i], next)
	}
	return next(ctx)
}

// Kinds returns the kinds that have a handler, former names too, sorted. Among them is "*" if a handler takes every other kind.
func (m *Mux) Kinds() []string { return slices.Sorted(maps.Keys(m.handlers)) }

// Work runs the handler of a job's kind, in the calling goroutine, and returns what the handler returned. A panic is returned as a
// *PanicError. Permit, Max, Timeout and middleware apply as in a runner. It returns an error if there is no handler.
//
// Work does not change the state of the job. If it returns nil, call Client.Complete; otherwise call Client.Fail.
//
// The job is one that Claim returned. It may also be a JobInfo that was made without a database, for instance in a test: then Progress,
// Checkpoint and Step store nothing. See package pawltest.
func (m *Mux) Work(ctx context.Context, job *JobInfo) error {
	h := m.handler(job.Kind)
	if h == nil {
		return fmt.Errorf("pawl: run job %d: no handler for kind %q: register one with Handle; the mux has %q", job.ID, job.Kind, m.Kinds())
	}
	if h.slot != nil {
		select {
		case h.slot <- struct{}{}:
			defer func() { <-h.slot }()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	job.handler, job.inMemory = h, job.lease == nil
	inContext := job
	if h.many != nil {
		inContext = nil // As in a runner, where the handler has more jobs than one.
	}
	err := m.call(context.WithValue(ctx, jobKey{}, inContext), h, job)
	if each, ok := errors.AsType[JobErrors](err); ok && h.many != nil {
		err = each[job.ID]
	}
	return err
}

// caught turns a panic into a *PanicError.
func caught(do func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: string(debug.Stack())}
		}
	}()
	return do()
}
