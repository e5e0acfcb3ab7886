package pawlimport

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
)

// PgBoss imports from pg-boss's tables, in the schema pgboss unless Options.Schema says another. The name of a queue there is the name of
// the queue and of the kind here.
func PgBoss(ctx context.Context, pool *pgxpool.Pool, client *pawl.Client, options Options) (Report, error) {
	s := &source{
		name: "pg-boss", table: "job", schema: options.Schema,
		version: "select max(version)::integer from source.version",
		oldest:  34, newest: 43, known: "versions 34 to 43, the last of which is that of pg-boss 12.35",
		from: "source.job j", id: "uuid",
		// In a queue of strict order priority does not count, and what waits for a retry comes first.
		urgency: "(case when j.policy = 'key_strict_fifo' then -(j.state = 'retry')::integer else -j.priority::bigint end)",
		since:   "j.created_on", created: "j.created_on",
		state: `case when (j.blocked or j.blocking) and j.state < 'completed' then 'flow'
			when j.state < 'active' and j.keep_until < now() then 'expired' else j.state::text end`,
		queue: "j.name", kind: "j.name",
		live: "(j.state < 'active' and j.keep_until >= now() or $1::boolean and j.state = 'active') and not j.blocked and not j.blocking",
		row: `'Args', j.data::text, 'RunAt', j.start_after, 'CreatedAt', j.created_on, 'Priority', j.priority,
			'Attempt', j.retry_count + (j.started_on is not null)::integer, 'MaxAttempts', j.retry_limit::bigint + 1,
			'More', json_build_object('Policy', j.policy, 'Key', j.singleton_key, 'Slot', j.singleton_on, 'Group', j.group_id, 'Tier', j.group_tier,
			'Expire', j.expire_seconds, 'Heartbeat', j.heartbeat_seconds, 'DeadLetter', j.dead_letter, 'Delay', j.retry_delay, 'Grows', j.retry_backoff,
			'Most', j.retry_delay_max, 'Output', j.output, 'FromQueue', j.source_name, 'FromID', j.source_id)`,
		remove: "delete from source.job where id = any ($1::text[]::uuid[])",
		why: map[string]string{
			"active":    "a worker of pg-boss has it; what a dead one left pg-boss takes back when it expires, or Options.Running (--running) takes",
			"flow":      "jobs of a flow wait for each other in pg-boss",
			"expired":   "past its keep_until: pg-boss is about to drop it",
			"completed": "finished", "cancelled": "finished", "failed": "finished: out of attempts",
		},
	}
	if s.schema == "" {
		s.schema = "pgboss"
	}
	s.read = s.pgBoss
	s.also = pgBossSchedules
	return start(ctx, pool, client, s, options)
}

