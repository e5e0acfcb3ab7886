package pawl

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// Tend does only the chores (rescue, cron, retention, partitions) until ctx ends, and returns nil then. Every Run does them beside its
// work unless told not to; Tend is for a process of their own, or where consumers alone work.
// Chores need no leader: each is safe to run anywhere, twice, or late.
func (c *Client) Maintain(ctx context.Context) error {
	if err := c.requirePool("Tend"); err != nil {
		return err
	}
	if err := c.checkSchema(ctx); err != nil {
		return err
	}
	c.maintain(ctx, 3*time.Second)
	return nil
}

// choreSilence is how often it is said that a chore still fails: in an outage all of them do, each second.
const quietFailures = time.Minute

// chore is one duty: done every so often, and not more than a twentieth of the time.
type maintenanceTask struct {
	name  string
	every time.Duration
	do    func(context.Context) error
	wait  func() time.Duration // If not nil, how long after a do the next one is due, instead of every.
}

func (c *Client) maintain(ctx context.Context, heartbeat time.Duration) {
	w := &rescuer{client: c, stale: 3 * heartbeat, sweep: 10 * heartbeat}
	t := &cronTicker{client: c}
	chores := []maintenanceTask{
		{name: "rescue", every: heartbeat / 3, do: w.rescue},
		{name: "followups", every: time.Second, do: c.runFollowups},
		{name: "permits", every: time.Second, do: c.reclaim},
		{name: "expire", every: time.Second, do: c.expire},
		{name: "cron", every: cronLook, do: t.do, wait: t.wait},
		{name: "partitions", every: time.Hour, do: c.makePartitions},
		{name: "retention", every: 10 * time.Minute, do: c.retain},
	}
	var each sync.WaitGroup
	for _, ch := range chores {
		each.Go(func() { ch.run(ctx, c.config.Logger) })
	}
	each.Wait()
}

func (ch maintenanceTask) run(ctx context.Context, log *slog.Logger) {
	var failing, said time.Time // Since when it fails, and when that was last said.
	// Spread over the workers: they often start together.
	wait := time.Duration(rand.Int64N(int64(min(ch.every, 10*time.Second)) + 1))
	for sleep(ctx, wait) {
		began := time.Now()
		err := ch.do(ctx)
		switch {
		case err == nil && !failing.IsZero():
			log.Info("pawl: chore works again", "chore", ch.name, "after", time.Since(failing).Round(time.Millisecond))
			failing, said = time.Time{}, time.Time{}
		case err != nil && ctx.Err() == nil:
			if failing.IsZero() {
				failing = began
			}
			if said.IsZero() || began.Sub(said) >= quietFailures {
				log.Warn("pawl: chore failed, it will be tried again", "chore", ch.name, "error", err, "since", failing)
				said = began
			}
		}
		wait = ch.every
		if err != nil {
			wait = min(wait, time.Minute) // What is done once an hour would be an hour late for an outage of a second.
		}
		wait = max(wait, 20*time.Since(began))
		if ch.wait != nil {
			wait = ch.wait()
		}
	}
}

// watch rescues, and knows when it was itself cut off.
type rescuer struct {
	client *Client
	stale  time.Duration
	last   time.Time // The last rescue that worked.
	blind  time.Time // Until then workers are not judged: their heartbeats may be late for the reason we were.
	sweep  time.Duration
	swept  time.Time     // When all leases were last read,
	cost   time.Duration // and how long that took.
}

func (w *rescuer) rescue(ctx context.Context) error {
	now := time.Now()
	if !w.last.IsZero() && now.Sub(w.last) > w.stale {
		w.blind = now.Add(w.stale)
	}
	sweep := now.Sub(w.swept) >= max(w.sweep, 20*w.cost)
	_, err := w.client.rescue(ctx, !now.Before(w.blind), sweep)
	if err == nil {
		w.last = time.Now()
		if sweep {
			w.swept, w.cost = w.last, w.last.Sub(now)
		}
	}
	return err
}

// rescue gives back what lost leases hold, until there is none left.
func (c *Client) rescue(ctx context.Context, judge, sweep bool) (jobs int64, err error) {
	for {
		const most = 100
		var workers, leases, moved, poisoned int64
		if err := c.row(ctx, "select * from pawl.rescue($1::integer, $2::boolean, $3::boolean)", []any{most, judge, sweep}, &workers, &leases, &moved, &poisoned); err != nil {
			return jobs, err
		}
		if workers+moved > 0 {
			c.config.Logger.Warn("pawl: rescued", "workers", workers, "leases", leases, "jobs", moved, "dead", poisoned)
		}
		jobs += moved
		if leases < most || moved == 0 {
			return jobs, nil
		}
	}
}
