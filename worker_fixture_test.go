package pawl_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// awaitHeartbeat waits until the only worker has made a heartbeat and has acted on its result.
func awaitHeartbeat(t testing.TB, client *pawl.Client, pool *pgxpool.Pool) {
	t.Helper()
	for range 2 { // The second one begins after the worker has acted on the first.
		now := value[time.Time](t, pool, "select clock_timestamp()")
		pgtest.Wait(t, "a heartbeat", func() bool {
			exec(t, pool, "select pawl.poke_heartbeats()")
			return theWorker(t, client).SeenAt.After(now)
		})
	}
}

// theWorker returns the only worker.
func theWorker(t testing.TB, client *pawl.Client) pawl.Worker {
	t.Helper()
	workers, err := client.Workers(t.Context())
	if err != nil || len(workers) != 1 {
		t.Fatalf("the workers are %+v, %v; want one", workers, err)
	}
	return workers[0]
}

// rareBeat is a heartbeat that does not come by itself within a test.
const rareBeat = 10 * time.Minute

// registerWorker returns a client with n jobs, and a registered worker.
func registerWorker(t *testing.T, worker pawl.Worker, n int) (*pawl.Client, *pgxpool.Pool, *pawl.Worker) {
	t.Helper()
	client, pool := install(t)
	w, err := client.RegisterWorker(t.Context(), worker)
	must(t, err)
	if _, err := client.InsertMany(t.Context(), notes(n)); err != nil {
		t.Fatal(err)
	}
	return client, pool, w
}
