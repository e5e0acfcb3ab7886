package pawl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// RunnerConfig is for Run; its zero value works.
type RunnerConfig struct {
	Queues       map[string]RunnerQueue // If nil, every queue, also later ones.
	Min, Max     int                    // Claims when fewer than Min run, up to Max. If zero: 16, 32. With Max alone, Min is half of it.
	Name         string                 // Of the worker. If zero, host:pid.
	Heartbeat    time.Duration          // If zero, 3 s; at least 100 ms. A worker is stale after three.
	PollInterval time.Duration          // Longest time without looking. If zero, 1 s.
	DrainTimeout time.Duration          // Then contexts end with ErrShutdown. If zero, 30 s.
	NoChores     bool                   // Leaves rescue and retention to others: see Tend.
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
	client *Client
	mux    *Mux
	config RunnerConfig
	log    *slog.Logger
	queues []string // nil: all
	base   context.Context
	finish *finisher
	sleep  *sleeper
	lanes  *lanes // Of the claim loop alone.

	mu       sync.Mutex
	worker   int64
	held     map[ID]*running
	count    int            // Running handlers and those waiting for a slot of their kind.
	perQueue map[string]int // The same by queue.
	suspect  bool           // One of them is a suspect.
	struck   int            // Of them have a strike.
	freed    chan struct{}  // A job ended and there is room again.
	jobs     sync.WaitGroup
	leases   map[string]*lease // This worker's, by id; nil while the claim is under way.
	pending  []*running        // Claimed, no goroutine yet.
	idle     int               // Goroutines that wait for tasks.
	tasks    chan struct{}
	drain    chan struct{} // Closed when ctx ends: what has not started is given back.
}

type running struct {
	job    *JobInfo
	ctx    context.Context
	cancel context.CancelCauseFunc
	since  time.Time
}

// Run claims jobs and runs their handlers until ctx ends. Then it claims no more, gives back what has not started, and waits for
// running handlers up to DrainTimeout; after that their contexts end with ErrShutdown, and jobs of handlers that return an error
// then are given back without an attempt used. It returns nil if all ended in time.
//
// It outlives an outage of the database: it keeps what it could not deliver, tries again with growing waits, and delivers
// later what is still its own.
func (c *Client) Run(ctx context.Context, mux *Mux, config RunnerConfig) error {
	if err := c.standing("Run"); err != nil {
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
	own, err := c.apart(ctx)
	if err != nil {
		return fmt.Errorf("pawl: run: %w", err)
	}
	defer own.pool.Close()
	c = own
	r := &runner{
		client: c, mux: mux, config: config, log: c.config.Logger, held: map[ID]*running{}, leases: map[string]*lease{}, perQueue: map[string]int{},
		lanes: &lanes{}, freed: make(chan struct{}, 1), drain: make(chan struct{}), tasks: make(chan struct{}),
	}
	r.lanes.reset()
	if config.Queues != nil {
		r.queues = slices.Sorted(maps.Keys(config.Queues))
	}
	base, endBase := context.WithCancelCause(context.WithoutCancel(ctx))
	defer endBase(ErrShutdown)
	r.base = base
	delivering, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	r.finish = &finisher{client: c, ctx: delivering, worker: config.Name, idle: make(chan struct{}, 1)}
	r.finish.told = r.told
	r.sleep = newSleeper(c, r.queues)
	if err := r.register(ctx); err != nil {
		return fmt.Errorf("pawl: register worker: %w", err)
	}

	var around sync.WaitGroup
	alive, rest := context.WithCancel(context.WithoutCancel(ctx))
	defer around.Wait()
	defer rest()
	around.Go(func() { r.sleep.run(ctx) })
	around.Go(func() { r.beat(alive) })
	if !config.NoChores {
		around.Go(func() { c.tend(ctx, config.Heartbeat) })
	}

	r.loop(ctx)
	close(r.drain)
	return r.end(endBase, giveUp)
}

// end drains: handlers, then their answers, then the worker's row.
func (r *runner) end(endBase context.CancelCauseFunc, giveUp context.CancelFunc) error {
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
		endBase(ErrShutdown)
		grace := time.NewTimer(time.Second)
		defer grace.Stop()
		select {
		case <-ended:
		case <-grace.C:
		}
	}
	var err error
	r.mu.Lock()
	left := make([]answer, 0, len(r.held))
	for _, run := range r.held {
		left = append(left, answer{job: run.job, verb: "release", delay: new(float64)})
	}
	r.mu.Unlock()
	finishing, cancel := context.WithTimeout(r.finish.ctx, max(r.config.DrainTimeout, 5*time.Second))
	defer cancel()
	if len(left) > 0 {
		// The handlers go on, but their jobs are not theirs any more: with a new epoch nothing they answer counts.
		_, releaseErr := r.client.finishWaiting(finishing, left, r.config.Name, nil)
		err = errors.Join(fmt.Errorf("pawl: %d handlers did not end within the drain timeout of %v; their jobs were given back",
			len(left), r.config.DrainTimeout), releaseErr)
	}
	if waitErr := r.finish.wait(finishing); waitErr != nil {
		err = errors.Join(err, fmt.Errorf("pawl: %d outcomes could not be delivered; their jobs will run again", r.finish.backlog()))
	}
	giveUp()
	unregistering, cancel := context.WithTimeout(context.WithoutCancel(finishing), 2*time.Second)
	defer cancel()
	if unregisterErr := r.client.query(unregistering, "select pawl.unregister($1::bigint)", []any{r.worker}, nil); unregisterErr != nil {
		r.log.Warn("pawl: worker not unregistered; it will be found stale", "error", unregisterErr)
	}
	return err
}

