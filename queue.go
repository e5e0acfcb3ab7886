package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/pawlhq/pawl/pawlstate"
)

// Queue is a queue somebody said something of. One that was only used has no row and the default policy.
type Queue struct {
	Name      string
	Paused    bool
	Policy    QueuePolicy
	CreatedAt time.Time // When something was first said of it; zero: never.
}

// QueuePolicy is kept in the database and obeyed by every runner; a zero field is the default.
type QueuePolicy struct {
	MaxRunning        int            // At once over the whole cluster. If zero, no limit.
	ChannelMaxRunning int            // The same for each channel.
	Rate              Rate           // Of starts. If zero, no limit.
	ChannelRate       Rate           // The same for each channel.
	Weights           map[string]int // Shares of channels in a claim; 1 where absent.

	MaxAttempts int           // If zero, 20.
	Backoff     Backoff       // Where neither job nor kind has one.
	Lease       time.Duration // Of a Claim that names none. If zero, 30 s.
	HaltOnDead  bool          // An ordered channel stops at a dead head until ResumeChannel, or Retry of the dead job.
	Retention   *Retention    // If nil, DefaultRetention.
}

// Retention is how long finished jobs are kept; literally: zero deletes at once.
type Retention struct{ Completed, Cancelled, Dead time.Duration }

// DefaultRetention is that of a queue of which nothing else was said. To change it changes nothing.
var DefaultRetention = Retention{Completed: 24 * time.Hour, Cancelled: 24 * time.Hour, Dead: 30 * 24 * time.Hour}

// PutQueue sets a queue's policy, whole; it keeps the pause.
func (c *Client) PutQueue(ctx context.Context, name string, policy QueuePolicy) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("pawl: PutQueue: a queue's name has 1 to %d bytes", maxName)
	}
	if err := policy.Backoff.check(); err != nil {
		return fmt.Errorf("pawl: PutQueue: Backoff: %w", err)
	}
	if policy.MaxAttempts < 0 || policy.MaxAttempts > 32767 || policy.Lease < 0 {
		return errors.New("pawl: PutQueue: want MaxAttempts from 0 to 32767 and Lease not negative")
	}
	if policy.MaxRunning < 0 || policy.ChannelMaxRunning < 0 {
		return errors.New("pawl: PutQueue: MaxRunning or ChannelMaxRunning is negative; zero is no limit")
	}
	rate, err := policy.Rate.stored()
	if err != nil {
		return fmt.Errorf("pawl: PutQueue: Rate: %w", err)
	}
	channelRate, err := policy.ChannelRate.stored()
	if err != nil {
		return fmt.Errorf("pawl: PutQueue: ChannelRate: %w", err)
	}
	var weights *string
	if len(policy.Weights) > 0 {
		for channel, weight := range policy.Weights {
			if weight < 1 || weight > 1000 || len(channel) > maxName {
				return fmt.Errorf("pawl: PutQueue: Weights[%.50q] is %d; want 1 to 1000", channel, weight)
			}
		}
		b, err := json.Marshal(policy.Weights)
		if err != nil {
			return fmt.Errorf("pawl: PutQueue: Weights: %w", err)
		}
		s := string(b)
		weights = &s
	}
	number := func(n int) *int32 {
		if n == 0 {
			return nil
		}
		n32 := int32(min(n, math.MaxInt32))
		return &n32
	}
	var attempts *int16
	var backoff, lease, completed, cancelled, dead *string
	if policy.MaxAttempts > 0 {
		n := int16(policy.MaxAttempts)
		attempts = &n
	}
	if policy.Backoff != (Backoff{}) {
		b, _ := json.Marshal(policy.Backoff.stored())
		s := string(b)
		backoff = &s
	}
	span := func(d time.Duration) *string { s := interval(d); return &s }
	if policy.Lease > 0 {
		lease = span(policy.Lease)
	}
	if r := policy.Retention; r != nil {
		if r.Completed < 0 || r.Cancelled < 0 || r.Dead < 0 {
			return errors.New("pawl: PutQueue: a Retention is negative; zero deletes at once")
		}
		completed, cancelled, dead = span(r.Completed), span(r.Cancelled), span(r.Dead)
	}
	err = c.query(ctx, `insert into pawl.queue (name, max_attempts, backoff, lease, retain_completed, retain_cancelled, retain_dead, halt_on_dead,
			max_running, channel_max_running, rate, channel_rate, weights)
		values ($1::text, $2::smallint, $3::text::jsonb, $4::interval, $5::interval, $6::interval, $7::interval, $8::boolean,
			$9::integer, $10::integer, $11::text::jsonb, $12::text::jsonb, $13::text::jsonb)
		on conflict (name) do update set max_attempts = excluded.max_attempts, backoff = excluded.backoff, lease = excluded.lease,
			retain_completed = excluded.retain_completed, retain_cancelled = excluded.retain_cancelled, retain_dead = excluded.retain_dead,
			halt_on_dead = excluded.halt_on_dead, max_running = excluded.max_running, channel_max_running = excluded.channel_max_running,
			rate = excluded.rate, channel_rate = excluded.channel_rate, weights = excluded.weights`,
		[]any{name, attempts, backoff, lease, completed, cancelled, dead, policy.HaltOnDead,
			number(policy.MaxRunning), number(policy.ChannelMaxRunning), rate, channelRate, weights}, nil)
	if err == nil && policy.Retention != nil && c.db == nil {
		err = c.makePartitions(ctx)
	}
	return err
}

// PauseQueue stops claims of a queue, at once and everywhere; running jobs go on.
func (c *Client) PauseQueue(ctx context.Context, name string) error {
	return c.setPaused(ctx, name, true)
}

