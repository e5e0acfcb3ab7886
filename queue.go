package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/pawlhq/pawl/internal/pg"
	"github.com/pawlhq/pawl/pawlstate"
)

// A Queue is a queue and its policy: limits, defaults and retention. The policy is stored in the database and applies
// to every runner and consumer. A zero field means the default.
//
// A queue needs no [Client.PutQueue] before its first job: until then it has the default policy.
type Queue struct {
	// Name is the queue's name, from 1 to 255 bytes.
	Name string

	// Paused reports whether the queue is paused. PutQueue ignores it: see PauseQueue and ResumeQueue.
	Paused bool

	// CreatedAt is the time at which the queue was first configured or paused. It is zero if the queue was neither
	// configured nor paused. PutQueue ignores it.
	CreatedAt time.Time

	// MaxRunning is the number of jobs that may run at once in the whole cluster. If zero, there is no limit.
	MaxRunning int

	// ChannelMaxRunning is the number of jobs of each channel that may run at once in the whole cluster. If zero,
	// there is no limit.
	ChannelMaxRunning int

	// Rate limits how many jobs start in the whole cluster. If zero, there is no limit.
	Rate Rate

	// ChannelRate limits how many jobs of each channel start in the whole cluster. If zero, there is no limit.
	ChannelRate Rate

	// Weights maps channels to their shares of a claim, from 1 to 1000. A channel that is not in the map has weight 1.
	Weights map[string]int

	// MaxAttempts is the number of attempts before a job is dead, at most 32,767. JobSpec.MaxAttempts and the defaults
	// of the args take precedence. It defaults to 20.
	MaxAttempts int

	// Backoff is the wait after a failed attempt. JobSpec.Backoff and KindOptions.Backoff take precedence.
	Backoff Backoff

	// Lease is how long jobs stay claimed if Claim is called with a lease of 0. It defaults to 30 seconds.
	Lease time.Duration

	// HaltOnDead halts an ordered channel when the job at its head dies. ResumeChannel continues the channel, and so
	// does Retry of the dead job.
	HaltOnDead bool

	// RetainCompleted and RetainCancelled are how long completed and cancelled jobs are kept. They default to 24
	// hours. If negative, jobs are deleted when they finish.
	RetainCompleted, RetainCancelled time.Duration

	// RetainDead is how long dead jobs are kept. It defaults to 30 days. If negative, jobs are deleted when they die.
	RetainDead time.Duration
}

// PutQueue stores a queue's policy and replaces the stored one. Fields that are zero are reset to their defaults.
// PutQueue does not pause or resume the queue. Limits take effect at once, the rest of the policy within a second.
//
// If several callers change the same queue at once, the last one wins.
func (c *Client) PutQueue(ctx context.Context, queue Queue) error {
	if err := checkQueueName("put", queue.Name); err != nil {
		return err
	}
	stored, err := queue.stored()
	if err != nil {
		return fmt.Errorf("pawl: put queue %q: %w", queue.Name, err)
	}
	err = c.query(ctx, `insert into pawl.queue as q (name, max_attempts, backoff, lease,
			retain_completed, retain_cancelled, retain_dead, halt_on_dead,
			max_running, channel_max_running, rate, channel_rate, weights)
		values ($1::text, $2::smallint, $3::text::jsonb, $4::interval,
			$5::interval, $6::interval, $7::interval, $8::boolean,
			$9::integer, $10::integer, $11::text::jsonb, $12::text::jsonb, $13::text::jsonb)
		on conflict (name) do update set max_attempts = excluded.max_attempts, backoff = excluded.backoff,
			lease = excluded.lease, retain_completed = excluded.retain_completed,
			retain_cancelled = excluded.retain_cancelled, retain_dead = excluded.retain_dead,
			halt_on_dead = excluded.halt_on_dead, max_running = excluded.max_running,
			channel_max_running = excluded.channel_max_running, rate = excluded.rate,
			channel_rate = excluded.channel_rate, weights = excluded.weights`,
		[]any{queue.Name, stored.maxAttempts, stored.backoff, stored.lease,
			stored.retainCompleted, stored.retainCancelled, stored.retainDead, queue.HaltOnDead,
			stored.maxRunning, stored.channelMaxRunning, stored.rate, stored.channelRate, stored.weights}, nil)
	if err == nil && (stored.maxRunning != nil || stored.channelMaxRunning != nil ||
		stored.rate != nil || stored.channelRate != nil) {
		// Otherwise the first claim would insert it, and others would wait for that claim's transaction.
		err = c.query(ctx, "select pawl.add_mutexes('limit', array[$1::text], array[''])", []any{queue.Name}, nil)
	}
	if err == nil && (queue.RetainCompleted > 0 || queue.RetainCancelled > 0) && c.db == nil {
		// A job that finishes soon needs a partition of the archive as far ahead as its new retention.
		err = c.makePartitions(ctx)
	}
	if err != nil {
		return fmt.Errorf("pawl: put queue %q: %w", queue.Name, err)
	}
	return nil
}