func (s *source) pgBoss(r *row) (job, error) {
	j, err := s.begin(r)
	if err != nil {
		return j, err
	}
	var more struct {
		Policy, Key, Slot, Group, Tier, DeadLetter, FromQueue, FromID *string
		Expire, Delay                                                 int64
		Heartbeat, Most                                               *int64
		Grows                                                         bool
		Output                                                        json.RawMessage
	}
	if err := json.Unmarshal(r.More, &more); err != nil {
		return j, err
	}
	j.spec.Priority = int(min(max(-r.Priority, -32767), 32767))
	if int64(j.spec.Priority) != -r.Priority {
		j.note("priority: cut to what there is room for, -32767 to 32767")
	}
	j.spec.Backoff = pgBossBackoff(more.Delay, more.Grows, more.Most)
	if len(more.Output) > 0 && string(more.Output) != "null" && r.Attempt > 0 {
		var e struct{ Message, Stack string }
		if json.Unmarshal(more.Output, &e) != nil || e.Message == "" {
			e.Message = string(more.Output)
		}
		j.spec.Errors = []pawl.AttemptError{{Attempt: r.Attempt, Error: e.Message, Stack: e.Stack}}
		j.note("errors: the last alone is known, and not when it was")
	}

	key := r.Queue // One for the whole queue.
	if more.Key != nil {
		key = *more.Key
		j.header("singleton_key", key)
	}
	policy := "standard"
	if more.Policy != nil {
		policy = *more.Policy
	}
	switch policy {
	case "exclusive":
		j.spec.Unique = pawl.Unique{Key: key}
		j.note("policy exclusive: a unique key, the singletonKey or else the queue's name; inserts have to name it")
	case "short", "stately":
		if r.State == "created" {
			j.spec.Unique = pawl.Unique{Key: key, UntilStart: true}
			j.note("policy %s: a unique key until the start, the singletonKey or else the queue's name; inserts have to name it", policy)
		}
	case "key_strict_fifo":
		j.spec.Ordered, j.spec.Channel, j.spec.Priority = true, key, 0
		j.note("policy key_strict_fifo: the ordered channel of its key; to stop at a dead job as there, set the queue's HaltOnDead")
	}
	switch policy {
	case "singleton", "stately":
		if more.Key != nil {
			j.spec.Channel = key
		}
		j.note("policy %s: the channel of its key; that one runs at a time you have to say with the queue's ChannelMaxRunning: 1", policy)
	}
	if more.Slot != nil {
		j.note("singletonSeconds: its slot is not kept from others; inserts have pawl.Unique.Period for it")
	}
	if more.Group != nil {
		if j.spec.Channel == "" {
			j.spec.Channel = *more.Group
			j.note("group: the channel of its id; groupConcurrency is the queue's ChannelMaxRunning")
		} else {
			j.header("group", *more.Group)
			j.note("group: in the header import.group alone, the channel is the key's")
		}
		if more.Tier != nil {
			j.header("group_tier", *more.Tier)
			j.note("group's tier: in the header import.group_tier, by which nothing is limited")
		}
	}
	if more.DeadLetter != nil {
		j.header("dead_letter", *more.DeadLetter)
		j.note("dead letter queue %s: no copy comes there; the dead are kept apart, and OnFailure may insert what you like", *more.DeadLetter)
	}
	if more.FromQueue != nil && more.FromID != nil {
		j.header("dead_of", *more.FromQueue+"/"+*more.FromID)
	}
	j.note("expireInSeconds %d: a handler's time is KindOptions.Timeout, if zero it has all it takes", more.Expire)
	if more.Heartbeat != nil {
		j.note("heartbeatSeconds: runners have heartbeats of their own")
	}
	j.note("retentionSeconds: a job that waits long is not dropped")
	return j, nil
}

// pgBossBackoff is pg-boss's: every time the delay, or, if it grows, delay · 2^attempt, of which it is by chance between the half and the
// whole.
func pgBossBackoff(delay int64, grows bool, most *int64) pawl.Backoff {
	const second = int64(time.Second)
	if !grows {
		b := time.Duration(max(delay*second, int64(time.Millisecond)))
		return pawl.Backoff{Base: b, Max: b, Growth: 1, NoJitter: true}
	}
	delay = max(delay, 1)
	b := pawl.Backoff{Base: time.Duration(delay * second * 3 / 2), Growth: 2, Jitter: 1. / 3}
	limit := min(float64(delay)*0.75*(1<<16), 1e9) // It grows sixteen times.
	if most != nil {
		limit = min(limit, float64(max(*most, 1)))
	}
	b.Max = seconds(limit)
	b.Base = min(b.Base, b.Max)
	return b
}

type pgBossSchedule struct {
	Name, Key, Kind, Cron string
	Timezone              *string
	Data                  *string
	Options               json.RawMessage
	RetryLimit            int
	RetryDelay            int64
	RetryBackoff          bool
	RetryDelayMax         *int64
}

