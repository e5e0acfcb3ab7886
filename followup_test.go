package pawl_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

// A job with KeepWaiting waits until its dead parent is retried. When the parent is deleted or expires, it is
// cancelled.
func TestAWaitingJobIsCancelledWhenItsDeadParentGoes(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, client *pawl.Client, parent pawl.ID){
		"deleted": func(t *testing.T, client *pawl.Client, parent pawl.ID) {
			wantCount(t, 1)(client.Delete(t.Context(), parent))
		},
		"filtered": func(t *testing.T, client *pawl.Client, _ pawl.ID) {
			wantCount(t, 1)(client.Delete(t.Context(), pawl.Filter{States: []pawlstate.State{pawlstate.Dead}}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			parent := insert(t, client, Note{1})
			child := insert(t, client, pawl.JobSpec{Args: Note{2}, AfterOK: []pawl.ID{parent}, KeepWaiting: true})
			must(t, client.Fail(t.Context(), claim(t, client, 1), pawl.Dead(errBoom)))
			runFollowups(t, pool)
			await(t, client, child, pawlstate.Waiting)
			end(t, client, parent)
			await(t, client, child, pawlstate.Cancelled)
		})
	}
	t.Run("expired", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		parent := insert(t, client, Note{1})
		must(t, client.Fail(t.Context(), claim(t, client, 1), pawl.Dead(errBoom)))
		child := insert(t, client, pawl.JobSpec{Args: Note{2}, AfterOK: []pawl.ID{parent}, KeepWaiting: true})
		runFollowups(t, pool)
		await(t, client, child, pawlstate.Waiting)
		exec(t, pool, "update pawl.dead set expires_at = clock_timestamp() - interval '1 second'")
		if n := value[int64](t, pool, "select pawl.apply_retention(100)"); n != 1 {
			t.Errorf("%d jobs expired, want one", n)
		}
		runFollowups(t, pool)
		await(t, client, child, pawlstate.Cancelled)
	})
}

// A job begins to wait for a dead job while that is deleted or retried.
func TestAJobInsertedWhileItsParentGoesIsNotOverlooked(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"delete", "retry"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			parent := insert(t, client, Note{1})
			must(t, client.Fail(t.Context(), claim(t, client, 1), pawl.Dead(errBoom)))
			tx := begin(t, pool)
			waiting := pawl.JobSpec{Args: Note{2}, AfterOK: []pawl.ID{parent}, KeepWaiting: true}
			child, err := client.With(tx).Insert(t.Context(), waiting)
			must(t, err)
			var going sync.WaitGroup
			going.Go(func() {
				if verb == "delete" {
					_, err = client.Delete(t.Context(), parent)
				} else {
					_, err = client.Retry(t.Context(), parent)
				}
			})
			awaitBlocked(t, pool, 1)
			commit(t, tx)
			going.Wait()
			must(t, err)
			runFollowups(t, pool)
			want := pawlstate.Cancelled
			if verb == "retry" {
				must(t, client.Complete(t.Context(), claim(t, client, 1)))
				runFollowups(t, pool)
				want = pawlstate.Ready
			}
			await(t, client, child.ID, want)
		})
	}
	t.Run("retried before", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		parent := insert(t, client, Note{1})
		must(t, client.Fail(t.Context(), claim(t, client, 1), pawl.Dead(errBoom)))
		tx := begin(t, pool)
		wantCount(t, 1)(client.With(tx).Retry(t.Context(), parent))
		var inserting sync.WaitGroup
		var child pawl.InsertResult
		var err error
		inserting.Go(func() {
			child, err = client.Insert(t.Context(), pawl.JobSpec{Args: Note{2}, AfterOK: []pawl.ID{parent}})
		})
		awaitBlocked(t, pool, 1)
		commit(t, tx)
		inserting.Wait()
		must(t, err)
		runFollowups(t, pool)
		must(t, client.Complete(t.Context(), claim(t, client, 1)))
		runFollowups(t, pool)
		await(t, client, child.ID, pawlstate.Ready)
	})
}

