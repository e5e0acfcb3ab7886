package pawl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/pawlhq/pawl/internal/lanes"
)

const (
	shutdownGrace     = time.Second     // For handlers to return after their contexts have ended.
	minFinishTime     = 5 * time.Second // For the delivery of the last results.
	followupGrace     = 2 * time.Second // For the followups of the last results. Maintenance runs the others.
	unregisterTimeout = 2 * time.Second
)

// A runner is one call of Run. It makes the parts, starts them and ends them. Each part has its own state:
//
//   - The claim loop claims jobs.
//   - The slots hold the claimed jobs, and run them with the executor.
//   - The finisher delivers their results.
//   - The watcher finds handlers that are stuck.
//   - The heartbeat tells the database that the worker lives.
//   - The sleeper listens for inserts.
type runner struct {
	client    *Client // It has connections of its own.
	config    *RunnerConfig
	log       *slog.Logger
	state     *workerState
	slots     *slots
	claims    *claimLoop
	finisher  *finisher
	watcher   *watcher
	heartbeat *heartbeat
	outages   runnerOutages
	sleeper   *sleeper
	deliver   context.Context    // The context of the delivery of results.
	giveUp    context.CancelFunc // Ends it.
}

// Run claims jobs and runs their handlers until ctx ends. Then it drains and returns nil:
//
//   - It claims no more jobs, and releases those whose handlers have not started.
//   - It waits for running handlers, for up to DrainTimeout.
//   - After that the handlers' contexts end with ErrShutdown. If a handler then returns an error, its job is released
//     and no attempt is used.
//   - If handlers do not return even then, Run releases their jobs and returns an error that names them.
//
// [Client.StopWorker] makes Run drain too, from any process.
//
// If the database goes away, the runner keeps undelivered results in memory and retries with increasing delays. If
// the worker has lost a lease by then, the results of its jobs are discarded.
func (c *Client) Run(ctx context.Context, mux *Mux, config RunnerConfig) error {
	if err := c.requirePool("Run"); err != nil {
		return err
	}
	if err := config.fill(); err != nil {
		return err
	}
	if mux == nil || len(mux.handlers) == 0 {
		return errors.New("pawl: run: the mux has no handler: register one with Handle")
	}
	if err := c.checkSchema(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // There is nothing to drain.
		}
		return err
	}
	// The runner needs connections of its own. Handlers may take all connections of the pool. A worker that could not
	// get one for its heartbeat would be found stale.
	own, err := c.clonePool(ctx)
	if err != nil {
		return fmt.Errorf("pawl: run: %w", err)
	}
	defer own.pool.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	return newRunner(ctx, own, c, mux, &config, stop).run(ctx)
}

// newRunner makes the parts of a runner. Handlers get the client public. stop ends ctx.
func newRunner(ctx context.Context, own, public *Client, mux *Mux, config *RunnerConfig, stop func()) *runner {
	log := own.config.Logger
	base := context.WithoutCancel(ctx)
	delivering, giveUp := context.WithCancel(base)
	var queues []string
	if config.Queues != nil {
		queues = slices.Sorted(maps.Keys(config.Queues))
	}
	drain, freed, permits := make(chan struct{}), make(chan struct{}, 1), make(chan struct{}, 1)
	r := &runner{client: own, config: config, log: log, state: newWorkerState(), deliver: delivering, giveUp: giveUp}
	r.outages = newRunnerOutages(log, config.Name)
	reporter := newReporter(log, base, config.OnFailure)
	r.finisher = &finisher{
		client: own, ctx: delivering, worker: config.Name, outage: r.outages.results, onResult: reporter.report,
		followups: followupRunner{freed: func() { notify(permits) }},
		idle:      make(chan struct{}, 1),
	}
	r.slots = &slots{
		executor: &executor{client: own, mux: mux, log: log, drain: drain},
		finisher: r.finisher, public: public, base: base, config: config,
		freed: freed, tasks: make(chan struct{}), drain: drain, held: lanes.NewHoldings(),
	}
	r.watcher = &watcher{
		client: own, slots: r.slots, finisher: r.finisher, log: log, base: base, after: config.StuckAfter,
		onStuck: config.OnStuck,
	}
	r.sleeper = newSleeper(own, queues)
	leases := newWorkerLeases(own, config.Heartbeat)
	r.heartbeat = &heartbeat{
		client: own, log: log, name: config.Name, queues: queues, every: config.Heartbeat, outages: r.outages,
		slots: r.slots, leases: leases, state: r.state, poked: r.sleeper.poked, stop: stop,
	}
	r.claims = &claimLoop{
		client: own, outage: r.outages.claims, config: config, queues: queues,
		slots: r.slots, finisher: r.finisher, heartbeat: r.heartbeat, leases: leases, sleeper: r.sleeper,
		freed: freed, woken: r.sleeper.woken, permits: permits, undo: delivering,
		set: lanes.New(),
	}
	return r
}

