package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Worker is a runner's row in the database, one a call of Run, or one that was registered by hand: then its PID is 0.
type Worker struct {
	ID        int64
	Name      string // Not unique: ids are.
	Host      string
	State     string // ready, suspended, stopping; gone: stopped, lost.
	Version   string
	PID       int
	Running   int      // By its last heartbeat.
	Queues    []string // If nil, all.
	StartedAt time.Time
	SeenAt    time.Time // Its last heartbeat.
	GoneAt    time.Time // Zero: it lives.
	Stale     bool      // It is silent for so long that its jobs are about to be rescued.

	Age    time.Duration // Since StartedAt, by the database's clock;
	Silent time.Duration // since SeenAt.

	StaleAfter time.Duration // So much silence makes it stale.
}

// WorkerStats are figures of workers: see CountWorkers. The gone are in Total, Stopped and Lost alone.
type WorkerStats struct {
	Queue string // "": any.

	Total, Ready, Suspended, Stopping, Stopped, Lost int

	Stale           int           // Of those that live: silent for so long that they are about to be taken for dead.
	Running         int           // Jobs.
	AverageRunning  float64       // Jobs a worker.
	OldestAge       time.Duration // How long the oldest has run.
	NewestHeartbeat time.Duration // How long ago the last heartbeat of any was.
}

// CountWorkers counts those of the workers that serve a queue, by name or because they serve all; "": all of them. A worker's running jobs
// may be of other queues, too.
func CountWorkers(workers []Worker, queue string) WorkerStats {
	stats := WorkerStats{Queue: queue}
	living := 0
	for _, w := range workers {
		if queue != "" && w.Queues != nil && !slices.Contains(w.Queues, queue) {
			continue
		}
		stats.Total++
		switch w.State {
		case workerReady:
			stats.Ready++
		case workerSuspended:
			stats.Suspended++
		case workerStopping:
			stats.Stopping++
		case workerStopped:
			stats.Stopped++
			continue
		case workerLost:
			stats.Lost++
			continue
		}
		if w.Stale {
			stats.Stale++
		}
		stats.Running += w.Running
		stats.OldestAge = max(stats.OldestAge, w.Age)
		if living++; living == 1 || w.Silent < stats.NewestHeartbeat {
			stats.NewestHeartbeat = w.Silent
		}
	}
	if living > 0 {
		stats.AverageRunning = float64(stats.Running) / float64(living)
	}
	return stats
}

// Workers are the workers that live, and those gone within the last day or until PurgeWorkers, oldest first.
func (c *Client) Workers(ctx context.Context) ([]Worker, error) {
	var workers []Worker
	err := c.query(ctx, `select w.id, w.name, w.host, w.state, w.version, w.pid, w.running, array_to_json(w.queues)::text, w.started_at, w.seen_at,
			w.gone_at is null and clock_timestamp() > greatest(w.seen_at, pg_postmaster_start_time()) + w.stale_after,
			extract(epoch from clock_timestamp() - w.started_at)::double precision, extract(epoch from clock_timestamp() - w.seen_at)::double precision,
			extract(epoch from w.stale_after)::double precision, w.gone_at
		from pawl.worker w order by w.id`, nil, func(s scanner) error {
		var w Worker
		var queues *string
		var age, silent, stale float64
		var gone *time.Time
		err := s.Scan(&w.ID, &w.Name, &w.Host, &w.State, &w.Version, &w.PID, &w.Running, &queues, &w.StartedAt, &w.SeenAt, &w.Stale, &age, &silent, &stale, &gone)
		w.Age, w.Silent, w.StaleAfter, w.GoneAt = span(&age), span(&silent), span(&stale), given(gone)
		if err == nil && queues != nil {
			err = json.Unmarshal([]byte(*queues), &w.Queues)
		}
		workers = append(workers, w)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("pawl: workers: %w", err)
	}
	return workers, nil
}

// Register makes a worker of who claims by hand, so that it is seen among Workers, and what it holds runs elsewhere once it is silent: see
// As. Its Name, Host, Version and Queues are told to others and mean nothing else; StaleAfter, if zero 9 s, is how long it may be
// silent. The other fields are not read. It lives until StopWorker, or until it is taken for dead; each Claim that is not in a
// transaction is a heartbeat, too.
func (c *Client) Register(ctx context.Context, worker Worker) (Worker, error) {
	for _, text := range append([]string{worker.Name, worker.Host, worker.Version}, worker.Queues...) {
		if len(text) > maxName || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			return Worker{}, fmt.Errorf("pawl: register: %.50q: want at most %d bytes of UTF-8, none of them zero", text, maxName)
		}
	}
	if worker.Name == "" || worker.StaleAfter < 0 {
		return Worker{}, errors.New("pawl: register: want a Name, and StaleAfter not negative")
	}
	if worker.StaleAfter == 0 {
		worker.StaleAfter = 9 * time.Second
	}
	worker.PID, worker.State, worker.Running, worker.GoneAt, worker.Stale, worker.Age, worker.Silent = 0, workerReady, 0, time.Time{}, false, 0, 0
	err := c.row(ctx, "select w, clock_timestamp() from pawl.register_worker($1::text, $2::text, 0, $3::text, $4::text[], $5::interval) w",
		[]any{worker.Name, worker.Host, worker.Version, worker.Queues, interval(worker.StaleAfter)}, &worker.ID, &worker.StartedAt)
	worker.SeenAt = worker.StartedAt
	if err != nil {
		return Worker{}, fmt.Errorf("pawl: register: %w", err)
	}
	return worker, nil
}

