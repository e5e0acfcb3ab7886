package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pawlhq/pawl/internal/pg"
)

// A Worker is an entry in the database for a call of [Client.Run], or for a program that claims jobs itself and has
// called [Client.RegisterWorker]. The entry of a worker that has ended is kept for a day.
//
// Claim and Heartbeat are methods of a Worker that [Client.RegisterWorker] or Workers returned.
type Worker struct {
	// ID is the worker's number. It is never used for another worker.
	ID int64

	// Name describes the worker. Several workers may have the same name. It has 1 to 255 bytes.
	Name string

	// Host is the name of the machine that the worker runs on, at most 255 bytes.
	Host string

	// State is "ready", "suspended" or "stopping" for a live worker. It is "stopped" after a regular end, or "lost" if
	// the worker's heartbeats stopped.
	State string

	// Version is the version of the worker's program, at most 255 bytes.
	Version string

	// PID is the number of the worker's process. It is 0 for a worker made with RegisterWorker.
	PID int

	// Running is the number of jobs that the worker ran at its last heartbeat. Jobs whose handlers are stuck do not count.
	Running int

	// Stuck has the kind of each handler that was stuck at the last heartbeat, at most 1,000: see RunnerConfig.StuckAfter.
	Stuck []string

	// Problem says which work of the worker fails at its last heartbeat, such as claims, since when and why. It is empty
	// if all works.
	Problem string

	// Queues are the queues that the worker runs. If nil, it runs all of them.
	Queues []string

	// StartedAt, SeenAt and GoneAt are the times of the worker's start, of its last heartbeat and of its end. GoneAt
	// is zero if the worker is live.
	StartedAt, SeenAt, GoneAt time.Time

	// Stale reports whether a live worker has been silent for so long that its jobs are about to be rescued.
	Stale bool

	// Age and Silent are the times since StartedAt and since SeenAt, by the database's clock.
	Age, Silent time.Duration

	// StaleAfter is how long the worker may be silent before it is stale. It defaults to 9 seconds.
	StaleAfter time.Duration

	client *Client
}

// The states of a live worker.
const (
	workerReady     = "ready"
	workerSuspended = "suspended"
	workerStopping  = "stopping"
)

