package pawl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/pawlhq/pawl/pawlstate"
)

// RunnerConfig is for Run; its zero value works.
type RunnerConfig struct {
	Queues        map[string]RunnerQueue // If nil, every queue, also later ones.
	Min, Max      int                    // Claims when fewer than Min run, up to Max. If zero: 16, 32. With Max alone, Min is half of it.
	Name          string                 // Of the worker. If zero, host:pid.
	Heartbeat     time.Duration          // If zero, 3 s; at least 100 ms. A worker is stale after three.
	PollInterval  time.Duration          // Longest time without looking. If zero, 1 s.
	DrainTimeout  time.Duration          // Then contexts end with ErrShutdown. If zero, 30 s.
	NoMaintenance bool                   // Leaves rescue, cron and retention to others: see Tend.
	// OnFailure, if not nil, is told of every attempt that did not succeed; final: there will be no other.
	OnFailure func(ctx context.Context, job *JobInfo, err error, final bool)
}

// RunnerQueue is a runner's share of a queue.
type RunnerQueue struct {
	Weight int // If zero, 1.
	Max    int // Running at once. If zero, no maximum of its own.
}

func (rc *RunnerConfig) fill() error {
	if rc.Max == 0 {
		rc.Max = 32
		if rc.Min > rc.Max {
			rc.Max = rc.Min
		}
	}
	if rc.Min == 0 {
		rc.Min = (rc.Max + 1) / 2
	}
	if rc.Min < 1 || rc.Max < rc.Min {
		return fmt.Errorf("pawl: RunnerConfig: Min %d, Max %d: want 1 ≤ Min ≤ Max", rc.Min, rc.Max)
	}
	if rc.Queues != nil && len(rc.Queues) == 0 {
		return errors.New("pawl: RunnerConfig.Queues is empty: nil is every queue")
	}
	for name, q := range rc.Queues {
		if name == "" || q.Weight < 0 || q.Max < 0 {
			return fmt.Errorf("pawl: RunnerConfig.Queues[%q]: want a name, and Weight and Max not negative", name)
		}
	}
	if rc.Heartbeat == 0 {
		rc.Heartbeat = 3 * time.Second
	}
	if rc.PollInterval == 0 {
		rc.PollInterval = time.Second
	}
	if rc.DrainTimeout == 0 {
		rc.DrainTimeout = 30 * time.Second
	}
	if rc.Heartbeat < 100*time.Millisecond || rc.PollInterval < time.Millisecond || rc.DrainTimeout < 0 {
		return errors.New("pawl: RunnerConfig: Heartbeat below 100 ms, PollInterval below 1 ms or DrainTimeout negative")
	}
	if rc.Name == "" {
		host, _ := os.Hostname()
		rc.Name = fmt.Sprintf("%s:%d", host, os.Getpid())
	}
	return nil
}

// runner is one Run: a loop that claims, a goroutine a running job, a finisher, a heartbeat, a sleeper and the chores.
type runner struct {
	client *Client // With connections of its own.
	public *Client // What Run was called on: for what handlers ask.
	mux    *Mux
	config RunnerConfig
	log    *slog.Logger
	queues []string // nil: all
	base   context.Context
	finish *finisher
	sleep  *sleeper
	lanes  *lanes // Of the claim loop alone.

	mu           sync.Mutex
	worker       int64
	started      time.Time      // As its row has it.
	firstRunning *running       // The first of a list: a map cost a tenth of the client's time.
	count        int            // Running handlers and those waiting for a slot of their kind.
	perQueue     map[string]int // The same by queue, where queues are chosen.
	suspect      bool           // One of them is a suspect.
	crashed      int            // Of them have a strike.
	freed        chan struct{}  // A job ended and there is room again.
	jobs         sync.WaitGroup
	leases       map[string]*lease // This worker's, by id; nil while the claim is under way.
	pending      []*running        // Claimed, no goroutine yet.
	idle         int               // Goroutines that wait for tasks.
	tasks        chan struct{}
	permits      chan struct{}      // One was given back by this process.
	drain        chan struct{}      // Closed when ctx ends: what has not started is given back.
	state        string             // What the worker was last told to be.
	stateChanged chan struct{}      // Closed, and replaced, when state changes.
	suspend      context.CancelFunc // Ends the claim loop, as long as the worker is told so;
	stop         context.CancelFunc // Run, but for its drain.
}

