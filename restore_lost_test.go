package pawl_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

// restoreLost looks at all jobs, two at a time, and returns how many got a ticket.
func restoreLost(t testing.TB, db queryer) (restored int64) {
	t.Helper()
	for after := int64(0); ; {
		rows, err := db.Query(t.Context(), "select * from pawl.restore_lost($1, 2)", after)
		must(t, err)
		var reached *int64
		var n int64
		if !rows.Next() {
			t.Fatalf("restore_lost returned no row: %v", rows.Err())
		}
		must(t, rows.Scan(&reached, &n))
		rows.Close()
		restored += n
		if reached == nil {
			return restored
		}
		after = *reached
	}
}

// A job that runs nowhere and waits for nothing gets a ticket, at a new epoch. Jobs in other states stay as they are.
func TestJobsWithoutATicketOrALeaseAreRestored(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	jobInEachState(t, client)
	exec(t, pool, "update pawl.job set crashes = 2 where id = (select min(job_id) from pawl.ready)")
	returned := insert(t, client, Note{7})
	must(t, client.Release(t.Context(), claim(t, client, 1), 0))
	lost := insert(t, client, pawl.JobSpec{Args: Note{8}, Queue: "lost"})
	first := insert(t, client, pawl.JobSpec{Args: Note{9}, Queue: "lost", Channel: "c", Ordered: true})
	second := insert(t, client, pawl.JobSpec{Args: Note{10}, Queue: "lost", Channel: "c", Ordered: true})
	jobs, err := client.Claim(t.Context(), "lost", 5, time.Minute)
	must(t, err)
	if len(jobs) != 2 {
		t.Fatalf("claimed %d jobs, want 2", len(jobs))
	}
	epochs := func() []int64 {
		return values[int64](t, pool, "select id * 10000000000 + epoch from pawl.job where queue <> 'lost' order by id")
	}
	before := epochs()
	if n := restoreLost(t, pool); n != 0 {
		t.Errorf("%d jobs were restored, want none: none is lost", n)
	}
	exec(t, pool, "delete from pawl.lease where $1 = any (jobs)", int64(lost))
	if n := restoreLost(t, pool); n != 2 {
		t.Errorf("%d jobs were restored, want 2", n)
	}
	if !slices.Equal(epochs(), before) {
		t.Error("a job that was not lost has another epoch")
	}
	if err := client.Complete(t.Context(), jobs[:1]); err == nil {
		t.Error("the result of a lost job was stored, at an epoch that has passed")
	}
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error { return nil })
	start(t, client, mux, pawl.RunnerConfig{})
	for _, id := range []pawl.ID{returned, lost, first, second} {
		await(t, client, id, pawlstate.Completed)
	}
	if findings, err := client.Verify(t.Context()); err != nil || len(findings) > 0 {
		t.Errorf("verify: %+v, %v", findings, err)
	}
}

// A job that moves from a ticket to a lease meanwhile, or back, is not lost.
func TestRestoreLostBesideWork(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	insert(t, client, Note{1})
	insert(t, client, Note{2})
	running := claim(t, client, 1)
	for _, change := range []func(tx *pawl.Client) error{
		func(tx *pawl.Client) error { _, err := tx.Claim(t.Context(), "default", 1, time.Minute); return err },
		func(tx *pawl.Client) error { return tx.Release(t.Context(), running, time.Hour) },
	} {
		inTransaction(t, pool, client, change, func() {
			if n := restoreLost(t, pool); n != 0 {
				t.Errorf("%d jobs were restored while a transaction moved them", n)
			}
		})
		if n := restoreLost(t, pool); n != 0 {
			t.Errorf("%d jobs were restored after a transaction moved them", n)
		}
	}
}

// inTransaction makes a change, calls meanwhile while it is not committed, and commits it.
func inTransaction(
	t testing.TB, pool *pgxpool.Pool, client *pawl.Client, change func(*pawl.Client) error, meanwhile func(),
) {
	t.Helper()
	tx := begin(t, pool)
	must(t, change(client.With(tx)))
	meanwhile()
	commit(t, tx)
}
