package pawl

import (
	"context"
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

	searches sync.WaitGroup // Searches of the archive. They may take longer than a heartbeat may be silent.

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
			b.log.Warn("pawl: heartbeat failed", "worker", b.name, "error", err)
		}
		return
	case state == "":
		b.log.Warn("pawl: the worker was found stale; other workers run its jobs", "worker", b.name)
		b.slots.cancel(ErrLeaseLost, func(job *JobInfo) bool { return job.claimedAt.Before(began) })
		if err := b.register(ctx); err != nil && ctx.Err() == nil {
			b.log.Warn("pawl: worker not registered again", "worker", b.name, "error", err)
		}
		return
	}
	b.setState(state)
	if len(missing) > 0 {
		b.cancelMissing(ctx, jobs, missing)
	}
	b.leases.reconcile(ctx, worker)
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
		"from pawl.heartbeat($1::bigint, $2::integer, $3::bigint[], $4::integer[]) b",
		[]any{worker, count, ids, epochs}, &toBe, &missing, &since)
	if err != nil || toBe == nil {
		return "", nil, err
	}
	if since != nil && !since.Equal(started) {
		// The row is another worker's. The database went back in time, and gave the id away a second time.
		return "", nil, nil
	}
	return *toBe, missing, nil
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
			if finished[job.ID] {
				cause = ErrCancelled
			}
			b.slots.cancel(cause, func(running *JobInfo) bool { return running == job })
		}
	})
}