// Workers returns the live workers, and those that have been gone for less than a day or until PurgeWorkers. They are
// sorted by ID.
func (c *Client) Workers(ctx context.Context) ([]Worker, error) {
	var workers []Worker
	err := c.query(ctx, `select w.id, w.name, w.host, w.state, w.version, w.pid, w.running,
			array_to_json(w.queues)::text, w.started_at, w.seen_at, w.gone_at,
			w.gone_at is null and clock_timestamp() > greatest(w.seen_at, pg_postmaster_start_time()) + w.stale_after,
			extract(epoch from clock_timestamp() - w.started_at)::double precision,
			extract(epoch from clock_timestamp() - w.seen_at)::double precision,
			extract(epoch from w.stale_after)::double precision,
			array_to_json(w.stuck)::text, coalesce(w.problem, '')
		from pawl.worker w order by w.id`, nil, func(s scanner) error {
		w := Worker{client: c}
		var queues, stuck *string
		var age, silent, staleAfter float64
		var gone *time.Time
		err := s.Scan(&w.ID, &w.Name, &w.Host, &w.State, &w.Version, &w.PID, &w.Running,
			&queues, &w.StartedAt, &w.SeenAt, &gone, &w.Stale, &age, &silent, &staleAfter, &stuck, &w.Problem)
		w.Age, w.Silent, w.StaleAfter, w.GoneAt = seconds(age), seconds(silent), seconds(staleAfter), valueOrZero(gone)
		if err == nil && queues != nil {
			err = json.Unmarshal([]byte(*queues), &w.Queues)
		}
		if err == nil && stuck != nil {
			err = json.Unmarshal([]byte(*stuck), &w.Stuck)
		}
		workers = append(workers, w)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("pawl: list workers: %w", err)
	}
	return workers, nil
}

// RegisterWorker makes a worker for a program that claims jobs itself instead of calling Run. Other processes see the
// worker in Workers and can suspend or stop it. If the worker is silent for StaleAfter, its jobs are rescued and run
// on other workers.
//
// RegisterWorker reads Name, Host, Version, Queues and StaleAfter of worker and ignores the other fields. Queues is
// shown by [Client.Workers] and does not limit which jobs the worker can claim.
//
// The worker has to call Heartbeat more often than every StaleAfter. A Claim outside a transaction is a heartbeat
// too. The worker lives until [Client.StopWorker], or until it is silent for too long.
func (c *Client) RegisterWorker(ctx context.Context, worker Worker) (*Worker, error) {
	for _, text := range append([]string{worker.Name, worker.Host, worker.Version}, worker.Queues...) {
		if len(text) > maxName || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			return nil, fmt.Errorf("pawl: register worker %.50q: %.50q: want at most %d bytes of UTF-8 without zero bytes",
				worker.Name, text, maxName)
		}
	}
	if worker.Name == "" {
		return nil, errors.New("pawl: register worker: Name is empty: give it a name")
	}
	if worker.StaleAfter < 0 {
		return nil, fmt.Errorf("pawl: register worker %q: StaleAfter is %v: want a positive time, or 0 for 9s",
			worker.Name, worker.StaleAfter)
	}
	registered := &Worker{
		Name: worker.Name, Host: worker.Host, Version: worker.Version, Queues: worker.Queues,
		StaleAfter: worker.StaleAfter, State: workerReady, client: c,
	}
	if registered.StaleAfter == 0 {
		registered.StaleAfter = 9 * time.Second
	}
	err := c.row(ctx, `select w, clock_timestamp()
		from pawl.register_worker($1::text, $2::text, 0, $3::text, $4::text[], $5::interval) w`,
		[]any{worker.Name, worker.Host, worker.Version, worker.Queues, pg.Interval(registered.StaleAfter)},
		&registered.ID, &registered.StartedAt)
	if err != nil {
		return nil, fmt.Errorf("pawl: register worker %q: %w", worker.Name, err)
	}
	registered.SeenAt = registered.StartedAt
	return registered, nil
}

// Claim claims jobs for the worker, as [Client.Claim] does. The jobs are given back when the lease ends or when the
// worker is stale, whichever comes first. A suspended worker gets no jobs. Claim returns [ErrNotFound] if the worker
// is gone.
//
// To claim in a transaction, take the worker from the Workers of a client made by [Client.With].
func (w *Worker) Claim(ctx context.Context, queue string, n int, lease time.Duration, kinds ...string) (Jobs, error) {
	if w.client == nil {
		return nil, w.unregistered("claim")
	}
	return w.client.claimAs(ctx, w, queue, n, lease, kinds)
}

// Heartbeat says that the worker is live and returns the state that it should be in: ready or suspended. It returns
// [ErrNotFound] if the worker was stopped or was silent for too long. Its jobs then run on other workers.
func (w *Worker) Heartbeat(ctx context.Context) (state string, err error) {
	if w.client == nil {
		return "", w.unregistered("send heartbeat")
	}
	var current *string
	err = w.client.row(ctx, "select pawl.heartbeat($1::bigint)", []any{w.ID}, &current)
	if err == nil && current == nil {
		err = ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("pawl: send heartbeat of worker %d: %w", w.ID, err)
	}
	return *current, nil
}

func (w *Worker) unregistered(verb string) error {
	return fmt.Errorf("pawl: %s for worker %q: it is not in the database: use the Worker that RegisterWorker returned",
		verb, w.Name)
}