// ResumeQueue ends a pause.
func (c *Client) ResumeQueue(ctx context.Context, name string) error {
	return c.setPaused(ctx, name, false)
}

func (c *Client) setPaused(ctx context.Context, name string, paused bool) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("pawl: a queue's name has 1 to %d bytes", maxName)
	}
	err := c.query(ctx, `insert into pawl.queue (name, paused) values ($1::text, $2::boolean)
		on conflict (name) do update set paused = excluded.paused`, []any{name, paused}, nil)
	if err == nil && !paused {
		err = c.query(ctx, "select pawl.wake(array[$1::text])", []any{name}, nil)
	}
	return err
}

// ResumeChannel lets an ordered channel go on that stands still because its head died (QueuePolicy.HaltOnDead). ErrNotFound: it
// does not stand still.
func (c *Client) ResumeChannel(ctx context.Context, queue, channel string) error {
	var stood bool
	if err := c.row(ctx, "select pawl.resume_channel($1::text, $2::text)", []any{queue, channel}, &stood); err != nil {
		return fmt.Errorf("pawl: resume channel: %w", err)
	}
	if !stood {
		return fmt.Errorf("pawl: channel %q of queue %q does not stand still: %w", channel, queue, ErrNotFound)
	}
	return nil
}

// DeleteQueue forgets what was said of a queue: its policy, its pause, its channels that stand still. ErrQueueInUse while it has
// live jobs, or a worker lives that runs it by name; ErrNotFound if nothing was said of it. Finished jobs stay until their time has passed.
func (c *Client) DeleteQueue(ctx context.Context, name string) error {
	var became string
	if err := c.row(ctx, "select pawl.delete_queue($1::text)", []any{name}, &became); err != nil {
		return fmt.Errorf("pawl: delete queue: %w", err)
	}
	switch became {
	case "used":
		return fmt.Errorf("pawl: delete queue %q: %w", name, ErrQueueInUse)
	case "unknown":
		return fmt.Errorf("pawl: delete queue %q: %w", name, ErrNotFound)
	}
	return nil
}

// PurgeQueue deletes the live jobs of a queue, running ones too, as Delete of a Filter does, and says how many. Those inserted
// meanwhile stay. ErrNotFound: it has none, and nothing was said of the queue.
func (c *Client) PurgeQueue(ctx context.Context, name string) (int64, error) {
	if name == "" || len(name) > maxName {
		return 0, fmt.Errorf("pawl: a queue's name has 1 to %d bytes", maxName)
	}
	n, err := c.Delete(ctx, Filter{Queue: name, States: pawlstate.Live()})
	if err != nil || n > 0 {
		return n, err
	}
	var known bool
	if err := c.row(ctx, `select exists (select from pawl.queue q where q.name = $1::text)
		or exists (select from pawl.worker w where w.gone_at is null and $1::text = any (w.queues))`, []any{name}, &known); err != nil {
		return 0, fmt.Errorf("pawl: purge queue: %w", err)
	}
	if !known {
		return 0, fmt.Errorf("pawl: purge queue %q: %w", name, ErrNotFound)
	}
	return 0, nil
}

// Queues are the queues somebody said something of, and those with live jobs, by name.
func (c *Client) Queues(ctx context.Context) ([]Queue, error) {
	var queues []Queue
	err := c.query(ctx, `select u.name, coalesce(q.paused, false), coalesce(q.max_attempts, 0::smallint), q.backoff::text,
			extract(epoch from q.lease)::double precision, extract(epoch from q.retain_completed)::double precision,
			extract(epoch from q.retain_cancelled)::double precision, extract(epoch from q.retain_dead)::double precision, coalesce(q.halt_on_dead, false),
			coalesce(q.max_running, 0), coalesce(q.channel_max_running, 0), q.rate::text, q.channel_rate::text, q.weights::text, q.created_at
		from (select name from pawl.queue union select * from pawl.live_queues()) u (name)
		left join pawl.queue q on q.name = u.name
		order by u.name collate "C"`, nil, func(s scanner) error {
		var q Queue
		var attempts int16
		var backoff, rate, channelRate, weights *string
		var lease, completed, cancelled, dead *float64
		var created *time.Time
		if err := s.Scan(&q.Name, &q.Paused, &attempts, &backoff, &lease, &completed, &cancelled, &dead, &q.Policy.HaltOnDead,
			&q.Policy.MaxRunning, &q.Policy.ChannelMaxRunning, &rate, &channelRate, &weights, &created); err != nil {
			return err
		}
		for _, r := range []struct {
			text *string
			to   *Rate
		}{{rate, &q.Policy.Rate}, {channelRate, &q.Policy.ChannelRate}} {
			if r.text != nil {
				var stored storedRate
				if err := json.Unmarshal([]byte(*r.text), &stored); err != nil {
					return err
				}
				*r.to = stored.rate()
			}
		}
		if weights != nil {
			if err := json.Unmarshal([]byte(*weights), &q.Policy.Weights); err != nil {
				return err
			}
		}
		q.Policy.MaxAttempts, q.CreatedAt = int(attempts), given(created)
		if backoff != nil {
			var b storedBackoff
			if err := json.Unmarshal([]byte(*backoff), &b); err != nil {
				return err
			}
			q.Policy.Backoff = b.backoff()
		}
		span := func(s *float64) time.Duration { return seconds(*s) }
		if lease != nil {
			q.Policy.Lease = span(lease)
		}
		if completed != nil && cancelled != nil && dead != nil {
			q.Policy.Retention = &Retention{span(completed), span(cancelled), span(dead)}
		}
		queues = append(queues, q)
		return nil
	})
	return queues, err
}
