package pawltest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
)

// Advance moves all jobs of the client's schema d ahead in time. Jobs that are due within d, for a first run or a
// retry, are due when Advance returns, in the same order. All other scheduled jobs are due earlier by d.
// Reservations, the periods of unique keys and the leases of Claim also become older by d, and the rates of queues
// refill. Crons do not tick, and the database's clock does not change.
//
// Advance runs in a transaction of its own on the client's pool, also for a client made by With. So it does not
// change jobs that are not committed.
func Advance(t testing.TB, client *pawl.Client, d time.Duration) {
	t.Helper()
	if d <= 0 {
		t.Fatalf("pawltest: Advance by %v: want a positive duration", d)
	}
	pool := Pool(t, client)
	ctx := t.Context()
	err := pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		for _, text := range advanceTexts {
			if _, err := tx.Exec(ctx, inSchema(client, text), described, d); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = expire(ctx, client, pool)
	}
	if err != nil {
		t.Fatalf("pawltest: Advance: %v", err)
	}
}

// advanceTexts move all times of a schema by $1. The first gives the transaction a number before it writes a due
// time, as every statement that writes one must. No due time is moved before now: promotion does not look again
// where it has been. Jobs that were due earlier stay apart by a microsecond, which keeps their order.
var advanceTexts = []string{
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
	`update pawl.job j set run_at = j.run_at - $1::interval from pawl.blocked b
	where b.job_id = j.id and j.run_at > clock_timestamp()`,
	"update pawl.blocked set expires_at = expires_at - $1::interval where expires_at is not null",
	"update pawl.unique_key set keep_until = keep_until - $1::interval where keep_until is not null",
	"update pawl.lease set expires_at = expires_at - $1::interval where expires_at is not null",
	"update pawl.bucket set at = at - $1::interval",
	"select pawl.wake(array(select distinct queue from pawl.scheduled where $1::interval is not null))::text",
}

// expire does what maintenance does when times have passed: it removes reservations and unique keys that have
// expired, returns the jobs of expired leases to their queues, and runs the followups of finished jobs.
func expire(ctx context.Context, client *pawl.Client, pool *pgxpool.Pool) error {
	for _, text := range []string{
		"select pawl.expire(1000)",
		"select jobs from pawl.rescue(1000, false, true)",
		"select settled from pawl.run_followups(1000)",
	} {
		for n := int64(1); n > 0; {
			if err := pool.QueryRow(ctx, inSchema(client, text), described).Scan(&n); err != nil {
				return err
			}
		}
	}
	return nil
}

// described makes pgx prepare no statement that outlives its call, so that a transaction pooler may be in between.
const described = pgx.QueryExecModeCacheDescribe

// A schedule keeps the jobs of a queue that are not due yet from becoming due while Drain runs.
type schedule struct {
	t      testing.TB
	client *pawl.Client
	pool   *pgxpool.Pool
	queue  string
	since  time.Time
	held   []int64
}

// heldBack is how much later such jobs are due meanwhile: longer than a test runs.
const heldBack = 24 * time.Hour

func newSchedule(t testing.TB, client *pawl.Client, queue string) *schedule {
	t.Helper()
	s := &schedule{t: t, client: client, pool: Pool(t, client), queue: queue}
	if err := s.pool.QueryRow(t.Context(), "select clock_timestamp()", described).Scan(&s.since); err != nil {
		t.Fatalf("pawltest: Drain: %v", err)
	}
	return s
}

// holdBack makes the jobs that would become due within ten minutes due a day later.
func (s *schedule) holdBack() {
	s.t.Helper()
	rows, _ := s.pool.Query(s.t.Context(), inSchema(s.client, `
		with number as materialized (select pg_current_xact_id()),
		moved as (
			update pawl.scheduled s set run_at = s.run_at + $3::interval from number
			where s.queue = $1::text and s.run_at > $2::timestamptz
			  and s.run_at < clock_timestamp() + interval '10 minutes'
			returning s.job_id, s.run_at
		)
		update pawl.job j set run_at = m.run_at from moved m where j.id = m.job_id returning j.id`),
		described, s.queue, s.since, heldBack)
	moved, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		s.t.Fatalf("pawltest: Drain: %v", err)
	}
	s.held = append(s.held, moved...)
}

// restore makes the jobs due at their times again, or now if these have passed.
func (s *schedule) restore() {
	s.t.Helper()
	if len(s.held) == 0 {
		return
	}
	ctx := context.WithoutCancel(s.t.Context())
	_, err := s.pool.Exec(ctx, inSchema(s.client, `
		with number as materialized (select pg_current_xact_id()),
		due as materialized (
			select s.queue, s.run_at, s.job_id,
			       clock_timestamp() + row_number() over (order by s.run_at, s.job_id) * interval '1 microsecond'
			         as soonest
			from pawl.scheduled s, number
			where s.queue = $1::text and s.job_id = any ($2::bigint[])
			  and s.run_at > clock_timestamp() + $3::interval / 2
		),
		moved as (
			update pawl.scheduled s set run_at = greatest(d.run_at - $3::interval, d.soonest)
			from due d
			where s.queue = d.queue and s.run_at = d.run_at and s.job_id = d.job_id
			returning s.job_id, s.run_at
		)
		update pawl.job j set run_at = m.run_at from moved m where j.id = m.job_id`),
		described, s.queue, s.held, heldBack)
	if err != nil {
		s.t.Errorf("pawltest: Drain: restore the times of scheduled jobs: %v", err)
	}
}

// inSchema puts the name of the client's schema into a statement that names it "pawl.".
func inSchema(client *pawl.Client, text string) string {
	return strings.ReplaceAll(text, "pawl.", pgx.Identifier{client.Schema()}.Sanitize()+".")
}
