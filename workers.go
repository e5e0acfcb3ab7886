package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Worker is a runner's row in the database: one a call of Run.
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
	Stale     bool      // It is silent for so long that its jobs are about to be rescued.
}

// Workers are the workers that live, and those gone within the last day or until PurgeWorkers, oldest first.
func (c *Client) Workers(ctx context.Context) ([]Worker, error) {
	var workers []Worker
	err := c.query(ctx, `select w.id, w.name, w.host, w.state, w.version, w.pid, w.running, array_to_json(w.queues)::text, w.started_at, w.seen_at,
			w.gone_at is null and clock_timestamp() > greatest(w.seen_at, pg_postmaster_start_time()) + w.stale_after
		from pawl.worker w order by w.id`, nil, func(s scanner) error {
		var w Worker
		var queues *string
		err := s.Scan(&w.ID, &w.Name, &w.Host, &w.State, &w.Version, &w.PID, &w.Running, &queues, &w.StartedAt, &w.SeenAt, &w.Stale)
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
	return c.tellWorker(ctx, id, workerSuspended)
}

// ResumeWorker ends SuspendWorker.
func (c *Client) ResumeWorker(ctx context.Context, id int64) error {
	return c.tellWorker(ctx, id, workerReady)
}

// StopWorker ends a worker as if the context of its Run had ended: it drains, and Run returns. That cannot be taken back. It hears of it
// as of SuspendWorker.
func (c *Client) StopWorker(ctx context.Context, id int64) error {
	return c.tellWorker(ctx, id, workerStopping)
}

// What a worker may be told to be.
const (
	workerReady     = "ready"
	workerSuspended = "suspended"
	workerStopping  = "stopping"
)

func (c *Client) tellWorker(ctx context.Context, id int64, state string) error {
	var told *string
	err := c.row(ctx, "select pawl.tell_worker($1::bigint, $2::text)", []any{id, state}, &told)
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
