package pawl_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// await waits until the job is in a state and returns it.
func await(t testing.TB, client *pawl.Client, id pawl.ID, state pawlstate.State) (job *pawl.JobInfo) {
	t.Helper()
	pgtest.Wait(t, "job to be "+string(state), func() bool {
		var err error
		job, err = client.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return job.State == state
	})
	return job
}

// awaitBlocked waits until n sessions of the test's database wait for a lock.
func awaitBlocked(t testing.TB, pool *pgxpool.Pool, n int) {
	t.Helper()
	pgtest.Wait(t, "sessions to wait for a lock", func() bool {
		return value[int](t, pool, "select count(*) from pg_stat_activity where datname = current_database() and "+
			"wait_event_type = 'Lock'") >= n
	})
}

// awaitSleepers waits until n sleep locks are held: runners and waiters hold one while they want to be woken.
func awaitSleepers(t testing.TB, pool *pgxpool.Pool, n int) {
	t.Helper()
	pgtest.Wait(t, "somebody to sleep", func() bool {
		return value[int](t, pool, `select count(*) from pg_locks where locktype = 'advisory' and mode = 'ShareLock' and
			granted
			and database = (select oid from pg_database where datname = current_database())`) == n
	})
}

// receive returns the next value of a channel. It fails the test if none comes.
func receive[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("after 20 s still waiting for: %s", what)
	}
	return v
}

// awaitListeners waits until n sessions of the test's database listen.
func awaitListeners(t testing.TB, pool *pgxpool.Pool, n int) {
	t.Helper()
	pgtest.Wait(t, "sessions to listen", func() bool {
		return value[int](t, pool, `select count(*) from pg_stat_activity
			where datname = current_database() and state = 'idle'
			and (query like 'listen %' or query like '%sleep_key%')`) >= n
	})
}
