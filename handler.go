package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// A Mux maps kinds to handlers. The zero value is ready to use. Register all handlers before Run.
type Mux struct {
	handlers   map[string]*handler
	middleware []Middleware
}

// Middleware runs around a handler. It may read the job, change the context, and read and change what next returns.
// If the handler panics, next returns a *PanicError.
type Middleware func(ctx context.Context, job *JobInfo, next func(context.Context) error) error

// Use adds middleware around every handler. The first one is the outermost.
func (m *Mux) Use(middleware ...Middleware) { m.middleware = append(m.middleware, middleware...) }

// KindOptions are options of a handler. The zero value is ready to use.
type KindOptions struct {
	// Kind is the kind of the jobs. It defaults to the kind of T; a handler of RawArgs needs it. "*" stands for
	// every kind that has no handler of its own.
	Kind string
	// Aliases are former names of the kind. The handler also runs jobs that were inserted with them.
	Aliases []string
	// Timeout is the time for one attempt. The handler's context then ends with ErrTimeout. If zero, there is no
	// timeout.
	Timeout time.Duration
	// Max is the number of jobs of the kind that run at the same time in this process. If zero, only the runner's
	// limit counts.
	Max int
	// Chunk is the largest number of jobs that HandleChunk gets at once. It defaults to 100.
	Chunk int
	// Backoff is the wait after a failed attempt of a job that has no Backoff of its own. It defaults to the queue's.
	Backoff Backoff
	// Delay, if not nil, returns the wait after a failed attempt. If it returns 0, Backoff counts.
	Delay func(job *JobInfo, err error) time.Duration
	// Permit, if not nil, is called before the handler and may block. The function that it returns, if not nil, is
	// called after the handler. If Permit returns an error, the handler is not called, and the error is taken as
	// the handler's: with Snooze the job runs again later and no attempt is used.
	Permit func(ctx context.Context, job *JobInfo) (release func(), err error)
	// Use is middleware for this kind, inside that of Mux.Use. The first one is the outermost.
	Use []Middleware
}

type handler struct {
	run  func(ctx context.Context, job *JobInfo) error
	many func(ctx context.Context, jobs []*JobInfo) error // Set by HandleChunk instead of run.
	opts KindOptions
	slot chan struct{} // Has opts.Max places. If nil, there is no limit.
}

// Handle registers the handler of T's kind. It panics if the kind has a handler already, or if the kind is not known.
//
// What the handler returns decides what becomes of the job. If it returns nil, the job is completed. If it returns
// an error or panics, the attempt has failed: the job runs again after a backoff, until its attempts are used up
// and it is dead. Snooze, RetryAfter, Cancel, Dead and ErrSkip mean something else, also if they are wrapped. If
// the args do not decode into T, the job is dead at once with the reason "unprocessable".
//
// The handler's context has the values of the context that was passed to Run. It ends with one of these causes
// (context.Cause): ErrCancelled, ErrLeaseLost, ErrTimeout or ErrShutdown.
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

// HandleResult is Handle for a handler that returns a result. The result is kept with the finished job as JSON, in
// JobInfo.Result, for as long as the job is kept. If the result does not marshal to JSON, or is larger than 1 MiB,
// the attempt has failed.
func HandleResult[T Args, R any](mux *Mux, handle func(context.Context, *Job[T]) (R, error), options ...KindOptions) {
	const most = 1 << 20
	Handle(mux, func(ctx context.Context, job *Job[T]) error {
		result, err := handle(ctx, job)
		if err != nil && !errors.Is(err, ErrSkip) {
			return err
		}
		b, e := json.Marshal(result)
		if e != nil {
			return fmt.Errorf("pawl: store result: it does not marshal to JSON: %w", e)
		}
		if reason := checkJSON(b); reason != "" {
			return fmt.Errorf("pawl: store result: its values %s", reason)
		}
		if n := writtenOut(b); n > most {
			return fmt.Errorf("pawl: store result: it is %d bytes of JSON with its numbers written out: at most %d", n, most)
		}
		job.Result, job.result = b, b
		return err
	}, options...)
}

// HandleChunk is Handle for a handler that gets several jobs of its kind at once: up to KindOptions.Chunk of those
// that the runner has claimed when the first of them starts. It does not wait for more. If the handler returns nil,
// all jobs are completed. If only some failed, it returns a JobErrors with an outcome for each of these. Any other
// error counts for all jobs.
//
// The context ends when it has ended for every job of the chunk, or at the timeout, which counts for the whole
// chunk. Middleware and Permit are called once, with the first job.
func HandleChunk[T Args](mux *Mux, handle func(context.Context, []*Job[T]) error, options ...KindOptions) {
	h := newHandler[T](options)
	if h.opts.Chunk == 0 {
		h.opts.Chunk = 100
	}
	if h.opts.Chunk < 1 {
		panic("pawl: register handler of kind " + h.opts.Kind + ": KindOptions.Chunk is negative: want 0 or more")
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
			some, each := jobErrors(err)
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
		panic(fmt.Sprintf("pawl: register handler of %T: the kind is not known: set KindOptions.Kind", *new(T)))
	}
	if err := o.Backoff.check(); err != nil {
		panic("pawl: register handler of kind " + o.Kind + ": Backoff: " + err.Error())
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
			panic("pawl: register handler: kind " + kind + " has a handler already")
		}
		m.handlers[kind] = h
	}
}

// kindOf returns the kind of T's zero value, or "" if the method Kind panics on it. If T is a pointer, it points to
// a zero value.
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

// anyKind is the Kind of the handler for kinds without a handler of their own.
const anyKind = "*"

// handler returns the handler of a kind, or nil.
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

// call runs a handler with its permit, timeout and middleware. It returns a panic as a *PanicError.
func (m *Mux) call(ctx context.Context, h *handler, jobs ...*JobInfo) (err error) {
	job := jobs[0]
	if h.opts.Permit != nil {
		var release func()
		refusal := caught(func() (err error) { release, err = h.opts.Permit(ctx, job); return err })
		if release != nil {
			defer func() {
				if p := guarded(func() error { release(); return nil }); p != nil && err == nil {
					err = p
				}
			}()
		}
		if refusal != nil {
			return refusal
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

// Kinds returns the kinds that have a handler, former names too, sorted. Among them is "*" if a handler takes every
// other kind.
func (m *Mux) Kinds() []string { return slices.Sorted(maps.Keys(m.handlers)) }

// Work runs the handler of a job's kind, in the calling goroutine, and returns what the handler returned. A panic
// is returned as a *PanicError. Permit, Max, Timeout and middleware apply as in a runner. It returns an error if
// there is no handler.
//
// Work does not change the state of the job. If it returns nil, call Client.Complete; otherwise call Client.Fail.
//
// The job is one that Claim returned. It may also be a JobInfo that was made without a database, for instance in a
// test: then Progress, Checkpoint and Step store nothing. See package pawltest.
func (m *Mux) Work(ctx context.Context, job *JobInfo) error {
	h := m.handler(job.Kind)
	if h == nil {
		return fmt.Errorf("pawl: run job %d: no handler for kind %q: register one with Handle; the mux has %q",
			job.ID, job.Kind, m.Kinds())
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
	if each, ok := jobErrors(err); ok && h.many != nil {
		err = each[job.ID]
	}
	return err
}
