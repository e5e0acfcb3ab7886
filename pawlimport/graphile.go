package pawlimport

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
)

// GraphileWorker imports the live jobs of Graphile Worker. pool is connected to Graphile Worker's database and client
// to Pawl's.
//
// All jobs go into the queue "default", unless Options.RenameQueues maps "default" to another queue. What Graphile
// Worker calls a job's queue becomes an ordered channel. Options.Queues chooses jobs by the name of this channel. The
// name "default" chooses jobs without one.
//
// GraphileWorker returns the report of what it did even if it returns an error. It returns an error and changes nothing
// if the last migration of Graphile Worker's schema is not between 16 and 20.
func GraphileWorker(ctx context.Context, pool *pgxpool.Pool, client *pawl.Client, options Options) (Report, error) {
	s := &source{
		name: "graphile-worker", table: "_private_jobs", schema: options.Schema,
		version: "select max(id)::integer from source.migrations",
		oldest:  16, newest: 20, known: "migrations 16 to 20, from Graphile Worker 0.16 to 0.18",
		from: `source._private_jobs j join source._private_tasks t on t.id = j.task_id
			left join source._private_job_queues q on q.id = j.job_queue_id`, id: "bigint",
		urgency: "j.priority::bigint", since: "j.run_at", created: "j.created_at",
		state: `case when j.locked_at is not null then 'running' when j.attempts >= j.max_attempts then 'failed'
			when q.locked_at is not null then 'serial' when j.run_at > now() then 'scheduled' else 'available' end`,
		queue: "'default'", chosen: "coalesce(q.queue_name, 'default')", kind: "t.identifier",
		live: `(j.locked_at is null and j.attempts < j.max_attempts and q.locked_at is null
			or $1::boolean and (j.locked_at is not null or j.attempts < j.max_attempts))`,
		// A worker of Graphile Worker locks the row of a serial queue before it takes a job of it. So does an import.
		unlocked: `(j.job_queue_id is null or j.job_queue_id in (
			select f.id from source._private_job_queues f
			where f.id in (select u.job_queue_id from source._private_jobs u where u.id = any ($2::text[]::bigint[]))
				and ($1::boolean or f.locked_at is null)
			for update skip locked))`,
		row: `'Args', j.payload::text, 'RunAt', j.run_at, 'CreatedAt', j.created_at, 'Priority', j.priority,
			'Attempt', j.attempts, 'MaxAttempts', j.max_attempts, 'More', json_build_object('Serial', q.queue_name,
			'Key', j.key, 'Flags', j.flags, 'Error', j.last_error)`,
		remove: "delete from source._private_jobs where id = any ($1::text[]::bigint[])",
		why: map[string]string{
			"running": "running in Graphile Worker; it unlocks the jobs of a dead worker after four hours, " +
				"and Options.Running (--running) imports running jobs",
			"serial": "another job of its serial queue is running in Graphile Worker",
			"failed": "finished: out of attempts",
		},
	}
	if s.schema == "" {
		s.schema = "graphile_worker"
	}
	s.read = s.graphile
	s.also = graphileCrontabs
	return start(ctx, pool, client, s, options)
}

// graphile turns a row of Graphile Worker into a job.
func (s *source) graphile(r *row) (job, error) {
	j, err := s.begin(r)
	if err != nil {
		return j, err
	}
	var more struct {
		Serial, Key, Error *string
		Flags              json.RawMessage
	}
	if err := json.Unmarshal(r.More, &more); err != nil {
		return j, err
	}
	j.spec.Priority = int(r.Priority)
	// Graphile Worker waits e^attempt seconds, at most as long as for the tenth attempt. It has no setting for it.
	j.spec.Backoff = pawl.Backoff{Base: seconds(math.E), Growth: math.E, Max: seconds(math.Exp(10)), NoJitter: true}
	if more.Error != nil {
		j.spec.Errors = []pawl.AttemptError{{Attempt: r.Attempt, Error: *more.Error}}
		j.note("errors: only the last one is known, without its time")
	}
	if more.Key != nil {
		j.spec.Unique = pawl.Unique{Key: *more.Key, Global: true, UntilStart: true}
		j.note("job key: a unique key until the job starts; an insert says whether it replaces the job (pawl.Unique)")
	}
	if len(more.Flags) > 0 && string(more.Flags) != "null" {
		j.header("flags", string(more.Flags))
		j.note("flags: in the header import.flags, which no runner looks at")
	}
	if more.Serial != nil {
		j.spec.Ordered, j.spec.Channel = true, *more.Serial
		j.note("serial queue: an ordered channel. A job that waits for its time or for a retry blocks the jobs behind it, " +
			"unlike in Graphile Worker. While jobs of the queue are left there, one job may run in each")
		if j.spec.Priority != 0 {
			j.spec.Priority = 0
			j.note("priority in a serial queue: lost; it was used for the job's place in the channel")
		}
	}
	return j, nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// graphileCrontabs reports schedules. They are in a file or in code, so they cannot be imported.
func graphileCrontabs(ctx context.Context, r *run) error {
	known, err := all[string](ctx, r.pool, r.source.in("select identifier from source._private_known_crontabs order by 1"))
	if err == nil && len(known) > 0 {
		r.report.Remarks = append(r.report.Remarks,
			"schedules are not imported, because they are in your crontab and not in the database: "+strings.Join(known, ", "))
	}
	return err
}
