package pawl_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

// The races of docs/design.md, each with the rule that survives it. Where it can be done, the rule is then taken out of
// the statement, in the test's own database, to see that the test would notice.

// Rule 2: the epoch is compared where the row is locked.
func TestCompleteAfterRescueDeletesNothing(t *testing.T) {
	checkRule(t, "finish/complete", "where j.id = u.id and j.epoch = u.epoch for update skip locked",
		"where j.id = u.id for update skip locked",
		func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) string {
			insert(t, client, Note{1})
			stale := claim(t, client, 1)
			expireLeases(t, pool)
			if err := client.Complete(t.Context(), stale); !errors.Is(err, pawl.ErrLeaseLost) {
				return fmt.Sprintf("completed after its lease was lost: %v", err)
			}
			if n := liveRows(t, pool); n != 2 {
				return fmt.Sprintf("%d rows are left of the job, want 2", n)
			}
			return ""
		})
}

// Rule 2: the completion waits for the row and then finds another epoch.
func TestCompleteWhileRescuedDeletesNothing(t *testing.T) {
	checkRule(t, "finish/lock_jobs", "where j.id = u.id and j.epoch = u.epoch for update", "where j.id = u.id for update",
		func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) string {
			insert(t, client, Note{1})
			stale := claim(t, client, 1)
			tx := begin(t, pool)
			exec(t, tx, "update pawl.lease set expires_at = clock_timestamp() - interval '1 second'")
			exec(t, tx, "select * from pawl.rescue(100, true, true)")
			answer := make(chan error, 1)
			go func() { answer <- client.Complete(t.Context(), stale) }()
			awaitBlocked(t, pool, 1)
			held := make(chan []int64, 1)
			go func() {
				rows := values[int64](t, pool, "select pawl.lock_jobs(array[j.id], array[j.epoch]) from pawl.job j")
				held <- rows
			}()
			awaitBlocked(t, pool, 2)
			commit(t, tx)
			if err := <-answer; !errors.Is(err, pawl.ErrLeaseLost) {
				return fmt.Sprintf("completed after its lease was lost: %v", err)
			}
			if rows := <-held; len(rows) != 0 {
				return "pawl.lock_jobs returns a job with a new epoch for the old one"
			}
			return ""
		})
}

// Rule 3: a job that another transaction has locked delays no other job.
func TestALockDelaysOnlyItsOwnJob(t *testing.T) {
	checkRule(t, "finish/complete", "j.epoch = u.epoch for update skip locked", "j.epoch = u.epoch for update",
		func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) (wrong string) {
			if _, err := client.InsertMany(t.Context(), notes(3)); err != nil {
				t.Fatal(err)
			}
			jobs := claim(t, client, 3)
			locker := begin(t, pool)
			exec(t, locker, "select from pawl.job where id = $1 for update", int64(jobs[1].ID))
			answer := make(chan error, 1)
			go func() { answer <- client.Complete(t.Context(), jobs) }()
			awaitBlocked(t, pool, 1)
			if n := value[int](t, pool, "select count(*) from pawl.job"); n != 1 {
				wrong = fmt.Sprintf("%d jobs are not completed because one is locked", n)
			}
			if n := value[int](t, pool, "select count(*) from pawl.lease"); n != 1 {
				wrong += "; the lease went before its last job"
			}
			commit(t, locker)
			if err := <-answer; err != nil {
				wrong += fmt.Sprint("; ", err)
			}
			return wrong
		})
}

func TestALockDelaysOnlyItsOwnJobInARunner(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	var ids []pawl.ID
	for i := range 5 {
		ids = append(ids, insert(t, client, Note{i}))
	}
	locker := begin(t, pool)
	exec(t, locker, "select from pawl.job where id = $1 for update", int64(ids[2]))
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error { return nil })
	start(t, client, mux, pawl.RunnerConfig{})
	for i, id := range ids {
		if i != 2 {
			await(t, client, id, pawlstate.Completed)
		}
	}
	commit(t, locker)
	await(t, client, ids[2], pawlstate.Completed)
}

// Section 4, rule 7: a retried completion that finds no job checks whether it was carried out before.
func TestFindFinishedComparesTheEpoch(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	if _, err := client.InsertMany(t.Context(), notes(2)); err != nil {
		t.Fatal(err)
	}
	jobs := claim(t, client, 2)
	if err := client.Complete(t.Context(), jobs[0]); err != nil {
		t.Fatal(err)
	}
	if err := client.Fail(t.Context(), jobs[1], pawl.Dead(nil)); err != nil {
		t.Fatal(err)
	}
	finished := func(shift int) int {
		return len(values[int64](t, pool, `select (pawl.find_finished(array_agg(id), array_agg(epoch + $1::int))).id
			from (select id, epoch from pawl.archive union all select id, epoch from pawl.dead) f`, shift))
	}
	if n := finished(0); n != 2 {
		t.Errorf("%d of 2 are known to be finished at their epoch", n)
	}
	if n := finished(1) + finished(-1); n != 0 {
		t.Errorf("%d are said to be finished at an epoch that is not theirs", n)
	}
}
