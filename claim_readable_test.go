package pawl_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// breakColumn writes bytes into a jsonb column that the server cannot turn into text, as a broken disk may.
func breakColumn(t testing.TB, pool *pgxpool.Pool, column string, ids ...pawl.ID) {
	t.Helper()
	exec(t, pool, `do $$ begin create cast (bytea as jsonb) without function;
		exception when duplicate_object then null; end $$`)
	exec(t, pool, "update pawl.job set "+column+` = cast('\x00000000'::bytea as jsonb) where id = any ($1)`, ids)
}

// wantUnprocessable waits until a job is dead because it cannot be processed, and returns its error.
func wantUnprocessable(t testing.TB, pool *pgxpool.Pool, id pawl.ID) (text string) {
	t.Helper()
	pgtest.Wait(t, "the job to be dead", func() bool {
		reasons := values[string](t, pool, "select reason || ' ' || (errors -> -1 ->> 'error') from pawl.dead where id = $1",
			int64(id))
		text = strings.Join(reasons, "")
		return strings.HasPrefix(text, "unprocessable ")
	})
	return text
}

// If the server cannot send a row, only the job of that row is dead, and the claim returns the others: to a runner, to
// a consumer, to a consumer in a transaction of either driver, and by SQL.
func TestARowThatCannotBeSentStopsNoClaim(t *testing.T) {
	t.Parallel()
	for _, column := range []string{"args", "opts", "errors", "checkpoint"} {
		for name, work := range claimers {
			t.Run(column+" "+name, func(t *testing.T) {
				t.Parallel()
				client, pool := install(t)
				results, err := client.InsertMany(t.Context(), notes(7))
				must(t, err)
				breakColumn(t, pool, column, results[0].ID, results[3].ID, results[6].ID)
				ended := work(t, client, pool)
				for i, r := range results {
					if i%3 != 0 {
						if !ended(r.ID) {
							t.Errorf("job %d was not claimed", r.ID)
						}
						continue
					}
					text := wantUnprocessable(t, pool, r.ID)
					if !strings.Contains(text, "unknown type of jsonb container") || !strings.Contains(text, "XX000") {
						t.Errorf("its error is %q, want the server's", text)
					}
				}
				if findings, err := client.Verify(t.Context()); err != nil || len(findings) > 0 {
					t.Errorf("verify: %+v, %v", findings, err)
				}
			})
		}
	}
}

// claimers claim all jobs in different ways. The function that they return reports whether a job was claimed.
var claimers = map[string]func(*testing.T, *pawl.Client, *pgxpool.Pool) func(pawl.ID) bool{
	"runner": func(t *testing.T, client *pawl.Client, _ *pgxpool.Pool) func(pawl.ID) bool {
		mux := new(pawl.Mux)
		pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error { return nil })
		start(t, client, mux, pawl.RunnerConfig{})
		return func(id pawl.ID) bool { return await(t, client, id, pawlstate.Completed) != nil }
	},
	"consumer": func(t *testing.T, client *pawl.Client, _ *pgxpool.Pool) func(pawl.ID) bool {
		return claimedBy(t, func() (pawl.Jobs, error) { return client.Claim(t.Context(), "default", 3, time.Minute) })
	},
	"consumer of a kind": func(t *testing.T, client *pawl.Client, _ *pgxpool.Pool) func(pawl.ID) bool {
		return claimedBy(t, func() (pawl.Jobs, error) {
			return client.Claim(t.Context(), "default", 3, time.Minute, "note")
		})
	},
	"transaction": func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) func(pawl.ID) bool {
		tx := begin(t, pool)
		defer commit(t, tx)
		return claimedBy(t, func() (pawl.Jobs, error) {
			return client.With(tx).Claim(t.Context(), "default", 3, time.Minute)
		})
	},
	"transaction of database/sql": func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) func(pawl.ID) bool {
		tx := stdTx(t, pool)
		defer func() { must(t, tx.Commit()) }()
		return claimedBy(t, func() (pawl.Jobs, error) {
			return client.WithSQL(tx).Claim(t.Context(), "default", 3, time.Minute)
		})
	},
	"SQL": func(t *testing.T, _ *pawl.Client, pool *pgxpool.Pool) func(pawl.ID) bool {
		return claimedBy(t, func() (jobs pawl.Jobs, err error) {
			for _, id := range values[int64](t, pool, "select id from pawl.claim('default', 3) where args is not null") {
				jobs = append(jobs, &pawl.JobInfo{ID: pawl.ID(id)})
			}
			return jobs, nil
		})
	},
}

// claimedBy claims until nothing is left.
func claimedBy(t *testing.T, claim func() (pawl.Jobs, error)) func(pawl.ID) bool {
	t.Helper()
	got := map[pawl.ID]bool{}
	for {
		jobs, err := claim()
		must(t, err)
		if len(jobs) == 0 {
			return func(id pawl.ID) bool { return got[id] }
		}
		for _, job := range jobs {
			got[job.ID] = true
		}
	}
}
