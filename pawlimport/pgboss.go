package pawlimport

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
)

// PgBoss imports the live jobs of pg-boss. A job's queue and kind in Pawl both have the name of its queue in pg-boss.
// pool is connected to pg-boss's database and client to Pawl's.
//
// PgBoss returns the report of what it did even if it returns an error. It returns an error and changes nothing if the
// version of pg-boss's schema is not between 34 and 43.
func PgBoss(ctx context.Context, pool *pgxpool.Pool, client *pawl.Client, options Options) (Report, error) {
	s := &source{
		name: "pg-boss", table: "job", schema: options.Schema,
		version: "select max(version)::integer from source.version",
		oldest:  34, newest: 43, known: "versions 34 to 43, up to pg-boss 12.35",
		from: "source.job j", id: "uuid",
		// In a queue of strict order, priorities do not count and a job that waits for a retry comes first.
		urgency: "(case when j.policy = 'key_strict_fifo' then -(j.state = 'retry')::integer else -j.priority::bigint end)",
		since:   "j.created_on", created: "j.created_on",
		state: `case when (j.blocked or j.blocking) and j.state < 'completed' then 'flow'
			when j.state < 'active' and j.keep_until < now() then 'expired' else j.state::text end`,
		queue: "j.name", kind: "j.name",
		live: `(j.state < 'active' and j.keep_until >= now() or $1::boolean and j.state = 'active')
			and not j.blocked and not j.blocking`,
		row: `'Args', j.data::text, 'RunAt', j.start_after, 'CreatedAt', j.created_on, 'Priority', j.priority,
			'Attempt', j.retry_count + (j.started_on is not null)::integer, 'MaxAttempts', j.retry_limit::bigint + 1,
			'More', json_build_object('Policy', j.policy, 'Key', j.singleton_key, 'Slot', j.singleton_on,
			'Group', j.group_id, 'Tier', j.group_tier, 'Expire', j.expire_seconds, 'Heartbeat', j.heartbeat_seconds,
			'DeadLetter', j.dead_letter, 'Delay', j.retry_delay, 'Grows', j.retry_backoff, 'Most', j.retry_delay_max,
			'Output', j.output, 'FromQueue', j.source_name, 'FromID', j.source_id)`,
		remove: "delete from source.job where id = any ($1::text[]::uuid[])",
		why: map[string]string{
			"active": "running in pg-boss; it returns an expired job of a dead worker, " +
				"and Options.Running (--running) imports running jobs",
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

// pgBossMore is what only a job of pg-boss has.
type pgBossMore struct {
	Policy, Key, Slot, Group, Tier, DeadLetter, FromQueue, FromID *string
	Expire, Delay                                                 int64 // In seconds, as are the next two.
	Heartbeat, Most                                               *int64
	Grows                                                         bool
	Output                                                        json.RawMessage
}

// pgBoss turns a row of pg-boss into a job.
func (s *source) pgBoss(r *row) (job, error) {
	j, err := s.begin(r)
	if err != nil {
		return j, err
	}
	var more pgBossMore
	if err := json.Unmarshal(r.More, &more); err != nil {
		return j, err
	}
	j.spec.Priority = pgBossPriority(r.Priority)
	if int64(j.spec.Priority) != -r.Priority {
		j.note("priority: cut to the range -32767 to 32767")
	}
	j.spec.Backoff = pgBossBackoff(more.Delay, more.Grows, more.Most)
	if len(more.Output) > 0 && string(more.Output) != "null" && r.Attempt > 0 {
		var e struct{ Message, Stack string }
		if json.Unmarshal(more.Output, &e) != nil || e.Message == "" {
			e.Message = string(more.Output)
		}
		j.spec.Errors = []pawl.AttemptError{{Attempt: r.Attempt, Error: e.Message, Stack: e.Stack}}
		j.note("errors: only the last one is known, without its time")
	}
	j.pgBossPolicy(r, &more)
	j.pgBossGroup(&more)
	if more.DeadLetter != nil {
		j.header("dead_letter", *more.DeadLetter)
		j.note("dead letter queue %s: no copy is sent there; Pawl keeps dead jobs apart, and OnFailure can insert a job",
			*more.DeadLetter)
	}
	if more.FromQueue != nil && more.FromID != nil {
		j.header("dead_of", *more.FromQueue+"/"+*more.FromID)
	}
	j.note("expireInSeconds %d: set KindOptions.Timeout; if it is zero, handlers have no time limit", more.Expire)
	if more.Heartbeat != nil {
		j.note("heartbeatSeconds: runners have heartbeats of their own")
	}
	j.note("retentionSeconds: a job that waits for long is not dropped")
	return j, nil
}

// pgBossPolicy gives the job the unique key and the channel that stand for its queue's policy.
func (j *job) pgBossPolicy(r *row, more *pgBossMore) {
	key := r.Queue // Without a singletonKey there is one key for the whole queue.
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
		j.note("policy exclusive: a unique key, the singletonKey or else the queue's name; inserts have to give it")
	case "short", "stately":
		if r.State == "created" {
			j.spec.Unique = pawl.Unique{Key: key, UntilStart: true}
			j.note("policy %s: a unique key until the start, the singletonKey or else the queue's name; "+
				"inserts have to give it", policy)
		}
	case "key_strict_fifo":
		j.spec.Ordered, j.spec.Channel, j.spec.Priority = true, key, 0
		j.note("policy key_strict_fifo: an ordered channel named after its key; " +
			"to stop at a dead job as in pg-boss, set the queue's HaltOnDead")
	}
	if policy == "singleton" || policy == "stately" {
		if more.Key != nil {
			j.spec.Channel = key
		}
		j.note("policy %s: a channel named after its key; to run one job at a time, set the queue's ChannelMaxRunning to 1",
			policy)
	}
	if more.Slot != nil {
		j.note("singletonSeconds: other jobs may use its time slot; inserts have pawl.Unique.Period for this")
	}
}

// pgBossGroup gives the job the channel that stands for its group, unless its policy gave it one.
func (j *job) pgBossGroup(more *pgBossMore) {
	if more.Group == nil {
		return
	}
	if j.spec.Channel == "" {
		j.spec.Channel = *more.Group
		j.note("group: a channel named after its id; for groupConcurrency set the queue's ChannelMaxRunning")
	} else {
		j.header("group", *more.Group)
		j.note("group: only in the header import.group, because the channel is its key's")
	}
	if more.Tier != nil {
		j.header("group_tier", *more.Tier)
		j.note("group's tier: in the header import.group_tier, which limits nothing")
	}
}

// pgBossPriority turns a priority of pg-boss, where higher runs first, into one of Pawl, where lower runs first.
func pgBossPriority(priority int64) int { return int(min(max(-priority, -32767), 32767)) }

// pgBossBackoff returns pg-boss's backoff. It waits for the delay, which is in seconds, after every attempt. If it
// grows, it waits for a random time between a half and the whole of delay * 2^attempt, and at most for most seconds.
func pgBossBackoff(delay int64, grows bool, most *int64) pawl.Backoff {
	const second = int64(time.Second)
	if !grows {
		b := time.Duration(max(delay*second, int64(time.Millisecond)))
		return pawl.Backoff{Base: b, Max: b, Growth: 1, NoJitter: true}
	}
	delay = max(delay, 1)
	b := pawl.Backoff{Base: time.Duration(delay * second * 3 / 2), Growth: 2, Jitter: 1. / 3}
	limit := min(float64(delay)*0.75*(1<<16), 1e9) // pg-boss stops growing after 16 attempts.
	if most != nil {
		limit = min(limit, float64(max(*most, 1)))
	}
	b.Max = seconds(limit)
	b.Base = min(b.Base, b.Max)
	return b
}