// A maintenance task inserts the callbacks of a batch, and an error would stop that task. So a callback that cannot
// be inserted is refused with the batch.
func TestACallbackThatCannotBeInsertedIsRefused(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	parent := insert(t, client, Note{0})
	batch := func(after pawl.ID) error {
		_, err := client.InsertBatch(t.Context(), pawl.BatchSpec{
			Jobs: []pawl.JobSpec{{Args: Note{1}}}, OnFinish: &pawl.JobSpec{Args: Note{2}, AfterAny: []pawl.ID{after}},
		})
		return err
	}
	if err := batch(1 << 40); err == nil || !strings.Contains(err.Error(), "OnFinish") {
		t.Errorf("got %v, want an error of OnFinish", err)
	}
	for _, spec := range []pawl.JobSpec{{Args: Note{2}, Reserve: time.Hour}, {}} {
		var invalid *pawl.InvalidError
		_, err := client.InsertBatch(t.Context(), pawl.BatchSpec{OnSuccess: &spec})
		if !errors.As(err, &invalid) || !strings.Contains(err.Error(), "OnSuccess") {
			t.Errorf("%+v: got %v, want an *InvalidError of OnSuccess", spec, err)
		}
		if _, err := client.InsertSaga(t.Context(), spec); !errors.As(err, &invalid) {
			t.Errorf("a saga of %+v: got %v, want an *InvalidError", spec, err)
		}
	}
	must(t, batch(parent))
	must(t, client.Complete(t.Context(), claim(t, client, 2)))
	runFollowups(t, pool)
	if jobs := claimAll(t, client); len(jobs) != 1 || jobs[0].Headers["batch"] == "" {
		t.Errorf("claimed %d jobs, want the callback", len(jobs))
	}
}

// The callback of a batch goes into an ordered channel that an open insert has locked. Only the callback waits for
// it.
func TestACallbackThatWaitsForALockDelaysNothingElse(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	follow := ordered("c", 9)
	_, err := client.InsertBatch(t.Context(), pawl.BatchSpec{Jobs: []pawl.JobSpec{{Args: Note{1}}}, OnFinish: &follow})
	must(t, err)
	for n := range 2 {
		insert(t, client, ordered("d", n))
	}
	tx := begin(t, pool)
	_, err = client.With(tx).Insert(t.Context(), ordered("c", 8))
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	must(t, client.Complete(ctx, claim(t, client, 2)))
	other := begin(t, pool)
	exec(t, other, "set local lock_timeout = '5s'")
	exec(t, other, "select * from pawl.run_followups(100)")
	commit(t, other)
	if jobs := claimAll(t, client); len(jobs) != 1 || jobs[0].Channel != "d" {
		t.Errorf("claimed %d jobs, want the next of d", len(jobs))
	}
	commit(t, tx)
	runFollowups(t, pool)
	jobs := claimAll(t, client)
	if len(jobs) != 1 {
		t.Fatalf("claimed %d jobs of c", len(jobs))
	}
	must(t, client.Complete(t.Context(), jobs))
	if jobs := claimAll(t, client); len(jobs) != 1 || jobs[0].Headers["batch"] == "" {
		t.Errorf("claimed %d jobs, want the callback of the batch", len(jobs))
	}
}

func TestFollowupsThatWaitForALockDelayNoOthers(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	tx := begin(t, pool)
	var late pawl.Jobs
	for n := range 3 {
		channel := fmt.Sprint("late ", n)
		insert(t, client, ordered(channel, n))
		_, err := client.With(tx).Insert(t.Context(), ordered(channel, n)) // This locks the channel.
		must(t, err)
	}
	late = claim(t, client, 3)
	must(t, client.Complete(t.Context(), late))
	for n := range 2 {
		insert(t, client, ordered("other", n))
	}
	other := begin(t, pool)
	must(t, client.With(other).Complete(t.Context(), claim(t, client, 1)))
	commit(t, other)
	for range 2 {
		exec(t, pool, "select * from pawl.run_followups(3)")
	}
	if jobs := claimAll(t, client); len(jobs) != 1 || jobs[0].Channel != "other" {
		t.Errorf("claimed %d jobs, want the next of the other channel", len(jobs))
	}
	commit(t, tx)
	runFollowups(t, pool)
	if jobs := claimAll(t, client); len(jobs) != 3 {
		t.Errorf("claimed %d jobs of the late channels, want 3", len(jobs))
	}
}

