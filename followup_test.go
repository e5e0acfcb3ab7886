package pawl_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

// Who waits for a dead job to be retried does not wait for ever: when that is deleted, or forgotten after its time, it is cancelled.
func TestHoldEndsWithItsParent(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, client *pawl.Client, parent pawl.ID){
		"deleted": func(t *testing.T, client *pawl.Client, parent pawl.ID) {
			must1(t, 1)(client.Delete(t.Context(), parent))
		},
		"filtered": func(t *testing.T, client *pawl.Client, _ pawl.ID) {
			must1(t, 1)(client.Delete(t.Context(), pawl.Filter{States: []pawlstate.State{pawlstate.Dead}}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			parent := insert(t, client, Note{1})
			child := insert(t, client, pawl.JobSpec{Args: Note{2}, AfterOK: []pawl.ID{parent}, KeepWaiting: true})
			must(t, client.Fail(t.Context(), claim(t, client, 1), pawl.Dead(errBoom)))
			settle(t, pool)
			await(t, client, child, pawlstate.Waiting)
			end(t, client, parent)
			await(t, client, child, pawlstate.Cancelled)
		})
	}
	t.Run("forgotten", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		parent := insert(t, client, Note{1})
		must(t, client.Fail(t.Context(), claim(t, client, 1), pawl.Dead(errBoom)))
		child := insert(t, client, pawl.JobSpec{Args: Note{2}, AfterOK: []pawl.ID{parent}, KeepWaiting: true})
		settle(t, pool)
		await(t, client, child, pawlstate.Waiting)
		exec(t, pool, "update pawl.dead set expires_at = clock_timestamp() - interval '1 second'")
		if n := value[int64](t, pool, "select pawl.apply_retention(100)"); n != 1 {
			t.Errorf("%d forgotten", n)
		}
		settle(t, pool)
		await(t, client, child, pawlstate.Cancelled)
	})
}

// A job that begins to wait for a dead one while that is deleted or retried is not overlooked.
func TestHoldWhileItsParentGoes(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"delete", "retry"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			parent := insert(t, client, Note{1})
			must(t, client.Fail(t.Context(), claim(t, client, 1), pawl.Dead(errBoom)))
			tx := begin(t, pool)
			child, err := client.With(tx).Insert(t.Context(), pawl.JobSpec{Args: Note{2}, AfterOK: []pawl.ID{parent}, KeepWaiting: true})
			must(t, err)
			var going sync.WaitGroup
			going.Go(func() {
				if verb == "delete" {
					_, err = client.Delete(t.Context(), parent)
				} else {
					_, err = client.Retry(t.Context(), parent)
				}
			})
			blocked(t, pool, 1)
			commit(t, tx)
			going.Wait()
			must(t, err)
			settle(t, pool)
			want := pawlstate.Cancelled
			if verb == "retry" {
				must(t, client.Complete(t.Context(), claim(t, client, 1)))
				settle(t, pool)
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
		must1(t, 1)(client.With(tx).Retry(t.Context(), parent))
		var inserting sync.WaitGroup
		var child pawl.InsertResult
		var err error
		inserting.Go(func() {
			child, err = client.Insert(t.Context(), pawl.JobSpec{Args: Note{2}, AfterOK: []pawl.ID{parent}})
		})
		blocked(t, pool, 1)
		commit(t, tx)
		inserting.Wait()
		must(t, err)
		settle(t, pool)
		must(t, client.Complete(t.Context(), claim(t, client, 1)))
		settle(t, pool)
		await(t, client, child.ID, pawlstate.Ready)
	})
}

// What follows a batch is inserted by a chore, which an error would stop for everybody: what cannot be inserted is refused before.
func TestAFollowerThatCannotBe(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	parent := insert(t, client, Note{0})
	batch := func(after pawl.ID) error {
		_, err := client.InsertBatch(t.Context(), pawl.BatchSpec{Jobs: []pawl.JobSpec{{Args: Note{1}}}, OnFinish: &pawl.JobSpec{Args: Note{2}, AfterAny: []pawl.ID{after}}})
		return err
	}
	if err := batch(1 << 40); err == nil || !strings.Contains(err.Error(), "OnFinish") {
		t.Errorf("got %v, want an error of OnFinish", err)
	}
	for _, spec := range []pawl.JobSpec{{Args: Note{2}, Reserve: time.Hour}, {}} {
		var invalid *pawl.InvalidError
		if _, err := client.InsertBatch(t.Context(), pawl.BatchSpec{OnSuccess: &spec}); !errors.As(err, &invalid) || !strings.Contains(err.Error(), "OnSuccess") {
			t.Errorf("%+v: got %v, want an *InvalidError of OnSuccess", spec, err)
		}
		if _, err := client.InsertSaga(t.Context(), spec); !errors.As(err, &invalid) {
			t.Errorf("a saga of %+v: got %v, want an *InvalidError", spec, err)
		}
	}
	must(t, batch(parent))
	must(t, client.Complete(t.Context(), claim(t, client, 2)))
	settle(t, pool)
	if jobs := claimAll(t, client); len(jobs) != 1 || jobs[0].Headers["batch"] == "" {
		t.Errorf("claimed %d jobs, want what follows", len(jobs))
	}
}

// What follows a batch in an ordered channel, where somebody has an insert open, is late; all other ends are not.
func TestAFollowerWaitsForNobody(t *testing.T) {
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
	impatient := begin(t, pool)
	exec(t, impatient, "set local lock_timeout = '5s'")
	exec(t, impatient, "select * from pawl.run_followups(100)")
	commit(t, impatient)
	if jobs := claimAll(t, client); len(jobs) != 1 || jobs[0].Channel != "d" {
		t.Errorf("claimed %d jobs, want the next of d", len(jobs))
	}
	commit(t, tx)
	settle(t, pool)
	jobs := claimAll(t, client)
	if len(jobs) != 1 {
		t.Fatalf("claimed %d jobs of c", len(jobs))
	}
	must(t, client.Complete(t.Context(), jobs))
	if jobs := claimAll(t, client); len(jobs) != 1 || jobs[0].Headers["batch"] == "" {
		t.Errorf("claimed %d jobs, want what follows the batch", len(jobs))
	}
}

// Ends that have to wait, however many, do not keep the others waiting.
func TestLateEndsLetOthersPass(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	tx := begin(t, pool)
	var late pawl.Jobs
	for n := range 3 {
		channel := fmt.Sprint("late ", n)
		insert(t, client, ordered(channel, n))
		_, err := client.With(tx).Insert(t.Context(), ordered(channel, n)) // Keeps the channel's lock.
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
	settle(t, pool)
	if jobs := claimAll(t, client); len(jobs) != 3 {
		t.Errorf("claimed %d jobs of the late channels, want 3", len(jobs))
	}
}