// pgBossSchedules imports schedules, if that is asked for, each in a transaction that puts the cron here and deletes the schedule there.
// A tick of that very minute may be lost, none comes twice.
func pgBossSchedules(ctx context.Context, r *run) error {
	kind := "'cron'"
	if r.report.Version >= 41 {
		kind = "s.kind"
	}
	rows, err := all[string](ctx, r.pool, r.source.in(`select json_build_object('Name', s.name, 'Key', s.key, 'Kind', `+kind+`, 'Cron', s.cron, 'Timezone', s.timezone,
		'Data', s.data::text, 'Options', s.options, 'RetryLimit', q.retry_limit, 'RetryDelay', q.retry_delay, 'RetryBackoff', q.retry_backoff,
		'RetryDelayMax', q.retry_delay_max)::text from source.schedule s join source.queue q on q.name = s.name order by s.name, s.key`))
	if err != nil {
		return err
	}
	taken := map[string]bool{}
	if len(rows) > 0 && r.options.Schedules {
		crons, err := r.in(r.client).Crons(ctx)
		if err != nil {
			return err
		}
		for _, cron := range crons {
			taken[cron.Name] = true
		}
	}
	for _, text := range rows {
		var s pgBossSchedule
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return err
		}
		if len(r.options.Queues) > 0 && !slices.Contains(r.options.Queues, s.Name) || len(r.options.Kinds) > 0 && !slices.Contains(r.options.Kinds, s.Name) {
			continue
		}
		name := s.Name
		if s.Key != "" {
			name += "/" + s.Key
		}
		remark := func(format string, args ...any) {
			r.report.Remarks = append(r.report.Remarks, fmt.Sprintf("schedule %s (%s): ", name, s.Cron)+fmt.Sprintf(format, args...))
		}
		if !r.options.Schedules {
			remark("is left; Options.Schedules (--schedules) takes it")
			continue
		}
		if s.Kind != "cron" {
			remark("is left: a cron has no recurrence rule")
			continue
		}
		if r.target != nil {
			remark("is left: there is no transaction over two databases; put a cron and then unschedule it")
			continue
		}
		if taken[name] {
			remark("is left: there is a cron of that name")
			continue
		}
		cron, lost, err := r.pgBossCron(name, &s)
		if err == nil {
			err = r.check(&cron.Job)
		}
		if err == nil {
			_, err = cron.Next(time.Now(), 1)
		}
		if err != nil {
			remark("is left: %v", err)
			continue
		}
		if !r.options.DryRun {
			moved := false
			err := pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
				gone, err := all[bool](ctx, tx, r.source.in("delete from source.schedule where name = $1::text and key = $2::text and cron = $3::text returning true"), s.Name, s.Key, s.Cron)
				if moved = err == nil && len(gone) == 1; !moved {
					return err
				}
				return r.client.With(tx).PutCron(ctx, cron)
			})
			if err != nil {
				return fmt.Errorf("schedule %s: %w", name, err)
			}
			if !moved {
				remark("is gone or another now")
				continue
			}
		}
		r.report.Crons = append(r.report.Crons, name)
		if len(lost) > 0 {
			remark("without %s", strings.Join(lost, ", "))
		}
	}
	return nil
}

// pgBossCron is a schedule's cron, and the options it has not got.
func (r *run) pgBossCron(name string, s *pgBossSchedule) (cron pawl.Cron, lost []string, err error) {
	var o struct {
		Priority      int64
		RetryLimit    *int
		RetryDelay    *int64
		RetryBackoff  *bool
		RetryDelayMax *int64
		Missed        string
	}
	said := map[string]json.RawMessage{}
	if len(s.Options) > 0 && !bytes.Equal(s.Options, []byte("null")) {
		if err := json.Unmarshal(s.Options, &said); err != nil {
			return cron, nil, err
		}
		if err := json.Unmarshal(s.Options, &o); err != nil {
			return cron, nil, err
		}
	}
	for option := range said {
		switch option {
		case "tz", "key", "kind", "priority", "retryLimit", "retryDelay", "retryBackoff", "retryDelayMax", "missed":
		default:
			lost = append(lost, option)
		}
	}
	slices.Sort(lost)
	if o.RetryLimit != nil {
		s.RetryLimit = *o.RetryLimit
	}
	if o.RetryDelay != nil {
		s.RetryDelay = *o.RetryDelay
	}
	if o.RetryBackoff != nil {
		s.RetryBackoff = *o.RetryBackoff
	}
	if o.RetryDelayMax != nil {
		s.RetryDelayMax = o.RetryDelayMax
	}
	cron = pawl.Cron{Name: name, Spec: s.Cron, Job: pawl.JobSpec{
		Args: pawl.Raw(rename(r.options.RenameKinds, s.Name), nil), Queue: rename(r.options.RenameQueues, s.Name),
		Priority: int(min(max(-o.Priority, -32767), 32767)), MaxAttempts: min(s.RetryLimit, 32766) + 1,
		Backoff: pgBossBackoff(s.RetryDelay, s.RetryBackoff, s.RetryDelayMax),
	}}
	if s.Data != nil {
		cron.Job.Args = pawl.Raw(rename(r.options.RenameKinds, s.Name), []byte(*s.Data))
	}
	if s.Timezone != nil {
		cron.Zone = *s.Timezone
	}
	if o.Missed == "once" {
		cron.CatchUp = 1
	}
	if r.options.Backoff != (pawl.Backoff{}) {
		cron.Job.Backoff = r.options.Backoff
	}
	return cron, lost, nil
}
