package pawl

import (
	"context"
	"maps"
	"os"
	"runtime/debug"
	"sync"
	"time"
)

func (r *runner) register(ctx context.Context) error {
	host, _ := os.Hostname()
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	var id int64
	var started time.Time
	err := r.client.row(ctx, "select pawl.register_worker($1::text, $2::text, $3::integer, $4::text, $5::text[], $6::interval, $7::text)",
		[]any{r.config.Name, host, os.Getpid(), version, r.queues, interval(3 * r.config.Heartbeat), r.lastState()}, &id)
	if err == nil {
		err = r.client.row(ctx, "select pawl.worker_started_at($1::bigint)", []any{id}, &started)
	}
	if err == nil {
		r.mu.Lock()
		r.worker, r.started = id, started
		r.mu.Unlock()
	}
	return err
}

// beat is the heartbeat: it tells that this worker lives, and learns what it lost.
func (r *runner) heartbeat(ctx context.Context) {
	strange := map[string]bool{}
	var asking sync.WaitGroup // Searches of the archive, which the heartbeat must not wait for.
	defer asking.Wait()
	var compared time.Time
	var cost time.Duration
	for last := time.Now(); r.waitForHeartbeat(ctx, last); {
		began := time.Now()
		last = began
		r.mu.Lock()
		worker, started, count := r.worker, r.started, r.count
		jobs := make([]*JobInfo, 0, count)
		for run := r.firstRunning; run != nil; run = run.next {
			jobs = append(jobs, run.job)
		}
		r.mu.Unlock()
		ids, epochs := idsAndEpochs(jobs)
		var state *string
		var lost []int64
		var since *time.Time
		trying, cancel := context.WithTimeout(ctx, max(r.config.Heartbeat, time.Second))
		err := r.client.row(trying, `select b.*, pawl.worker_started_at($1::bigint) from pawl.heartbeat($1::bigint, $2::integer, $3::bigint[], $4::integer[]) b`, []any{worker, count, ids, epochs}, &state, &lost, &since)
		cancel()
		if err == nil && since != nil && !since.Equal(started) {
			state = nil // Another's row: the database went back in time and gave the id away once more.
		}
		switch {
		case err != nil:
			if ctx.Err() == nil {
				r.log.Warn("pawl: heartbeat failed", "worker", r.config.Name, "error", err)
			}
		case state == nil:
			r.log.Warn("pawl: this worker was taken for dead; its jobs run elsewhere", "worker", r.config.Name)
			r.cancelContexts(ErrLeaseLost, func(run *running) bool { return run.since.Before(began) })
			if err := r.register(ctx); err != nil && ctx.Err() == nil {
				r.log.Warn("pawl: worker not registered again", "error", err)
			}
		default:
			r.setState(*state)
			if len(lost) > 0 {
				r.handleMissing(ctx, &asking, jobs, lost)
			}
		}
		if err == nil && state != nil && time.Since(compared) >= max(20*cost, r.config.Heartbeat/2) {
			compared = time.Now()
			strange = r.reconcile(ctx, worker, strange)
			cost = time.Since(compared)
		}
	}
}

// hailSpacing is the least time between a heartbeat and one that is called for.
const pokeSpacing = 100 * time.Millisecond

// rest waits for the next heartbeat: for its time, or until one is called for, and that not too soon after the last.
func (r *runner) waitForHeartbeat(ctx context.Context, last time.Time) bool {
	timer := time.NewTimer(r.config.Heartbeat)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.sleep.poked:
		return sleep(ctx, pokeSpacing-time.Since(last))
	case <-ctx.Done():
		return false
	}
}

// obey is the worker being told what to be.
func (r *runner) setState(state string) {
	r.mu.Lock()
	changed := state != r.state
	if changed {
		r.state = state
		close(r.stateChanged)
		r.stateChanged = make(chan struct{})
		if state != workerReady {
			r.suspend()
		}
	}
	r.mu.Unlock()
	if changed {
		r.log.Info("pawl: the worker was told to be "+state, "worker", r.config.Name)
	}
	if state == workerStopping {
		r.stop()
	}
}

// told is what the worker was last told to be.
func (r *runner) lastState() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
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
	err := r.client.query(ctx, "select id::text from pawl.worker_leases($1::bigint) id", []any{worker}, func(s scanner) error {
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
// What was answered since the question was asked is not lost, only gone; at a high rate that is most of it.
func (r *runner) handleMissing(ctx context.Context, asking *sync.WaitGroup, asked []*JobInfo, ids []int64) {
	missing := make(map[ID]bool, len(ids))
	for _, id := range ids {
		missing[ID(id)] = true
	}
	question := make(map[*JobInfo]bool, len(asked))
	for _, job := range asked {
		question[job] = missing[job.ID]
	}
	gone := map[ID]*JobInfo{}
	var jobs []*JobInfo
	r.mu.Lock()
	for run := r.firstRunning; run != nil; run = run.next {
		if job := run.job; question[job] && !job.finishedByHand.Load() {
			gone[job.ID], jobs = job, append(jobs, job)
		}
	}
	r.mu.Unlock()
	if len(gone) == 0 {
		return
	}
	asking.Go(func() {
		finished, err := r.client.findFinished(ctx, jobs)
		if err != nil {
			return // Asked again at the next heartbeat.
		}
		for id, job := range gone {
			cause := ErrLeaseLost
			if finished[id] {
				cause = ErrCancelled
			}
			r.cancelContexts(cause, func(run *running) bool { return run.job == job })
		}
	})
}

// lose ends the contexts of lost jobs; what was claimed after the question was asked is not meant.
func (r *runner) cancelContexts(cause error, meant func(*running) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for run := r.firstRunning; run != nil; run = run.next {
		if meant(run) {
			run.cancel(cause)
		}
	}
}