// storedQueue is a queue's policy as the columns of its row; nil is null, which stands for the default.
type storedQueue struct {
	maxAttempts                                  *int16
	maxRunning, channelMaxRunning                *int32
	backoff, rate, channelRate, weights          *string // JSON.
	lease                                        *string // An interval, as are the next three.
	retainCompleted, retainCancelled, retainDead *string
}

// stored checks the queue's policy and returns it as columns.
func (q Queue) stored() (s storedQueue, err error) {
	if err := q.check(); err != nil {
		return s, err
	}
	if s.rate, err = q.Rate.stored(); err != nil {
		return s, fmt.Errorf("field Rate: %w", err)
	}
	if s.channelRate, err = q.ChannelRate.stored(); err != nil {
		return s, fmt.Errorf("field ChannelRate: %w", err)
	}
	if len(q.Weights) > 0 {
		if s.weights, err = jsonText(q.Weights); err != nil {
			return s, fmt.Errorf("field Weights: %w", err)
		}
	}
	if q.Backoff != (Backoff{}) {
		if s.backoff, err = jsonText(q.Backoff.stored()); err != nil {
			return s, fmt.Errorf("field Backoff: %w", err)
		}
	}
	if q.MaxAttempts > 0 {
		s.maxAttempts = new(int16(q.MaxAttempts))
	}
	if q.MaxRunning > 0 {
		s.maxRunning = new(int32(min(q.MaxRunning, math.MaxInt32)))
	}
	if q.ChannelMaxRunning > 0 {
		s.channelMaxRunning = new(int32(min(q.ChannelMaxRunning, math.MaxInt32)))
	}
	if q.Lease > 0 {
		s.lease = new(pg.Interval(q.Lease))
	}
	s.retainCompleted = storedRetention(q.RetainCompleted)
	s.retainCancelled = storedRetention(q.RetainCancelled)
	s.retainDead = storedRetention(q.RetainDead)
	return s, nil
}

func (q Queue) check() error {
	if err := q.Backoff.check(); err != nil {
		return fmt.Errorf("field Backoff: %w", err)
	}
	if q.MaxAttempts < 0 || q.MaxAttempts > math.MaxInt16 {
		return fmt.Errorf("field MaxAttempts is %d: want 0 to %d", q.MaxAttempts, math.MaxInt16)
	}
	if q.Lease < 0 {
		return fmt.Errorf("field Lease is %v: want a positive time, or 0 for the default", q.Lease)
	}
	if q.MaxRunning < 0 || q.ChannelMaxRunning < 0 {
		return errors.New("field MaxRunning or ChannelMaxRunning is negative: want 0 for no limit")
	}
	for channel, weight := range q.Weights {
		if len(channel) > maxName {
			return fmt.Errorf("Weights[%.50q]: the channel has %d bytes: want at most %d", channel, len(channel), maxName)
		}
		if weight < 1 || weight > maxWeight {
			return fmt.Errorf("Weights[%.50q] is %d: want 1 to %d", channel, weight, maxWeight)
		}
	}
	return nil
}

// maxWeight is the largest weight of a channel.
const maxWeight = 1000

// storedRetention turns a retention of a Queue into the column's interval. The column has null for the default, which
// is zero in a Queue, and 0 for deletion at once, which is negative in a Queue.
func storedRetention(d time.Duration) *string {
	if d == 0 {
		return nil
	}
	return new(pg.Interval(max(d, 0)))
}

// retention turns the column's seconds back into a retention of a Queue.
func retention(s *float64) time.Duration {
	switch d := durationOrZero(s); {
	case s == nil:
		return 0
	case d == 0:
		return -1
	default:
		return d
	}
}

func checkQueueName(verb, name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("pawl: %s queue %.50q: the name has %d bytes: want 1 to %d", verb, name, len(name), maxName)
	}
	return nil
}

// PauseQueue stops all claims from a queue at once, in the whole cluster, until [Client.ResumeQueue]. Running jobs
// continue, and jobs can be inserted. If the queue is paused already, PauseQueue does nothing.
func (c *Client) PauseQueue(ctx context.Context, name string) error {
	return c.setPaused(ctx, "pause", name, true)
}

// ResumeQueue resumes a paused queue: its jobs can be claimed again. If the queue is not paused, ResumeQueue does
// nothing.
func (c *Client) ResumeQueue(ctx context.Context, name string) error {
	return c.setPaused(ctx, "resume", name, false)
}

func (c *Client) setPaused(ctx context.Context, verb, name string, paused bool) error {
	if err := checkQueueName(verb, name); err != nil {
		return err
	}
	err := c.query(ctx, `insert into pawl.queue (name, paused) values ($1::text, $2::boolean)
		on conflict (name) do update set paused = excluded.paused`, []any{name, paused}, nil)
	if err == nil && !paused {
		err = c.query(ctx, "select pawl.wake(array[$1::text])", []any{name}, nil)
	}
	if err != nil {
		return fmt.Errorf("pawl: %s queue %q: %w", verb, name, err)
	}
	return nil
}