func (r *runner) register(ctx context.Context) error {
	host, _ := os.Hostname()
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	var id int64
	err := r.client.row(ctx, "select pawl.register($1::text, $2::text, $3::integer, $4::text, $5::text[], $6::interval)",
		[]any{r.config.Name, host, os.Getpid(), version, r.queues, interval(3 * r.config.Heartbeat)}, &id)
	if err == nil {
		r.mu.Lock()
		r.worker = id
		r.mu.Unlock()
	}
	return err
}

// beat is the heartbeat: it tells that this worker lives, and learns what it lost.
func (r *runner) beat(ctx context.Context) {
	strange := map[string]bool{}
	for pause(ctx, r.config.Heartbeat) {
		began := time.Now()
		r.mu.Lock()
		worker, count := r.worker, r.count
		jobs := make([]*JobInfo, 0, len(r.held))
		for _, run := range r.held {
			jobs = append(jobs, run.job)
		}
		r.mu.Unlock()
		ids, epochs := pairs(jobs)
		var lost *[]int64
		trying, cancel := context.WithTimeout(ctx, max(r.config.Heartbeat, time.Second))
		err := r.client.row(trying, "select pawl.beat($1::bigint, $2::integer, $3::bigint[], $4::integer[])", []any{worker, count, ids, epochs}, &lost)
		cancel()
		switch {
		case err != nil:
			if ctx.Err() == nil {
				r.log.Warn("pawl: heartbeat failed", "worker", r.config.Name, "error", err)
			}
		case lost == nil:
			r.log.Warn("pawl: this worker was taken for dead; its jobs run elsewhere", "worker", r.config.Name)
			r.lose(ErrLeaseLost, func(run *running) bool { return run.since.Before(began) })
			if err := r.register(ctx); err != nil && ctx.Err() == nil {
				r.log.Warn("pawl: worker not registered again", "error", err)
			}
		case len(*lost) > 0:
			r.lost(ctx, jobs, *lost)
		}
		if err == nil && lost != nil {
			strange = r.reconcile(ctx, worker, strange)
		}
	}
}