// As is the same client for a worker registered by hand: what it Claims is that worker's, and is given back when the lease ends or the
// worker is silent for too long, whichever comes first. It claims nothing while the worker is suspended or gone.
func (c *Client) As(worker Worker) *Client {
	return &Client{installation: c.installation, db: c.db, worker: &worker}
}

// Heartbeat says that a worker registered by hand lives, and returns the state it is told to be in: ready or suspended. ErrNotFound: it
// was stopped or taken for dead, and what it held runs elsewhere.
func (c *Client) Heartbeat(ctx context.Context, id int64) (state string, err error) {
	var told *string
	err = c.row(ctx, "select pawl.heartbeat($1::bigint)", []any{id}, &told)
	if err == nil && told == nil {
		err = ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("pawl: heartbeat of worker %d: %w", id, err)
	}
	return *told, nil
}

// ForgetWorker removes a worker that is gone from Workers, as PurgeWorkers does. ErrNotFound: there is none of this id. One that lives, and
// one of which jobs are still to be rescued, stays: an error says so.
func (c *Client) ForgetWorker(ctx context.Context, id int64) error {
	var forgotten int
	err := c.query(ctx, `delete from pawl.worker w
		where w.id = $1::bigint and w.gone_at is not null and not exists (select from pawl.lease l where l.worker_id = w.id)
		returning w.id`, []any{id}, func(scanner) error { forgotten++; return nil })
	if err == nil && forgotten == 0 {
		var gone bool
		err = c.row(ctx, "select w.gone_at is not null from pawl.worker w where w.id = $1::bigint", []any{id}, &gone)
		switch {
		case err == nil && gone:
			err = errors.New("its jobs are still to be rescued: ReleaseWorker gives them back")
		case err == nil:
			err = errors.New("it lives: StopWorker ends it")
		}
	}
	if err != nil {
		return fmt.Errorf("pawl: forget worker %d: %w", id, err)
	}
	return nil
}

// PurgeWorkers forgets workers that have been gone for longer than that, and says how many. A worker of which jobs are still to be
// rescued is kept.
func (c *Client) PurgeWorkers(ctx context.Context, olderThan time.Duration) (n int64, err error) {
	if olderThan < 0 {
		return 0, errors.New("pawl: PurgeWorkers: a negative duration")
	}
	err = c.query(ctx, `delete from pawl.worker w
		where w.gone_at < clock_timestamp() - $1::interval and not exists (select from pawl.lease l where l.worker_id = w.id)
		returning w.id`, []any{interval(olderThan)}, func(scanner) error { n++; return nil })
	if err != nil {
		return n, fmt.Errorf("pawl: purge workers: %w", err)
	}
	return n, nil
}

// SuspendWorker has a worker claim nothing until ResumeWorker; what it runs goes on. It hears of it at once, behind a pooler with its
// next heartbeat; a claim under way then is given back. ErrNotFound: no worker of this id lives.
func (c *Client) SuspendWorker(ctx context.Context, id int64) error {
	return c.setWorkerState(ctx, id, workerSuspended)
}

// ResumeWorker ends SuspendWorker.
func (c *Client) ResumeWorker(ctx context.Context, id int64) error {
	return c.setWorkerState(ctx, id, workerReady)
}

// StopWorker ends a worker as if the context of its Run had ended: it drains, and Run returns. That cannot be taken back. It hears of it
// as of SuspendWorker. One registered by hand is gone at once, and what it holds is given back.
func (c *Client) StopWorker(ctx context.Context, id int64) error {
	return c.setWorkerState(ctx, id, workerStopping)
}

// What a worker may be told to be.
const (
	workerReady     = "ready"
	workerSuspended = "suspended"
	workerStopping  = "stopping"
)

// What a worker that is gone is.
const (
	workerStopped = "stopped"
	workerLost    = "lost"
)

func (c *Client) setWorkerState(ctx context.Context, id int64, state string) error {
	var told *string
	err := c.row(ctx, "select pawl.set_worker_state($1::bigint, $2::text)", []any{id, state}, &told)
	switch {
	case err != nil:
		return fmt.Errorf("pawl: worker %d: %w", id, err)
	case told == nil:
		return fmt.Errorf("pawl: worker %d, of those that live: %w", id, ErrNotFound)
	case *told != state:
		return fmt.Errorf("pawl: worker %d is %s and cannot be %s any more", id, *told, state)
	}
	return nil
}

// ReleaseWorker gives back the jobs a worker holds, to be run again before all others, no attempt used and no strike, and says how
// many. The contexts of its handlers end with ErrLeaseLost, and nothing they answer counts. A worker that lives and is not suspended may take them again
// itself. ErrNotFound: there is no such worker.
func (c *Client) ReleaseWorker(ctx context.Context, id int64) (n int64, err error) {
	var exists bool
	err = c.row(ctx, "select pawl.release_worker($1::bigint), exists (select from pawl.worker w where w.id = $1::bigint)", []any{id}, &n, &exists)
	if err == nil && !exists && n == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return n, fmt.Errorf("pawl: release worker %d: %w", id, err)
	}
	return n, nil
}