type running struct {
	job    *JobInfo
	ctx    context.Context
	cancel context.CancelCauseFunc
	since  time.Time

	next, previous *running
}

// Run claims jobs and runs their handlers until ctx ends. Then it claims no more, gives back what has not started, and waits for
// running handlers up to DrainTimeout; after that their contexts end with ErrShutdown, and jobs of handlers that return an error
// then are given back without an attempt used. It returns nil if all ended in time. StopWorker does the same from elsewhere.
//
// It outlives an outage of the database: it keeps what it could not deliver, tries again with growing waits, and delivers
// later what is still its own.
func (c *Client) Run(ctx context.Context, mux *Mux, config RunnerConfig) error {
	if err := c.requirePool("Run"); err != nil {
		return err
	}
	if err := config.fill(); err != nil {
		return err
	}
	if mux == nil || len(mux.handlers) == 0 {
		return errors.New("pawl: Run: the mux has no handler: register one with Handle")
	}
	if err := c.checkSchema(ctx); err != nil {
		return err
	}
	// Connections of the runner's own: handlers may take every one of the pool's, and then a worker that could not get one for
	// its heartbeat would be taken for dead.
	own, err := c.clonePool(ctx)
	if err != nil {
		return fmt.Errorf("pawl: run: %w", err)
	}
	defer own.pool.Close()
	public := c
	c = own
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	r := &runner{
		client: c, public: public, mux: mux, config: config, log: c.config.Logger, leases: map[string]*lease{}, perQueue: map[string]int{},
		lanes: &lanes{}, freed: make(chan struct{}, 1), drain: make(chan struct{}), tasks: make(chan struct{}), permits: make(chan struct{}, 1),
		state: workerReady, stateChanged: make(chan struct{}), suspend: func() {}, stop: stop,
	}
	r.lanes.reset()
	if config.Queues != nil {
		r.queues = slices.Sorted(maps.Keys(config.Queues))
	}
	r.base = context.WithoutCancel(ctx)
	defer r.cancelContexts(ErrShutdown, func(*running) bool { return true })
	delivering, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	r.finish = &finisher{client: c, ctx: delivering, worker: config.Name, idle: make(chan struct{}, 1)}
	r.finish.onResult = r.report
	r.finish.followups.freed = func() {
		select {
		case r.permits <- struct{}{}:
		default:
		}
	}
	r.sleep = newSleeper(c, r.queues)
	if err := r.register(ctx); err != nil {
		return fmt.Errorf("pawl: register worker: %w", err)
	}

	var around sync.WaitGroup
	alive, rest := context.WithCancel(context.WithoutCancel(ctx))
	defer around.Wait()
	defer rest()
	around.Go(func() { r.sleep.run(alive) })
	around.Go(func() { r.heartbeat(alive) })
	if !config.NoMaintenance {
		around.Go(func() { c.maintain(ctx, config.Heartbeat) })
	}

	r.claimWhileReady(ctx)
	close(r.drain)
	return r.end(giveUp)
}