// reconcile gives up leases that the database has for this worker and it does not know, twice in a row: of a claim whose answer was
// lost beyond asking, or brought back by a failover. Without that their jobs would be held for as long as the worker lives.
func (r *runner) reconcile(ctx context.Context, worker int64, before map[string]bool) (strange map[string]bool) {
	r.mu.Lock()
	for id, l := range r.leases {
		if l != nil && l.left.Load() <= 0 {
			delete(r.leases, id)
		}
	}
	known := maps.Clone(r.leases)
	r.mu.Unlock()
	strange = map[string]bool{}
	err := r.client.query(ctx, "select id::text from pawl.leases($1::bigint) id", []any{worker}, func(s scanner) error {
		var id string
		err := s.Scan(&id)
		if _, ok := known[id]; !ok {
			strange[id] = true
		}
		return err
	})
	if err != nil {
		return nil
	}
	for id := range strange {
		if before[id] {
			if err := r.client.unclaim(ctx, id); err != nil {
				return nil
			}
			delete(strange, id)
		}
	}
	return strange
}

// lost ends the handlers of jobs that are not this worker's any more: cancelled ones are in the archive at the epoch they are held at.
func (r *runner) lost(ctx context.Context, asked []*JobInfo, ids []int64) {
	gone := map[ID]*JobInfo{}
	for _, job := range asked {
		if slices.Contains(ids, int64(job.ID)) && !job.answered.Load() {
			gone[job.ID] = job
		}
	}
	for _, job := range gone {
		cause := ErrLeaseLost
		if cancelled, err := r.client.wasFinished(ctx, job); err == nil && cancelled {
			cause = ErrCancelled
		}
		r.lose(cause, func(run *running) bool { return run.job == job })
	}
}

// lose ends the contexts of lost jobs; what was claimed after the question was asked is not meant.
func (r *runner) lose(cause error, meant func(*running) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, run := range r.held {
		if meant(run) {
			run.cancel(cause)
		}
	}
}