// run starts the parts, claims until ctx ends, and drains.
func (r *runner) run(ctx context.Context) error {
	defer r.slots.cancelAll()
	defer r.giveUp()
	defer r.client.outages.watch(r.outages.claims, r.outages.results, r.outages.heartbeats)()
	if err := r.heartbeat.register(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // There is nothing to drain.
		}
		return fmt.Errorf("pawl: run: register worker: %w", err)
	}
	var parts sync.WaitGroup
	alive, end := context.WithCancel(context.WithoutCancel(ctx))
	defer parts.Wait()
	defer end()
	parts.Go(func() { r.sleeper.run(alive) })
	parts.Go(func() { r.heartbeat.run(alive) })
	parts.Go(func() { r.watcher.run(alive) })
	if !r.config.NoMaintenance {
		parts.Go(func() { r.client.maintain(ctx, r.config.Heartbeat) })
	}
	r.state.whileReady(ctx, r.claims.run)
	r.slots.endIdle()
	return r.drain()
}

// drain waits for the handlers, then for the delivery of their results, and removes the worker.
func (r *runner) drain() error {
	r.waitForHandlers()
	r.watcher.stop()
	finishing, cancel := context.WithTimeout(r.deliver, max(r.config.DrainTimeout, minFinishTime))
	defer cancel()
	err := r.releaseRunning(finishing)
	if r.finisher.wait(finishing) != nil {
		err = errors.Join(err, fmt.Errorf("pawl: run: %d results could not be delivered; their jobs will run again",
			r.finisher.backlog()))
	}
	grace := time.AfterFunc(followupGrace, r.giveUp)
	r.finisher.waitForFollowups()
	grace.Stop()
	r.giveUp()
	r.unregister(context.WithoutCancel(finishing))
	return err
}

// waitForHandlers waits until no handler runs, apart from stuck ones, or until DrainTimeout and a grace after it have
// passed.
func (r *runner) waitForHandlers() {
	ended := make(chan struct{})
	go func() { // It ends with the last handler. If that ignores its context, it ends after Run.
		r.slots.wait()
		r.claims.finishUndoing()
		close(ended)
	}()
	deadline := time.NewTimer(r.config.DrainTimeout)
	defer deadline.Stop()
	select {
	case <-ended:
		return
	case <-deadline.C:
	}
	r.slots.cancelAll()
	grace := time.NewTimer(shutdownGrace)
	defer grace.Stop()
	select {
	case <-ended:
	case <-grace.C:
	}
}

// releaseRunning releases the jobs whose handlers still run, and returns an error that names them. The handlers go on,
// but the jobs have a new epoch, so that the handlers' results are discarded.
func (r *runner) releaseRunning(ctx context.Context) (err error) {
	stuck, others := r.slots.leave()
	if len(stuck) > 0 {
		err = fmt.Errorf("pawl: run: %d handlers are stuck and were left behind: %s", len(stuck), named(stuck))
		r.log.Error("pawl: Run returns without stuck handlers", "worker", r.config.Name, "jobs", named(stuck))
	}
	if len(others) == 0 {
		return err
	}
	results := make([]attemptResult, len(others))
	for i, run := range others {
		results[i] = releaseOf(run.stuck.job, 0)
	}
	became, failed := r.client.finishLocking(ctx, results, r.config.Name, nil)
	if failed == nil {
		r.client.counters.finished(results, became.state)
	}
	r.logLeft(others)
	left := fmt.Errorf("pawl: run: %d handlers did not return within the drain timeout of %v and were left behind; "+
		"their jobs were released: %s", len(others), r.config.DrainTimeout, named(others))
	return errors.Join(err, left, failed)
}

// logLeft logs the jobs whose handlers Run leaves behind, with the stacks of the first ones.
func (r *runner) logLeft(left []*running) {
	r.log.Error("pawl: Run returns without handlers that did not return; their jobs were released",
		"worker", r.config.Name, "jobs", named(left))
	first := left[:min(len(left), maxNamedJobs)]
	stacks := stacksOf(first)
	for _, run := range first {
		r.log.Info("pawl: handler left behind", "job", run.stuck.job,
			"stack", stacks.once(run.call.label(), run.job.ID))
	}
}

// unregister hands over the last counts, and removes the worker.
func (r *runner) unregister(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, unregisterTimeout)
	defer cancel()
	r.client.counters.report(ctx, r.client)
	if err := r.heartbeat.unregister(ctx); err != nil {
		r.log.Warn("pawl: worker not unregistered; it will be found stale", "worker", r.config.Name, "error", err)
	}
}