// PurgeWorkers deletes workers that have been gone for longer than olderThan and returns how many it deleted. It keeps
// a worker whose jobs are still to be rescued.
//
// With ids PurgeWorkers deletes only these workers and explains why it kept one. It returns [ErrNotFound] for an id
// that does not exist. It returns another error for a worker that is live, was gone for less than olderThan, or has
// jobs to be rescued. The other workers are deleted all the same.
func (c *Client) PurgeWorkers(ctx context.Context, olderThan time.Duration, ids ...int64) (n int64, err error) {
	if olderThan < 0 {
		return 0, fmt.Errorf("pawl: purge workers: olderThan is %v: want 0 or a positive time", olderThan)
	}
	deleted := map[int64]bool{}
	err = c.query(ctx, `delete from pawl.worker w
		where w.gone_at < clock_timestamp() - $1::interval and ($2::bigint[] is null or w.id = any ($2::bigint[]))
			and not exists (select from pawl.lease l where l.worker_id = w.id)
		returning w.id`, []any{pg.Interval(olderThan), ids}, func(s scanner) error {
		var id int64
		err := s.Scan(&id)
		deleted[id] = true
		return err
	})
	n = int64(len(deleted))
	if err != nil {
		return n, fmt.Errorf("pawl: purge workers: %w", err)
	}
	var kept []error
	for _, id := range ids {
		if !deleted[id] {
			kept = append(kept, fmt.Errorf("pawl: purge worker %d: %w", id, c.whyKept(ctx, id)))
		}
	}
	return n, errors.Join(kept...)
}

// whyKept returns why PurgeWorkers did not delete a worker.
func (c *Client) whyKept(ctx context.Context, id int64) error {
	var gone, leased bool
	err := c.row(ctx, `select w.gone_at is not null, exists (select from pawl.lease l where l.worker_id = w.id)
		from pawl.worker w where w.id = $1::bigint`, []any{id}, &gone, &leased)
	switch {
	case err != nil:
		return err
	case !gone:
		return errors.New("it is live: stop it with StopWorker")
	case leased:
		return errors.New("its jobs are still to be rescued: give them back with ReleaseWorker")
	default:
		return errors.New("it has not been gone for long enough: give a smaller olderThan")
	}
}

// SuspendWorker stops a worker from claiming jobs until ResumeWorker. Jobs that it runs continue. The worker is
// notified at once, or behind a transaction pooler at its next heartbeat. It gives back the jobs of a claim that is
// running at that moment. SuspendWorker returns [ErrNotFound] if there is no live worker of this id.
func (c *Client) SuspendWorker(ctx context.Context, id int64) error {
	return c.setWorkerState(ctx, "suspend", id, workerSuspended)
}

// ResumeWorker lets a suspended worker claim jobs again. It returns [ErrNotFound] if there is no live worker of this
// id, and another error if the worker is stopping.
func (c *Client) ResumeWorker(ctx context.Context, id int64) error {
	return c.setWorkerState(ctx, "resume", id, workerReady)
}

// StopWorker ends a worker as if the context of its Run had ended: it drains, and Run returns. This cannot be undone.
// The worker is notified as by [Client.SuspendWorker]. A worker made with [Client.RegisterWorker] ends at once and
// its jobs are given back. StopWorker returns [ErrNotFound] if there is no live worker of this id.
func (c *Client) StopWorker(ctx context.Context, id int64) error {
	return c.setWorkerState(ctx, "stop", id, workerStopping)
}

func (c *Client) setWorkerState(ctx context.Context, verb string, id int64, state string) error {
	var current *string
	err := c.row(ctx, "select pawl.set_worker_state($1::bigint, $2::text)", []any{id, state}, &current)
	switch {
	case err != nil:
	case current == nil:
		err = fmt.Errorf("no live worker has this id: %w", ErrNotFound)
	case *current != state:
		err = fmt.Errorf("it is %s, which cannot be undone", *current)
	}
	if err != nil {
		return fmt.Errorf("pawl: %s worker %d: %w", verb, id, err)
	}
	return nil
}

// ReleaseWorker gives back the jobs that a worker has claimed and returns how many. The jobs run before other jobs.
// No attempt is used, and no crash is counted. The contexts of their handlers end with [ErrLeaseLost] and their
// results are discarded. A live worker that is not suspended may claim the same jobs again. ReleaseWorker returns
// [ErrNotFound] if there is no worker of this id.
func (c *Client) ReleaseWorker(ctx context.Context, id int64) (n int64, err error) {
	var exists bool
	err = c.row(ctx, `select pawl.release_worker($1::bigint),
			exists (select from pawl.worker w where w.id = $1::bigint)`, []any{id}, &n, &exists)
	if err == nil && !exists && n == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return n, fmt.Errorf("pawl: release worker %d: %w", id, err)
	}
	return n, nil
}