// room is how many more jobs of a queue may run.
func (r *runner) room(queue string) int {
	if r.queues == nil {
		return r.config.Max
	}
	q, chosen := r.config.Queues[queue]
	if !chosen {
		return 0
	}
	if q.Max == 0 {
		return r.config.Max
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return q.Max - r.perQueue[queue]
}

// free waits until fewer than Min jobs run and says how many may be claimed; 0 when ctx ends.
func (r *runner) free(ctx context.Context) int {
	for {
		r.mu.Lock()
		n := r.config.Max - r.count
		below := r.count < r.config.Min
		r.mu.Unlock()
		// While the database does not take answers, what is done but not delivered must not grow without bound.
		if below && r.finish.backlog() < 4*r.config.Max+2000 {
			return n
		}
		wait := time.NewTimer(50 * time.Millisecond)
		select {
		case <-r.freed:
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return 0
		}
		wait.Stop()
	}
}

const (
	firstCheck = time.Millisecond       // After a claim found nothing; doubled each time.
	awake      = 100 * time.Millisecond // Looking by itself so long, a runner asks to be woken whatever was before.
	lookSoon   = 50 * time.Millisecond  // For lanes not known yet, when known ones had something.
	densely    = 100                    // Jobs in a window of 100 ms from which it looks by itself instead of being woken.
)

// traffic counts jobs in windows, to tell a stream from a trickle.
type traffic struct {
	since     time.Time
	last, now int
}

func (t *traffic) add(at time.Time, n int) {
	if gone := at.Sub(t.since); gone >= awake {
		t.last = t.now
		if gone >= 2*awake {
			t.last = 0
		}
		t.since, t.now = at, 0
	}
	t.now += n
}

// loop is the claim loop.
//
// With nothing to do it looks again after 1, 2, 4, 8 … ms. In a trickle, or after a while of nothing, it asks to be woken: from
// then on every insert notifies, so that a claim follows it at once and none is made in vain. In a dense stream it does without:
// there a NOTIFY on every insert would cost far more than looking.
func (r *runner) loop(ctx context.Context) {
	var (
		lookedAt, surveyedAt, promotedAt time.Time
		lookCost, surveyCost             time.Duration
		check                            = firstCheck
		emptySince                       time.Time // Since when claims find nothing; zero: the last one did.
		asked                            bool      // To be woken.
		owed                             bool      // Woken, and perhaps for a lane not known yet: a look is due as soon as its cost allows.
		flow                             traffic
		failures                         int
	)
	weigh := func() {
		for name, q := range r.config.Queues {
			r.lanes.queue(name).weight = max(q.Weight, 1)
		}
	}
	weigh()
	rise := func() {
		if asked {
			r.sleep.rise()
			asked, check = false, firstCheck
		}
	}
	defer rise()
	for ctx.Err() == nil {
		n := r.free(ctx)
		if n == 0 {
			return
		}
		idle := !emptySince.IsZero()
		now := time.Now()
		got, err := func() (got int, err error) {
			if due := r.due(now, now.Sub(promotedAt) >= 20*time.Millisecond && (idle || now.Sub(promotedAt) >= r.config.PollInterval/4)); len(due) > 0 {
				promotedAt = now
				moved, err := r.client.promote(ctx, r.lanes, due)
				if err != nil {
					return 0, err
				}
				if moved > 0 {
					lookedAt, idle = time.Time{}, true
				}
			}
			if now.Sub(surveyedAt) >= max(20*surveyCost, 50*time.Millisecond) {
				surveyedAt = now
				if err := r.client.survey(ctx, r.lanes); err != nil {
					return 0, err
				}
				surveyCost = time.Since(now)
				r.lanes.forget(5 * time.Minute)
			}
			got, err = r.take(ctx, n, idle)
			if err != nil {
				return 0, err
			}
			// Lanes not known yet are looked for when there is nothing in those that are, and every second.
			if since := now.Sub(lookedAt); since >= max(20*lookCost, time.Second) || owed && since >= max(20*lookCost, lookSoon) || got == 0 && idle && (since >= 20*lookCost || lookCost < time.Millisecond) {
				lookedAt, owed = time.Now(), false
				found, err := r.client.look(ctx, r.lanes, r.queues)
				if err != nil {
					return got, err
				}
				lookCost = time.Since(lookedAt)
				if found > 0 && got == 0 {
					return r.take(ctx, n, idle)
				}
			}
			return got, nil
		}()
		flow.add(now, got)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			failures++
			r.log.Warn("pawl: claim failed, trying again", "worker", r.config.Name, "error", err)
			r.lanes.reset()
			weigh()
			lookedAt, promotedAt = time.Time{}, time.Time{}
			pause(ctx, min(50*time.Millisecond<<min(failures, 7), 5*time.Second))
			continue
		case got > 0:
			failures, emptySince = 0, time.Time{}
			if flow.now >= densely {
				rise()
			}
			if !asked {
				check = firstCheck
			}
			if !asked || r.lanes.more() {
				continue
			}
			// All is taken, and whatever comes from now on wakes us.
		case emptySince.IsZero():
			failures, emptySince = 0, now
			if !asked {
				continue // Once more at once, from the safe marks and with lanes that seemed empty.
			}
		case !asked:
			calm := flow.last < densely/2 && flow.now < densely/2 && now.Sub(emptySince) >= 2*firstCheck
			if (calm || now.Sub(emptySince) >= awake) && r.sleep.announce(ctx) {
				// Inserts whose transactions are open just now do not know; they are found by looking some more.
				asked, check = true, 2*firstCheck
				continue
			}
		}
		wait := check
		check = min(2*check, r.config.PollInterval)
		if at, ok := r.nextDue(); ok {
			wait = min(wait, max(time.Until(at), 0))
		}
		if owed {
			wait = min(wait, max(max(20*lookCost, lookSoon)-time.Since(lookedAt), 0))
		}
		timer := time.NewTimer(wait)
		var freed chan struct{} // What is left waits for a place in its queue.
		if r.lanes.more() {
			freed = r.freed
		}
		select {
		case <-freed:
		case <-timer.C:
			if emptySince.IsZero() {
				emptySince = now
			}
		case <-r.sleep.woken:
			promotedAt, emptySince, owed = time.Time{}, time.Now(), true
		case <-ctx.Done():
		}
		timer.Stop()
		if asked && !r.sleep.awakes() {
			asked, check = false, firstCheck // The connection is gone, and the lock with it.
		}
	}
}

