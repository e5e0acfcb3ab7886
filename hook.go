package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/pawlhq/pawl/internal/hook"
	"github.com/pawlhq/pawl/pawlstate"
)

// What package pawltest needs and nobody else should.
func init() {
	hook.Pool = func(client any) any { return client.(*Client).pool }
	hook.Work = func(ctx context.Context, mux, args any, prepare func(job any)) (answer, mistake error) {
		given, _ := args.(Args)
		return mux.(*Mux).try(ctx, given, prepare)
	}
	hook.Due = func(ctx context.Context, client any, queue string) error {
		c := client.(*Client)
		l, err := c.lanesOf(ctx, queue)
		if err != nil {
			return err
		}
		queues := slices.Collect(maps.Keys(l.queues))
		for moved := int64(1); moved > 0 && err == nil; {
			moved, err = c.promote(ctx, l, queues)
		}
		return err
	}
	hook.RunOne = func(ctx context.Context, client, mux any, queue string) (any, error) {
		job, err := client.(*Client).runOne(ctx, mux.(*Mux), queue)
		if job == nil {
			return nil, err
		}
		return job, err
	}
	hook.Advance = func(ctx context.Context, client any, d time.Duration) error { return client.(*Client).advance(ctx, d) }
	hook.List = func(ctx context.Context, client, filter any) (any, error) {
		return client.(*Client).listLive(ctx, filter.(Filter))
	}
}

// handle runs a job's handler as a runner does; one of chunks has a chunk of one.
func (c *Client) handle(ctx context.Context, mux *Mux, job *JobInfo) (attemptResult, error) {
	r := &runner{client: c, public: c, mux: mux, log: c.config.Logger, drain: make(chan struct{})}
	h := mux.handler(job.Kind)
	if h.many == nil {
		return r.work(context.WithValue(ctx, jobKey{}, job), job)
	}
	a, err := r.work(context.WithValue(ctx, jobKey{}, (*JobInfo)(nil)), job)
	if each, some := errors.AsType[JobErrors](err); some {
		err = each[job.ID]
		a = resultOf(job, h, err)
	}
	return a, err
}

// try runs a handler on a job that is in no database.
func (m *Mux) try(ctx context.Context, args Args, prepare func(job any)) (answer, mistake error) {
	c := &Client{installation: &installation{config: Config{Logger: slog.Default()}}}
	c.counters = newCounters(c)
	r, err := c.resolveSpec(0, args)
	if err != nil {
		return nil, err
	}
	if m.handler(r.kind) == nil {
		return nil, m.noHandler(r.kind)
	}
	spec, _ := specOf(args)
	spec = c.fill(spec)
	now := time.Now()
	job := &JobInfo{
		ID: 1, Kind: r.kind, Queue: r.queue, Channel: r.channel, Fingerprint: spec.Fingerprint, Worker: "pawltest",
		Data: spec.Data, Headers: spec.Headers, Priority: spec.Priority, Attempt: 1, MaxAttempts: spec.MaxAttempts, Ordered: spec.Ordered,
		UniqueKey: spec.Unique.Key, State: pawlstate.Running, CreatedAt: now, RunAt: spec.RunAt, StartedAt: now,
		client: c, inMemory: true, claimedAt: now,
	}
	if r.args != nil {
		job.Args = json.RawMessage(*r.args)
	}
	if job.MaxAttempts == 0 {
		job.MaxAttempts = 20
	}
	prepare(job)
	_, answer = c.handle(ctx, m, job)
	return answer, nil
}

func (m *Mux) noHandler(kind string) error {
	return fmt.Errorf("no handler for kind %q: register one with Handle; the mux has %q", kind, slices.Sorted(maps.Keys(m.handlers)))
}

// lanesOf are the lanes of a queue, of all if it is "", as they are now.
func (c *Client) lanesOf(ctx context.Context, queue string) (*lanes, error) {
	l := &lanes{}
	l.reset()
	var chosen []string
	if queue != "" {
		chosen = []string{queue}
		l.queue(queue)
	}
	_, err := c.discoverLanes(ctx, l, chosen)
	return l, err
}