// ResumeChannel continues an ordered channel that halted because the job at its head died (Queue.HaltOnDead). The
// dead job stays dead. ResumeChannel returns [ErrNotFound] if the channel is not halted.
func (c *Client) ResumeChannel(ctx context.Context, queue, channel string) error {
	var halted bool
	err := c.row(ctx, "select pawl.resume_channel($1::text, $2::text)", []any{queue, channel}, &halted)
	if err == nil && !halted {
		err = fmt.Errorf("it is not halted: %w", ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("pawl: resume channel %.50q of queue %.50q: %w", channel, queue, err)
	}
	return nil
}

// DeleteQueue deletes a queue's policy, its pause and the record of its halted channels. Finished jobs stay until
// their retention ends. DeleteQueue returns [ErrQueueInUse] if the queue has live jobs or a live worker names it in
// its Queues. It returns [ErrNotFound] if the queue was never configured.
func (c *Client) DeleteQueue(ctx context.Context, name string) error {
	var result string
	err := c.row(ctx, "select pawl.delete_queue($1::text)", []any{name}, &result)
	if err == nil {
		switch result {
		case "used":
			err = ErrQueueInUse
		case "unknown":
			err = ErrNotFound
		}
	}
	if err != nil {
		return fmt.Errorf("pawl: delete queue %.50q: %w", name, err)
	}
	return nil
}

// PurgeQueue deletes the live jobs of a queue, including running ones, and returns how many it deleted. It works like
// Delete with a Filter. Jobs inserted during the call stay. PurgeQueue returns [ErrNotFound] if the queue has no live
// jobs, was never configured, and no live worker names it in its Queues.
func (c *Client) PurgeQueue(ctx context.Context, name string) (int64, error) {
	if err := checkQueueName("purge", name); err != nil {
		return 0, err
	}
	n, err := c.Delete(ctx, Filter{Queue: name, States: pawlstate.Live()})
	if err != nil || n > 0 {
		return n, err
	}
	var known bool
	err = c.row(ctx, `select exists (select from pawl.queue q where q.name = $1::text)
		or exists (select from pawl.worker w where w.gone_at is null and $1::text = any (w.queues))`,
		[]any{name}, &known)
	if err == nil && !known {
		err = ErrNotFound
	}
	if err != nil {
		return 0, fmt.Errorf("pawl: purge queue %q: %w", name, err)
	}
	return 0, nil
}

// Queues returns the queues that were configured or paused and those with live jobs, sorted by name. A field is zero
// if the queue has the default. A retention is negative if jobs are deleted at once. Therefore [Client.PutQueue] with
// a returned Queue changes nothing.
func (c *Client) Queues(ctx context.Context) ([]Queue, error) {
	var queues []Queue
	err := c.query(ctx, `select u.name, coalesce(q.paused, false), q.created_at,
			coalesce(q.max_attempts, 0::smallint), coalesce(q.halt_on_dead, false),
			coalesce(q.max_running, 0), coalesce(q.channel_max_running, 0),
			q.backoff::text, q.rate::text, q.channel_rate::text, q.weights::text,
			extract(epoch from q.lease)::double precision,
			extract(epoch from q.retain_completed)::double precision,
			extract(epoch from q.retain_cancelled)::double precision,
			extract(epoch from q.retain_dead)::double precision
		from (select name from pawl.queue union select * from pawl.live_queues()) u (name)
		left join pawl.queue q on q.name = u.name
		order by u.name collate "C"`, nil, func(s scanner) error {
		q, err := scanQueue(s)
		queues = append(queues, q)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("pawl: list queues: %w", err)
	}
	return queues, nil
}

// scanQueue reads a row of the statement of Queues.
func scanQueue(s scanner) (q Queue, err error) {
	var attempts int16
	var backoff, rate, channelRate, weights *string
	var lease, completed, cancelled, dead *float64
	var created *time.Time
	if err := s.Scan(&q.Name, &q.Paused, &created, &attempts, &q.HaltOnDead, &q.MaxRunning, &q.ChannelMaxRunning,
		&backoff, &rate, &channelRate, &weights, &lease, &completed, &cancelled, &dead); err != nil {
		return q, err
	}
	q.MaxAttempts, q.CreatedAt, q.Lease = int(attempts), valueOrZero(created), durationOrZero(lease)
	q.RetainCompleted, q.RetainCancelled, q.RetainDead = retention(completed), retention(cancelled), retention(dead)
	for _, limit := range []struct {
		text *string
		to   *Rate
	}{{rate, &q.Rate}, {channelRate, &q.ChannelRate}} {
		if limit.text != nil {
			var err error
			if *limit.to, err = parseRate(*limit.text); err != nil {
				return q, fmt.Errorf("rate of queue %.50q: %w", q.Name, err)
			}
		}
	}
	if weights != nil {
		if err := json.Unmarshal([]byte(*weights), &q.Weights); err != nil {
			return q, fmt.Errorf("weights of queue %.50q: %w", q.Name, err)
		}
	}
	if backoff != nil {
		var stored storedBackoff
		if err := json.Unmarshal([]byte(*backoff), &stored); err != nil {
			return q, fmt.Errorf("backoff of queue %.50q: %w", q.Name, err)
		}
		q.Backoff = stored.backoff()
	}
	return q, nil
}