// end drains: handlers, then their answers, then the worker's row.
func (r *runner) end(giveUp context.CancelFunc) error {
	ended := make(chan struct{})
	go func() {
		r.jobs.Wait()
		close(ended)
	}()
	deadline := time.NewTimer(r.config.DrainTimeout)
	defer deadline.Stop()
	select {
	case <-ended:
	case <-deadline.C:
		r.cancelContexts(ErrShutdown, func(*running) bool { return true })
		grace := time.NewTimer(time.Second)
		defer grace.Stop()
		select {
		case <-ended:
		case <-grace.C:
		}
	}
	var err error
	r.mu.Lock()
	var left []attemptResult
	for run := r.firstRunning; run != nil; run = run.next {
		left = append(left, attemptResult{job: run.job, verb: "release", delay: new(float64)})
	}
	r.mu.Unlock()
	finishing, cancel := context.WithTimeout(r.finish.ctx, max(r.config.DrainTimeout, 5*time.Second))
	defer cancel()
	if len(left) > 0 {
		// The handlers go on, but their jobs are not theirs any more: with a new epoch nothing they answer counts.
		became, releaseErr := r.client.finishLocking(finishing, left, r.config.Name, nil)
		if releaseErr == nil {
			r.client.counters.finished(left, func(id ID) string { what, _ := became.of(id); return what })
		}
		err = errors.Join(fmt.Errorf("pawl: %d handlers did not end within the drain timeout of %v; their jobs were given back",
			len(left), r.config.DrainTimeout), releaseErr)
	}
	if waitErr := r.finish.wait(finishing); waitErr != nil {
		err = errors.Join(err, fmt.Errorf("pawl: %d outcomes could not be delivered; their jobs will run again", r.finish.backlog()))
	}
	following := time.AfterFunc(2*time.Second, giveUp) // What is not done then, chores do.
	r.finish.followups.around.Wait()
	following.Stop()
	giveUp()
	unregistering, cancel := context.WithTimeout(context.WithoutCancel(finishing), 2*time.Second)
	defer cancel()
	r.client.counters.report(unregistering, r.client)
	if unregisterErr := r.client.query(unregistering, "select pawl.unregister_worker($1::bigint)", []any{r.worker}, nil); unregisterErr != nil {
		r.log.Warn("pawl: worker not unregistered; it will be found stale", "error", unregisterErr)
	}
	return err
}

func (r *runner) start(job *JobInfo) {
	ctx, cancel := context.WithCancelCause(context.WithValue(r.base, jobKey{}, job))
	job.client = r.public
	run := &running{job: job, ctx: ctx, cancel: cancel, since: job.claimedAt}
	r.jobs.Add(1)
	r.mu.Lock()
	if run.next = r.firstRunning; run.next != nil {
		run.next.previous = run
	}
	r.firstRunning = run
	r.count++
	if r.config.Queues != nil {
		r.perQueue[job.Queue]++
	}
	if job.crashes > 0 {
		r.crashed++
	}
	if job.crashes >= 2 {
		r.suspect = true
	}
	r.pending = append(r.pending, run)
	r.mu.Unlock()
}

// dispatch sees to it that every pending job has a goroutine. It yields after each: short handlers are then run in passing by few
// goroutines, whose stacks have grown already, while each that blocks is followed by another. (A goroutine a job spent a third
// of the client's CPU on growing stacks.)
func (r *runner) dispatch() {
	for {
		r.mu.Lock()
		if len(r.pending) == 0 {
			r.mu.Unlock()
			return
		}
		if r.idle > 0 {
			r.idle--
			r.mu.Unlock()
			r.tasks <- struct{}{}
		} else {
			r.mu.Unlock()
			go r.serve()
		}
		runtime.Gosched()
	}
}

// serve runs pending jobs one after the other.
func (r *runner) serve() {
	for {
		r.mu.Lock()
		if len(r.pending) == 0 {
			r.idle++
			r.mu.Unlock()
			select {
			case <-r.tasks:
				continue
			case <-r.drain:
				return
			}
		}
		run := r.pending[0]
		r.pending[0] = nil
		r.pending = r.pending[1:]
		var chunk []*running
		if h := r.mux.handler(run.job.Kind); h != nil && h.many != nil {
			chunk = r.chunk(h, run)
		}
		r.mu.Unlock()
		if chunk != nil {
			r.many(chunk)
		} else {
			r.one(run)
		}
	}
}

