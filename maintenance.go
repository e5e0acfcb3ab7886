package pawl

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pawlhq/pawl/internal/outage"
	"github.com/pawlhq/pawl/internal/pg"
)

// Maintain does maintenance until ctx ends, and returns nil then: it rescues jobs, runs followups and crons, makes
// partitions and applies retention. It runs no jobs.
//
// Each [Client.Run] also does maintenance unless RunnerConfig.NoMaintenance is set. Call Maintain in a process that
// does nothing else, or if all workers are consumers. Maintenance needs no leader: each task may run in many
// processes at once, twice, or late.
func (c *Client) Maintain(ctx context.Context) error {
	if err := c.requirePool("Maintain"); err != nil {
		return err
	}
	if err := c.checkSchema(ctx); err != nil {
		return err
	}
	c.maintain(ctx, defaultHeartbeat)
	return nil
}

// maintain runs the maintenance tasks until ctx ends.
func (c *Client) maintain(ctx context.Context, heartbeat time.Duration) {
	rescuer := &rescuer{client: c, stale: staleHeartbeats * heartbeat, sweepEvery: 10 * heartbeat}
	ticker := &cronTicker{client: c}
	restorer := &restorer{client: c}
	tasks := []maintenanceTask{
		{name: "rescue", every: heartbeat / 3, do: rescuer.rescue},
		{name: "followups", every: time.Second, do: c.runFollowups},
		{name: "permits", every: time.Second, do: c.reclaim},
		{name: "expire", every: time.Second, do: c.expire},
		{name: "mutexes", every: 10 * time.Second, do: c.pruneMutexes},
		{name: "cron", every: cronLook, do: ticker.do, wait: ticker.wait},
		{name: "restore", every: time.Minute, do: restorer.restore},
		{name: "partitions", every: time.Hour, do: c.makePartitions},
		{name: "retention", every: 10 * time.Minute, do: c.retain},
	}
	var running sync.WaitGroup
	for _, task := range tasks {
		running.Go(func() { task.run(ctx, c.config.Logger, c.outages) })
	}
	running.Wait()
}

// A maintenanceTask runs at intervals, for at most a twentieth of the time.
type maintenanceTask struct {
	name  string
	every time.Duration
	do    func(context.Context) error
	wait  func() time.Duration // If not nil, it returns the time until the next do, instead of every.
}

const (
	maintenanceShare = 20               // The share of time that a task may take, as its inverse.
	maxSpread        = 10 * time.Second // The first do of a task is delayed by up to this time.
	maxTaskRetry     = time.Minute      // A task that failed is done again after this time, at the latest.
)

// run does the task until ctx ends.
func (t maintenanceTask) run(ctx context.Context, log *slog.Logger, outages *outages) {
	failures := &outage.Outage{
		Logger: log, What: "runs of maintenance task " + t.name, Attrs: []any{"task", t.name},
		Lost: "pawl: maintenance task failed; it will be tried again", Back: "pawl: maintenance task works again",
	}
	defer outages.watch(failures)()
	// Workers often start together, so the first time is spread at random.
	wait := time.Duration(rand.Int64N(int64(min(t.every, maxSpread)) + 1))
	for pg.Sleep(ctx, wait) {
		began := time.Now()
		err := t.do(ctx)
		if ctx.Err() == nil || err == nil {
			failures.Record(err)
		}
		wait = t.every
		if err != nil {
			wait = min(wait, maxTaskRetry) // An hourly task must not be an hour late after an outage of a second.
		}
		wait = max(wait, maintenanceShare*time.Since(began))
		if t.wait != nil {
			wait = t.wait()
		}
	}
}

// A rescuer rescues the jobs of stale workers and of expired leases. It also records when it had no connection to the
// database itself.
type rescuer struct {
	client     *Client
	stale      time.Duration
	last       time.Time // When a rescue last worked.
	blindUntil time.Time // Until then no worker is found stale: all may be silent for the same reason.
	sweepEvery time.Duration
	swept      time.Time     // When all leases were last read.
	sweepCost  time.Duration // How long that took.
}

// rescue rescues once. At intervals it reads all leases.
func (r *rescuer) rescue(ctx context.Context) error {
	now := time.Now()
	if !r.last.IsZero() && now.Sub(r.last) > r.stale {
		r.blindUntil = now.Add(r.stale)
	}
	sweep := now.Sub(r.swept) >= max(r.sweepEvery, maintenanceShare*r.sweepCost)
	if _, err := r.client.rescue(ctx, !now.Before(r.blindUntil), sweep); err != nil {
		return err
	}
	r.last = time.Now()
	if sweep {
		r.swept, r.sweepCost = r.last, r.last.Sub(now)
	}
	return nil
}

// maxRescued is how many leases one statement rescues, at most.
const maxRescued = 100

// rescue gives back the jobs of lost leases, until there is none left. If judge is true, it also finds workers stale.
// If sweep is true, it reads all leases. It returns the number of jobs.
func (c *Client) rescue(ctx context.Context, judge, sweep bool) (jobs int64, err error) {
	for {
		var workers, leases, moved, poisoned int64
		err := c.row(ctx, "select * from pawl.rescue($1::integer, $2::boolean, $3::boolean)",
			[]any{maxRescued, judge, sweep}, &workers, &leases, &moved, &poisoned)
		if err != nil {
			return jobs, err
		}
		if workers+moved > 0 {
			c.config.Logger.Warn("pawl: rescued",
				"workers", workers, "leases", leases, "jobs", moved, "dead", poisoned)
		}
		jobs += moved
		if leases < maxRescued || moved == 0 {
			return jobs, nil
		}
	}
}

// pruneMutexes deletes the mutexes that are not in use.
func (c *Client) pruneMutexes(ctx context.Context) error {
	for {
		const most = 10_000
		var n int64
		if err := c.row(ctx, "select pawl.prune_mutexes($1::integer)", []any{most}, &n); err != nil || n < most {
			return err
		}
	}
}

// A restorer looks at all live jobs, a part of them at a time, for jobs that have neither a ticket nor a lease. No such
// job should exist, and no worker would ever run it.
type restorer struct {
	client *Client
	after  int64 // The id that the last look reached.
}

// restoredPart is how many jobs one look reads.
const restoredPart = 2000

// restore looks at the next part of the jobs.
func (r *restorer) restore(ctx context.Context) error {
	var reached *int64
	var restored int64
	err := r.client.row(ctx, "select * from pawl.restore_lost($1::bigint, $2::integer)",
		[]any{r.after, restoredPart}, &reached, &restored)
	if err != nil {
		return err
	}
	if restored > 0 {
		r.client.config.Logger.Warn("pawl: jobs had neither a ticket nor a lease; they are ready again", "jobs", restored)
	}
	r.after = valueOrZero(reached)
	return nil
}