// due are the queues to promote from: those known to be due, and with learn all, to hear what is scheduled next.
func (r *runner) due(now time.Time, learn bool) (queues []string) {
	for name, q := range r.lanes.queues {
		if r.room(name) > 0 && (learn || !q.dueAt.IsZero() && !q.dueAt.After(now)) {
			queues = append(queues, name)
		}
	}
	return queues
}

func (r *runner) nextDue() (at time.Time, ok bool) {
	for _, q := range r.lanes.queues {
		if !q.dueAt.IsZero() && (!ok || q.dueAt.Before(at)) {
			at, ok = q.dueAt, true
		}
	}
	return at, ok
}

// take claims up to n jobs and starts them. A suspect comes in a claim of its own, and only while no other struck job runs here:
// if the worker dies, it is known by whom.
func (r *runner) take(ctx context.Context, n int, idle bool) (got int, err error) {
	r.mu.Lock()
	alone, suspect := r.struck == 0, r.suspect
	worker := r.worker
	r.mu.Unlock()
	who := claimer{worker: &worker, name: r.config.Name}
	if alone {
		if p := r.lanes.suspects(r.room); p != nil {
			jobs, total, err := r.carryOut(ctx, p, who)
			if err != nil || len(jobs) > 0 {
				return total, err
			}
		}
	}
	// A queue with a maximum of its own has a claim of its own, which takes no more than that.
	for name, q := range r.config.Queues {
		if q.Max == 0 {
			continue
		}
		p := r.lanes.plan(min(n-got, r.room(name)), idle, func(queue string) int {
			if queue == name {
				return r.room(name)
			}
			return 0
		}, suspect)
		if len(p.lanes) == 0 {
			continue
		}
		_, total, err := r.carryOut(ctx, p, who)
		if got += total; err != nil || got >= n {
			return got, err
		}
	}
	p := r.lanes.plan(n-got, idle, func(queue string) int {
		if r.config.Queues[queue].Max > 0 {
			return 0
		}
		return r.room(queue)
	}, suspect)
	if len(p.lanes) == 0 {
		return got, nil
	}
	_, total, err := r.carryOut(ctx, p, who)
	return got + total, err
}

func (r *runner) carryOut(ctx context.Context, p *plan, who claimer) (Jobs, int, error) {
	id := newLeaseID()
	// Not ctx: an answer lost because we stopped listening would have to be undone.
	claiming, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	r.mu.Lock()
	r.leases[id] = nil
	r.mu.Unlock()
	jobs, total, err := r.client.claim(claiming, r.lanes, p, who, id)
	r.mu.Lock()
	if len(jobs) > 0 {
		r.leases[id] = jobs[0].lease
	} else {
		delete(r.leases, id)
	}
	r.mu.Unlock()
	if err != nil {
		if isAmbiguous(err) {
			r.jobs.Go(func() { r.client.unclaim(r.finish.ctx, id) })
		}
		return nil, 0, err
	}
	for _, job := range jobs {
		if ctx.Err() != nil {
			r.finish.answer(answer{job: job, verb: "release", delay: new(float64)})
			continue
		}
		r.start(job)
	}
	r.dispatch()
	return jobs, total, nil
}

