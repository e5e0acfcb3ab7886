package pawl

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/pawlhq/pawl/internal/pg"
)

// A heartbeat tells the database that a worker lives. The database's reply says which jobs the worker has lost, and
// which state it should be in.
type heartbeat struct {
	client *Client
	log    *slog.Logger
	name   string
	queues []string // If nil, the worker serves all queues.
	every  time.Duration
	slots  *slots
	leases *workerLeases
	state  *workerState
	poked  <-chan struct{} // Asks for a heartbeat now: see poke_heartbeats.sql.
	stop   func()          // Makes Run drain and return.

	outages runnerOutages

	searches sync.WaitGroup // Searches of the archive. They may take longer than a heartbeat may be silent.

	stale bool // The worker was found stale, and is not registered again. The goroutine of run alone uses it.

	mu      sync.Mutex
	worker  int64     // The id of the worker's row.
	started time.Time // When that row was made, by the database's clock.
}

const (
	// staleHeartbeats is after how many missed heartbeats a worker is stale.
	staleHeartbeats = 3
	// pokeSpacing is the least time between a heartbeat and one that was asked for.
	pokeSpacing = 100 * time.Millisecond
)

// register makes a row for the worker.
func (b *heartbeat) register(ctx context.Context) error {
	host, _ := os.Hostname()
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	var id int64
	var started time.Time
	stale := pg.Interval(staleHeartbeats * b.every)
	err := b.client.row(ctx, "select pawl.register_worker($1::text, $2::text, $3::integer, $4::text, $5::text[], "+
		"$6::interval, $7::text)",
		[]any{b.name, host, os.Getpid(), version, b.queues, stale, b.state.get()}, &id)
	if err == nil {
		err = b.client.row(ctx, "select pawl.worker_started_at($1::bigint)", []any{id}, &started)
	}
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.worker, b.started = id, started
	return nil
}

// unregister marks the worker's row as stopped.
func (b *heartbeat) unregister(ctx context.Context) error {
	worker, _ := b.row()
	return b.client.query(ctx, "select pawl.unregister_worker($1::bigint)", []any{worker}, nil)
}

// row returns the id of the worker's row, and when that row was made.
func (b *heartbeat) row() (worker int64, started time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.worker, b.started
}

// run beats until ctx ends.
func (b *heartbeat) run(ctx context.Context) {
	defer b.searches.Wait()
	for last := time.Now(); b.wait(ctx, last); {
		last = time.Now()
		b.beat(ctx)
	}
}

// wait returns when the next heartbeat is due or asked for. It returns false when ctx ends.
func (b *heartbeat) wait(ctx context.Context, last time.Time) bool {
	timer := time.NewTimer(b.every)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-b.poked:
		return pg.Sleep(ctx, pokeSpacing-time.Since(last))
	case <-ctx.Done():
		return false
	}
}

// beat makes one heartbeat.
func (b *heartbeat) beat(ctx context.Context) {
	began := time.Now()
	worker, _ := b.row()
	jobs, count := b.slots.running()
	state, missing, err := b.send(ctx, jobs, count)
	switch {
	case err != nil:
		if ctx.Err() == nil {
			b.outages.heartbeats.Record(err)
		}
		return
	case state == "":
		b.slots.cancel(ErrLeaseLost, func(job *JobInfo) bool { return job.claimedAt.Before(began) })
		b.registerAgain(ctx)
		return
	}
	b.outages.heartbeats.Record(nil)
	b.setState(state)
	if len(missing) > 0 {
		b.cancelMissing(ctx, jobs, missing)
	}
	b.leases.reconcile(ctx, worker)
}

// registerAgain makes another row for a worker that was found stale.
func (b *heartbeat) registerAgain(ctx context.Context) {
	if !b.stale {
		b.stale = true
		b.log.Warn("pawl: the worker was found stale; other workers run its jobs", "worker", b.name)
	}
	err := b.register(ctx)
	switch {
	case err == nil:
		b.stale = false
	case ctx.Err() == nil:
		b.outages.heartbeats.Record(fmt.Errorf("register the worker again: %w", err))
	}
}

// send sends a heartbeat with the running jobs. It returns the state that the worker should be in, and the ids of the
// jobs that it has lost. If the worker was found stale, the state is empty.
func (b *heartbeat) send(ctx context.Context, jobs []*JobInfo, count int) (state string, missing []int64, err error) {
	worker, started := b.row()
	ids, epochs := idsAndEpochs(jobs)
	var toBe *string
	var since *time.Time
	ctx, cancel := context.WithTimeout(ctx, max(b.every, time.Second))
	defer cancel()
	err = b.client.row(ctx, "select b.*, pawl.worker_started_at($1::bigint) "+
		"from pawl.heartbeat($1::bigint, $2::integer, $3::bigint[], $4::integer[], $5::text[], $6::text) b",
		[]any{worker, count, ids, epochs, b.stuckKinds(), b.problem()}, &toBe, &missing, &since)
	if err != nil || toBe == nil {
		return "", nil, err
	}
	if since != nil && !since.Equal(started) {
		// The row is another worker's. The database went back in time, and gave the id away a second time.
		return "", nil, nil
	}
	return *toBe, missing, nil
}

// maxStuckKinds is how many stuck handlers a heartbeat reports, at most.
const maxStuckKinds = 1000

// stuckKinds returns the kinds of the stuck handlers, one element each. It is nil if there is none.
func (b *heartbeat) stuckKinds() []string {
	kinds := b.slots.stuckKinds()
	return kinds[:min(len(kinds), maxStuckKinds)]
}

// problem describes what the worker cannot do, or returns nil.
func (b *heartbeat) problem() *string {
	text := truncate(stateOf(b.outages.claims, b.outages.results), maxLoggedError)
	if text == "" {
		return nil
	}
	return &text
}

// setState makes the worker ready, suspended or stopping.
func (b *heartbeat) setState(state string) {
	if b.state.set(state) {
		b.log.Info("pawl: the worker was told to be "+state, "worker", b.name)
	}
	if state == workerStopping {
		b.stop()
	}
}

// cancelMissing ends the contexts of jobs that are not this worker's any more. reported are the jobs that the
// heartbeat was sent with, and ids are those of them that the database did not find.
//
// Jobs that have finished since the heartbeat was sent are not missing. At a high rate they are most of ids.
// Cancelled jobs are in the archive, at the epoch at which they were claimed.
func (b *heartbeat) cancelMissing(ctx context.Context, reported []*JobInfo, ids []int64) {
	notFound := make(map[ID]bool, len(ids))
	for _, id := range ids {
		notFound[ID(id)] = true
	}
	missing := make(map[*JobInfo]bool, len(ids))
	for _, job := range reported {
		if notFound[job.ID] {
			missing[job] = true
		}
	}
	var jobs []*JobInfo
	running, _ := b.slots.running()
	for _, job := range running {
		if missing[job] && !job.finishedByHand.Load() {
			jobs = append(jobs, job)
		}
	}
	if len(jobs) == 0 {
		return
	}
	b.searches.Go(func() {
		finished, err := b.client.findFinished(ctx, jobs)
		if err != nil {
			return // The next heartbeat finds them missing again.
		}
		for _, job := range jobs {
			cause := ErrLeaseLost
			if finished[job.ID] != "" {
				cause = ErrCancelled
			}
			b.slots.cancel(cause, func(running *JobInfo) bool { return running == job })
		}
	})
}