// runOne claims a job and does with it what a runner does.
func (c *Client) runOne(ctx context.Context, mux *Mux, queue string) (job *JobInfo, err error) {
	l, err := c.lanesOf(ctx, queue)
	if err != nil {
		return nil, err
	}
	anywhere := func(string) int { return 1 }
	lasting := interval(10 * time.Minute) // As long as go test lets a test run.
	var jobs Jobs
	for _, p := range []*plan{l.suspects(anywhere), l.plan(1, true, anywhere, false)} {
		if p == nil || len(p.stretches) == 0 || len(jobs) > 0 {
			continue
		}
		if jobs, _, err = c.claim(ctx, l, p, claimer{lasting: &lasting, name: "pawltest"}, newLeaseID()); err != nil {
			return nil, err
		}
	}
	if len(jobs) == 0 {
		return nil, nil
	}
	job = jobs[0]
	job.lease.manual, job.client = true, c
	if mux.handler(job.Kind) == nil {
		return nil, errors.Join(mux.noHandler(job.Kind), c.Release(ctx, job, 0))
	}
	a := resultOf(job, nil, &PanicError{Value: "the handler ended its goroutine (runtime.Goexit)"})
	answered := false
	tell := func() error {
		answered = true
		err := c.finishClaimed(context.WithoutCancel(ctx), job, a)
		if errors.Is(err, ErrLeaseLost) {
			return nil // Finished by the handler, or by somebody else: what it is now is asked.
		}
		return err
	}
	defer func() { // Also when the handler failed the test.
		if !answered {
			tell()
		}
	}()
	a, _ = c.handle(ctx, mux, job)
	if err := tell(); err != nil {
		return nil, err
	}
	became, err := c.Get(ctx, job.ID)
	if errors.Is(err, ErrNotFound) { // Its queue keeps no finished jobs.
		switch a.verb {
		case verbComplete:
			job.State = pawlstate.Completed
		case "cancel":
			job.State = pawlstate.Cancelled
		default:
			job.State = pawlstate.Dead
		}
		return job, nil
	}
	return became, err
}

// advance lets d pass: for due times, reservations, kept unique keys, consumers' leases and rates.
func (c *Client) advance(ctx context.Context, d time.Duration) error {
	err := c.inTx(ctx, func(in *Client) error {
		// A number first, as every writer of a due time, and no time before now: where a promoter has been it does not look again.
		// Microseconds apart, for what was due in some order stays so; they have passed when this returns.
		for _, text := range []string{
			"select pg_current_xact_id()::text, $1::interval::text",
			`with moment as materialized (select clock_timestamp() as now),
			due as materialized (
				select s.queue, s.run_at, s.job_id,
				       m.now + row_number() over (order by s.run_at, s.job_id) * interval '1 microsecond' as soonest
				from pawl.scheduled s, moment m
				where s.run_at > m.now
			),
			moved as (
				update pawl.scheduled s
				set run_at = greatest(d.run_at - $1::interval, d.soonest)
				from due d
				where s.queue = d.queue and s.run_at = d.run_at and s.job_id = d.job_id
				returning s.job_id, s.run_at
			)
			update pawl.job j set run_at = m.run_at from moved m where j.id = m.job_id`,
			"update pawl.job j set run_at = j.run_at - $1::interval from pawl.blocked p where p.job_id = j.id and j.run_at > clock_timestamp()",
			"update pawl.blocked set expires_at = expires_at - $1::interval where expires_at is not null",
			"update pawl.unique_key set keep_until = keep_until - $1::interval where keep_until is not null",
			"update pawl.lease set expires_at = expires_at - $1::interval where expires_at is not null",
			"update pawl.bucket set at = at - $1::interval",
			"select pawl.wake(array(select distinct queue from pawl.scheduled where $1::interval is not null))::text",
		} {
			if err := in.query(ctx, text, []any{interval(d)}, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || c.db != nil {
		return err
	}
	if err := c.expire(ctx); err != nil {
		return err
	}
	if _, err := c.rescue(ctx, false, true); err != nil {
		return err
	}
	return c.runFollowups(ctx)
}

// listLive finds live jobs, newest first.
func (c *Client) listLive(ctx context.Context, f Filter) (Jobs, error) {
	limit := f.Limit
	if limit == 0 {
		limit = 100
	}
	var args *string
	if f.Args != nil {
		s := string(f.Args)
		args = &s
	}
	bound := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	var ids []ID
	err := c.query(ctx, `select j.id from pawl.job j
		where ($1::text = '' or j.queue = $1::text) and ($2::text = '' or j.channel = $2::text) and ($3::text = '' or j.kind = $3::text)
		  and ($4::text = '' or j.fingerprint = $4::text) and ($5::text = '' or j.unique_key = $5::text)
		  and ($6::text is null or j.args @> $6::text::jsonb)
		  and ($7::timestamptz is null or j.created_at < $7::timestamptz) and ($8::timestamptz is null or j.created_at > $8::timestamptz)
		order by j.id desc`,
		[]any{f.Queue, f.Channel, f.Kind, f.Fingerprint, f.UniqueKey, args, bound(f.CreatedBefore), bound(f.CreatedAfter)}, func(s scanner) error {
			var id int64
			err := s.Scan(&id)
			ids = append(ids, ID(id))
			return err
		})
	if err != nil {
		return nil, err
	}
	var jobs Jobs
	for _, id := range ids {
		if len(jobs) == limit {
			break
		}
		job, err := c.Get(ctx, id)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if len(f.States) == 0 || slices.Contains(f.States, job.State) {
			jobs = append(jobs, job)
		}
	}
	return jobs, nil
}