func (r *runner) start(job *JobInfo) {
	ctx, cancel := context.WithCancelCause(context.WithValue(r.base, jobKey{}, job))
	run := &running{job: job, cancel: cancel, since: time.Now()}
	r.mu.Lock()
	r.held[job.ID] = run
	r.count++
	r.perQueue[job.Queue]++
	if job.strikes > 0 {
		r.struck++
	}
	if job.strikes >= 2 {
		r.suspect = true
	}
	r.mu.Unlock()
	run.ctx = ctx
	r.jobs.Add(1)
	r.mu.Lock()
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
		r.mu.Unlock()
		r.one(run)
	}
}

// one runs a job; also a handler that ends its goroutine (runtime.Goexit, as t.FailNow does) has an answer then.
func (r *runner) one(run *running) {
	var err error = &PanicError{Value: "the handler ended its goroutine (runtime.Goexit)"}
	a := answerTo(run.job, nil, err)
	defer func() {
		r.done(run, a, err)
		run.cancel(nil)
		r.jobs.Done()
	}()
	a, err = r.work(run.ctx, run.job)
}

// work runs the handler and says what becomes of the job.
func (r *runner) work(ctx context.Context, job *JobInfo) (answer, error) {
	h := r.mux.handlers[job.Kind]
	if h == nil {
		minute := 60.0
		r.log.Warn("pawl: no handler for this kind, given back for a minute", "kind", job.Kind, "job", job.ID)
		return answer{job: job, verb: "release", delay: &minute}, nil
	}
	if h.slot != nil {
		select {
		case h.slot <- struct{}{}:
			defer func() { <-h.slot }()
		case <-r.drain:
			return answer{job: job, verb: "release", delay: new(float64)}, nil
		case <-ctx.Done():
			return answer{job: job, verb: "release", delay: new(float64)}, nil
		}
	}
	began := time.Now()
	err := r.mux.work(ctx, h, job)
	a := answerTo(job, h, err)
	if a.verb == "retry" && errors.Is(context.Cause(ctx), ErrShutdown) {
		a = answer{job: job, verb: "release", delay: new(float64)}
	}
	a.ran = time.Since(began)
	return a, err
}

// done hands over the answer and frees the place.
func (r *runner) done(run *running, a answer, err error) {
	job := run.job
	a.cause = err
	r.mu.Lock()
	if r.held[job.ID] != run {
		// Its place was taken by a later claim of the same job: this one was lost.
		r.mu.Unlock()
	} else {
		delete(r.held, job.ID)
		r.mu.Unlock()
	}
	r.finish.answer(a)
	r.mu.Lock()
	r.count--
	if r.perQueue[job.Queue]--; r.perQueue[job.Queue] == 0 {
		delete(r.perQueue, job.Queue)
	}
	if job.strikes > 0 {
		r.struck--
	}
	if job.strikes >= 2 {
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

// told logs and reports what became of a job that did not simply complete.
func (r *runner) told(a answer, became string, delivery error) {
	job, err := a.job, a.cause
	if a.verb == verbComplete {
		err = nil // Skip.
	}
	level, said := slog.LevelInfo, became
	if delivery != nil {
		level, said = slog.LevelWarn, delivery.Error()
	}
	final := became == string(StateDead) || became == string(StateCancelled)
	if err != nil {
		r.log.Log(r.base, level, "pawl: job failed", "job", job.ID, "kind", job.Kind, "queue", job.Queue, "attempt", job.Attempt, "became", said, "error", err)
	} else if delivery != nil {
		r.log.Log(r.base, level, "pawl: outcome not delivered", "job", job.ID, "kind", job.Kind, "outcome", a.verb, "error", delivery)
	}
	if err != nil && r.config.OnFailure != nil && a.verb != "snooze" && delivery == nil {
		if p := caught(func() error { r.config.OnFailure(r.base, job, err, final); return nil }); p != nil {
			r.log.Error("pawl: OnFailure panicked", "error", p)
		}
	}
}
