package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"
)

// A Mux maps kinds to handlers. The zero value is ready to use. [Handle] registers a handler. Register all handlers
// before [Client.Run].
type Mux struct {
	handlers   map[string]*handler
	middleware []Middleware
}

// A Middleware is a function that runs around a handler. It calls next to run the handler and returns the error that
// decides the outcome. It may pass another context to next and may change the error that next returns. If the handler
// panics, next returns a [*PanicError].
type Middleware func(ctx context.Context, job *JobInfo, next func(context.Context) error) error

// Use adds middleware around every handler. The first one is the outermost.
func (m *Mux) Use(middleware ...Middleware) { m.middleware = append(m.middleware, middleware...) }

// KindOptions configures the handler of a kind. The zero value is ready to use.
type KindOptions struct {
	// Kind is the kind of the handler's jobs. It defaults to the kind of the handler's args type. A handler of RawArgs
	// must set it. The kind "*" stands for every kind without a handler of its own.
	Kind string
	// Aliases are former names of the kind. The handler also runs jobs that were inserted with them.
	Aliases []string
	// Timeout is the longest time for one attempt. After it the handler's context ends with ErrTimeout. If the handler
	// does not return, it is stuck: see RunnerConfig.StuckAfter. If zero, there is no timeout.
	Timeout time.Duration
	// Max is the number of jobs of the kind that this process runs at once. If zero, only the runner's limit applies.
	Max int
	// ReplaceStuck is how many stuck handlers of the kind may be replaced in this process. A handler is stuck if it has
	// not returned RunnerConfig.StuckAfter after the end of its context. It keeps its place in RunnerConfig.Max,
	// RunnerQueue.Max, Max and the limits of its queue. A handler that is replaced leaves these places to other jobs,
	// although it still runs. If zero, none is replaced.
	ReplaceStuck int
	// Chunk is the largest number of jobs that HandleChunk passes to one call of the handler. It defaults to 100.
	Chunk int
	// Backoff applies to jobs that have no Backoff of their own. It defaults to Queue.Backoff.
	Backoff Backoff
	// Delay, if not nil, returns the time until the next attempt. If it returns 0, the backoff applies.
	Delay func(job *JobInfo, err error) time.Duration
	// Permit, if not nil, is called before the handler and may block. If it returns a function, that is called after the
	// handler. If it returns an error, the handler is not called, and the error decides the outcome as if the handler
	// had returned it. For example, Snooze makes the job run again later without using an attempt.
	Permit func(ctx context.Context, job *JobInfo) (release func(), err error)
	// Use is middleware for this kind. It runs inside the middleware of Mux.Use. The first function is the outermost.
	Use []Middleware
}

type handler struct {
	run  func(ctx context.Context, job *JobInfo) error
	many func(ctx context.Context, jobs []*JobInfo) error // Set by HandleChunk instead of run.
	opts KindOptions
	slot chan struct{} // Has opts.Max places. If nil, there is no limit.

	replaced atomic.Int32 // How many stuck calls of it are replaced.
	breaker  breaker      // Of opts.Delay.
}

// Handle registers handle as the handler of T's kind in mux. It panics if the kind already has a handler or if T does
// not tell the kind. It uses at most one KindOptions.
//
// If the handler returns nil, the job is completed. If it returns an error or panics, the attempt has failed. The job
// then runs again after a [Backoff]. When its attempts are used up, it is dead. The errors of [Snooze], [RetryAfter],
// [Cancel] and [Dead], and [ErrSkip], choose another outcome, even if they are wrapped. If the args do not decode
// into T, the job is dead at once with the reason "unprocessable".
//
// The handler's context has the values of the context that was passed to [Client.Run]. If it ends while the handler
// runs, [context.Cause] returns [ErrCancelled], [ErrLeaseLost], [ErrTimeout] or ErrShutdown.
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

// HandleResult is like [Handle] for a handler that returns a result. The result is stored as JSON with the finished
// job, in JobInfo.Result. If the result does not marshal to JSON or is larger than 1 MiB, the attempt has failed.
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
		n, reason := scanJSON(b)
		if reason != "" {
			return fmt.Errorf("pawl: store result: its values %s", reason)
		}
		if n > most {
			return fmt.Errorf("pawl: store result: it is %d bytes of JSON with its numbers written out: at most %d", n, most)
		}
		job.Result, job.result = b, b
		return err
	}, options...)
}

// HandleChunk is like [Handle] for a handler that gets several jobs of its kind in one call. When a job starts, the
// handler gets it and the jobs of the kind that the runner has already claimed, up to KindOptions.Chunk. The runner
// does not wait for more jobs.
//
// If the handler returns nil, all jobs are completed. If it returns a [JobErrors], each job in it gets its own
// outcome and the other jobs are completed. Any other error applies to all jobs.
//
// KindOptions.Timeout applies to the whole call. The context ends at the timeout, or earlier if each of the jobs is
// cancelled or has lost its lease. Middleware and Permit are called once, with the first job.
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
	if o.ReplaceStuck < 0 {
		panic("pawl: register handler of kind " + o.Kind + ": KindOptions.ReplaceStuck is negative: want 0 or more")
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

// call runs a handler with its permit, timeout and middleware. It returns a panic as a *PanicError. It records in
// where, which is nil outside of a runner, when the timeout ends.
func (m *Mux) call(ctx context.Context, where *handlerCall, h *handler, jobs ...*JobInfo) (err error) {
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
		deadline, _ := ctx.Deadline()
		where.endAt(deadline)
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

// Kinds returns the sorted kinds that have a handler, including their aliases. It contains "*" if a handler runs all
// other kinds.
func (m *Mux) Kinds() []string { return slices.Sorted(maps.Keys(m.handlers)) }

// Work runs the handler of a job's kind in the calling goroutine and returns the handler's error. If the handler
// panics, Work returns a [*PanicError]. Permit, Max, Timeout and middleware apply as in a runner. Work also returns
// an error if the mux has no handler for the kind.
//
// Work does not change the state of the job. If it returns nil, call [Client.Complete], otherwise [Client.Fail].
//
// Get the job from [Client.Claim]. In a test you can also make a [JobInfo] without a database; Progress, Checkpoint
// and Step then store nothing. See package pawltest.
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
		inContext = nil // As in a runner: JobFromContext returns nil in a chunk.
	}
	err := m.call(context.WithValue(ctx, jobKey{}, inContext), nil, h, job)
	if each, ok := jobErrors(err); ok && h.many != nil {
		err = each[job.ID]
	}
	return err
}
