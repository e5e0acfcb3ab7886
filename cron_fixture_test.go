package pawl_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
)

// hourly returns a cron that does not tick during a test unless a test moves its next tick.
func hourly(name string) pawl.Cron {
	return pawl.Cron{Name: name, Spec: "@every 1h", Job: pawl.JobSpec{Args: Note{1}, Fingerprint: name}}
}

func countCronJobs(t testing.TB, pool *pgxpool.Pool, name string) int {
	t.Helper()
	return value[int](t, pool, "select count(*) from pawl.job where opts -> 'headers' ->> 'cron' = $1", name)
}

// makeCronsLate moves the next tick of all crons into the past.
func makeCronsLate(t testing.TB, pool *pgxpool.Pool, by string) {
	t.Helper()
	exec(t, pool, "update pawl.cron set next_at = clock_timestamp() - $1::text::interval", by)
}

func oneCron(t testing.TB, client *pawl.Client, name string) pawl.Cron {
	t.Helper()
	crons, err := client.Crons(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, cron := range crons {
		if cron.Name == name {
			return cron
		}
	}
	t.Fatalf("no cron %q among %v", name, crons)
	return pawl.Cron{}
}

func putCron(t testing.TB, client *pawl.Client, crons ...pawl.Cron) {
	t.Helper()
	if err := client.PutCron(t.Context(), crons...); err != nil {
		t.Fatal(err)
	}
}

func tickCrons(t testing.TB, client *pawl.Client) {
	t.Helper()
	if err := client.TickCrons(t.Context()); err != nil {
		t.Fatal(err)
	}
}