// The end of one job has a consequence that cannot be done. It is put aside, and everything else goes on: also the
// ordered channel of that job and the jobs that depend on it.
func TestAFollowupThatFailsIsPutAside(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	batch := func(spec pawl.JobSpec, callback int) (job pawl.ID) {
		t.Helper()
		id, err := client.InsertBatch(t.Context(), pawl.BatchSpec{
			Jobs: []pawl.JobSpec{spec}, OnFinish: &pawl.JobSpec{Args: Note{callback}},
		})
		must(t, err)
		return pawl.ID(value[int64](t, pool, "select id from pawl.job where opts -> 'batch' = to_jsonb($1::bigint)",
			int64(id)))
	}
	bad := batch(ordered("c", 0), 100)
	exec(t, pool, "update pawl.batch set on_finish = '5'")
	insert(t, client, ordered("c", 1))
	insert(t, client, pawl.JobSpec{Args: Note{2}, AfterOK: []pawl.ID{bad}})
	batch(pawl.JobSpec{Args: Note{3}}, 4)
	batch(ordered("d", 5), 6)
	insert(t, client, ordered("d", 7))
	jobs := claim(t, client, 3)
	tx := begin(t, pool)
	must(t, client.With(tx).Complete(t.Context(), jobs))
	commit(t, tx)
	runFollowups(t, pool)
	got := numbers(t, claimAll(t, client))
	slices.Sort(got)
	if !slices.Equal(got, []int{1, 2, 4, 6, 7}) {
		t.Errorf("claimed %v, want all that follows but the bad callback", got)
	}
	findings, err := client.Verify(t.Context())
	must(t, err)
	if len(findings) != 1 || findings[0].Check != "followup-failed" {
		t.Errorf("found %+v", findings)
	}
	runFollowups(t, pool)
	const aside = "select count(*) from pawl.followup where id < 0 and batch is not null and not ordered"
	if n := value[int](t, pool, aside); n != 1 {
		t.Errorf("%d follow-ups are aside, want the batch's", n)
	}

	// A repair that fails again ends. One after the cause is gone inserts the callback.
	findings, err = client.Repair(t.Context())
	must(t, err)
	if len(findings) != 1 || findings[0].Repaired {
		t.Errorf("repaired %+v", findings)
	}
	exec(t, pool, `update pawl.batch set on_finish = '[{"kind": "note", "args": {"n": 8}}]' where on_finish = '5'`)
	findings, err = client.Repair(t.Context())
	must(t, err)
	if len(findings) != 1 || !findings[0].Repaired {
		t.Errorf("repaired %+v", findings)
	}
	if got := numbers(t, claimAll(t, client)); !slices.Equal(got, []int{8}) {
		t.Errorf("claimed %v, want the callback", got)
	}
}

// A dead job is retried whose follow-up was put aside. Its end does not count.
func TestRetryOfAJobWhoseFollowupIsAside(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	id, err := client.InsertBatch(t.Context(), pawl.BatchSpec{Jobs: notes(2), OnDeath: &pawl.JobSpec{Args: Note{9}}})
	must(t, err)
	exec(t, pool, `update pawl.batch set on_death = '[{"kind": ""}]'`)
	jobs := claim(t, client, 1)
	must(t, client.Fail(t.Context(), jobs, pawl.Dead(errBoom)))
	runFollowups(t, pool)
	wantCount(t, 1)(client.Retry(t.Context(), jobs[0].ID))
	b, err := client.GetBatch(t.Context(), id)
	must(t, err)
	if b.Dead != 0 || value[int](t, pool, "select count(*) from pawl.followup") != 0 {
		t.Errorf("the batch is %+v", b)
	}
	must(t, client.Complete(t.Context(), claim(t, client, 2)))
	runFollowups(t, pool)
	if b, _ = client.GetBatch(t.Context(), id); b.Completed != 2 || b.FinishedAt.IsZero() {
		t.Errorf("the batch is %+v", b)
	}
	checkInvariant(t, client)
}

// The callback of a batch has a unique key that an open insert has just taken. Follow-ups wait for that only a moment.
func TestACallbackWhoseKeyIsLockedDelaysNothingElse(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	follow := pawl.JobSpec{Args: Note{9}, Unique: pawl.Unique{Key: "k"}}
	_, err := client.InsertBatch(t.Context(), pawl.BatchSpec{Jobs: notes(1), OnFinish: &follow})
	must(t, err)
	for n := range 2 {
		insert(t, client, ordered("d", n))
	}
	tx := begin(t, pool)
	_, err = client.With(tx).Insert(t.Context(), follow)
	must(t, err)
	must(t, client.Complete(t.Context(), claim(t, client, 2)))
	if jobs := claimAll(t, client); len(jobs) != 1 || jobs[0].Channel != "d" {
		t.Errorf("claimed %d jobs, want the next of d", len(jobs))
	}
	must(t, tx.Rollback(t.Context()))
	runFollowups(t, pool)
	if jobs := claimAll(t, client); len(jobs) != 1 || jobs[0].Headers["batch"] == "" {
		t.Errorf("claimed %d jobs, want the callback", len(jobs))
	}
}
