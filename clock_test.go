package pawl_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// makeDue makes all scheduled jobs due. It changes rows, not clocks. The time is now and not in the past, where a
// promoter may have been already.
func makeDue(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		exec(t, tx, "select pg_current_xact_id()") // As every writer of a time, or the floor of a queue might pass it by.
		exec(t, tx, `with moved as (update pawl.scheduled s set run_at = clock_timestamp() returning s.job_id, s.run_at)
			update pawl.job j set run_at = m.run_at from moved m where j.id = m.job_id`)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// expireLeases expires all leases of consumers and rescues their jobs.
func expireLeases(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	exec(t, pool, `update pawl.lease set expires_at = clock_timestamp() - interval '1 second'
		where expires_at is not null`)
	exec(t, pool, "select * from pawl.rescue(100, true, true)")
}