// one runs a job; also a handler that ends its goroutine (runtime.Goexit, as t.FailNow does) has an answer then.
func (r *runner) one(run *running) {
	var err error = &PanicError{Value: "the handler ended its goroutine (runtime.Goexit)"}
	a := resultOf(run.job, nil, err)
	defer func() {
		r.done(run, a, err)
		run.cancel(nil)
		r.jobs.Done()
	}()
	a, err = r.work(run.ctx, run.job)
}

// work runs the handler and says what becomes of the job.
func (r *runner) work(ctx context.Context, job *JobInfo) (attemptResult, error) {
	h := r.mux.handler(job.Kind)
	if h == nil {
		minute := 60.0
		r.log.Warn("pawl: no handler for this kind, given back for a minute", "job", job)
		return attemptResult{job: job, verb: "release", delay: &minute}, nil
	}
	if h.slot != nil {
		select {
		case h.slot <- struct{}{}:
			defer func() { <-h.slot }()
		case <-r.drain:
			return attemptResult{job: job, verb: "release", delay: new(float64)}, nil
		case <-ctx.Done():
			return attemptResult{job: job, verb: "release", delay: new(float64)}, nil
		}
	}
	began := time.Now()
	r.client.decode(job) // An error is kept for decodeArgs, so that middleware sees it as any other.
	err := r.mux.work(ctx, h, job)
	a := resultOf(job, h, err)
	if a.verb == "retry" && errors.Is(context.Cause(ctx), ErrShutdown) {
		a = attemptResult{job: job, verb: "release", delay: new(float64)}
	}
	a.waited, a.ran = job.waitedAt(began), time.Since(began)
	return a, err
}

// done hands over the answer and frees the place.
func (r *runner) done(run *running, a attemptResult, err error) {
	job := run.job
	a.cause = err
	r.mu.Lock()
	if run.next != nil {
		run.next.previous = run.previous
	}
	if run.previous != nil {
		run.previous.next = run.next
	} else {
		r.firstRunning = run.next
	}
	r.mu.Unlock()
	r.finish.add(a)
	r.mu.Lock()
	r.count--
	if r.config.Queues != nil {
		r.perQueue[job.Queue]--
	}
	if job.crashes > 0 {
		r.crashed--
	}
	if job.crashes >= 2 {
		r.suspect = false
	}
	wake := r.count < r.config.Min
	r.mu.Unlock()
	if wake {
		select {
		case r.freed <- struct{}{}:
		default:
		}
	}
}

// report logs and tells OnFailure what became of a job that did not simply complete.
func (r *runner) report(a attemptResult, became string, delivery error) {
	job, err := a.job, a.cause
	if a.verb == verbComplete {
		err = nil // Skip.
	}
	level, said := slog.LevelInfo, became
	if delivery != nil {
		level, said = slog.LevelWarn, delivery.Error()
	}
	final := became == string(pawlstate.Dead) || became == string(pawlstate.Cancelled)
	if err != nil {
		what := "pawl: job failed"
		switch a.verb {
		case "snooze":
			what = "pawl: job snoozed"
		case "cancel":
			what = "pawl: job cancelled"
		}
		r.log.Log(r.base, level, what, "job", job, "became", said, "error", truncate(err.Error(), 1024))
	} else if delivery != nil {
		r.log.Log(r.base, level, "pawl: outcome not delivered", "job", job, "outcome", a.verb, "error", delivery)
	}
	if err != nil && r.config.OnFailure != nil && a.verb != "snooze" && delivery == nil {
		if p := caught(func() error { r.config.OnFailure(r.base, job, err, final); return nil }); p != nil {
			r.log.Error("pawl: OnFailure panicked", "job", job, "error", p)
		}
	}
}
