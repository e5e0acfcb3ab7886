package pawl_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// One client claims jobs. Another client, which knows only their ids and epochs, reports the results.
func TestClaimedByAnotherProcess(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "default", MaxRunning: 10}))
	if _, err := client.InsertMany(t.Context(), notes(7)); err != nil {
		t.Fatal(err)
	}
	claimed := claim(t, client, 6)
	ids := make([]pawl.ID, len(claimed))
	for i, job := range claimed {
		ids[i] = job.ID
	}
	ready := ids[len(ids)-1] + 1

	other, err := pawl.New(pool, pawl.Config{})
	must(t, err)
	tx := stdTx(t, pool)
	for name, c := range map[string]*pawl.Client{"pgx": other, "database/sql": other.WithSQL(tx)} {
		jobs, err := c.Claimed(t.Context(), append(ids, ready, ids[0], 999)...)
		if err != nil || len(jobs) != len(ids) {
			t.Fatalf("%s: claimed are %v, %v, want those of %d", name, jobs, err, ids)
		}
		for i, job := range jobs {
			if job.ID != ids[i] || job.Epoch() != claimed[i].Epoch() || job.Lease() != claimed[i].Lease() ||
				job.State != pawlstate.Running || job.Attempt != 1 {
				t.Errorf("%s: Claimed returned %+v, Claim returned %+v", name, job, claimed[i])
			}
			if left := time.Until(job.LeaseUntil); left <= 0 || left > time.Minute {
				t.Errorf("%s: the lease lasts until %v", name, job.LeaseUntil)
			}
		}
	}
	must(t, tx.Rollback())
	jobs, err := other.Claimed(t.Context(), ids...)
	must(t, err)
	must(t, other.Complete(t.Context(), jobs[0]))
	must(t, other.Fail(t.Context(), jobs[1], pawl.Dead(errors.New("no"))))
	must(t, other.Release(t.Context(), jobs[2], time.Hour))
	must(t, other.Checkpoint(t.Context(), jobs[3], pawl.Checkpoint{Value: 5}))
	must(t, other.Extend(t.Context(), jobs[3], time.Hour))
	wantCount(t, 1)(other.Delete(t.Context(), jobs[4]))
	for _, i := range []int{0, 1, 2, 4} {
		if err := client.Complete(t.Context(), claimed[i]); !errors.Is(err, pawl.ErrLeaseLost) {
			t.Errorf("the first claim of job %d can still complete it: %v", claimed[i].ID, err)
		}
	}
	for i, want := range []pawlstate.State{pawlstate.Completed, pawlstate.Dead, pawlstate.Scheduled, pawlstate.Running} {
		job := await(t, client, ids[i], want)
		if !job.StartedAt.IsZero() {
			t.Errorf("job %d is known to have started at %v", i, job.StartedAt)
		}
	}
	if n := value[int](t, pool, "select count(*) from pawl.permit"); n != 2 {
		t.Errorf("%d permits are in use, want those of the two that are claimed", n)
	}

	// Claimed at one epoch, lost, and claimed again: the old epoch is refused.
	late := mustValue(other.Claimed(t.Context(), ids[5]))
	expireLeases(t, pool)
	if jobs := mustValue(other.Claimed(t.Context(), ids[5])); len(jobs) > 0 {
		t.Errorf("a lost job counts as claimed: %+v", jobs[0])
	}
	if err := other.Complete(t.Context(), late); !errors.Is(err, pawl.ErrLeaseLost) {
		t.Errorf("completed with a lost lease: %v", err)
	}
	if n, err := other.Delete(t.Context(), late); n != 0 || err != nil {
		t.Errorf("deleted %d, %v, with a lost lease", n, err)
	}
	var again pawl.Jobs // Rescued by one claim or the next.
	pgtest.Wait(t, "them to be claimed again", func() bool {
		again = append(again, claim(t, client, 10)...)
		return len(again) >= 3
	})
	rest := mustValue(other.Claimed(t.Context(), again[0].ID, again[1].ID, again[2].ID))
	if len(rest) != 3 || rest[0].Epoch() == late[0].Epoch() && rest[0].ID == late[0].ID {
		t.Fatalf("claimed again are %v", rest)
	}
	must(t, other.Complete(t.Context(), rest))
	if n := value[int](t, pool, "select count(*) from pawl.lease"); n != 0 {
		t.Errorf("%d leases are left of jobs that are all answered", n)
	}
}

func TestClaimKinds(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	for i := range 12 {
		kind := []string{"a", "b", "c"}[i%3]
		insert(t, client, pawl.JobSpec{Args: pawl.Raw(kind, nil), Queue: "q", Channel: []string{"", "x"}[i%2],
			Priority: -(i / 6)})
	}
	kinds := func(n int, kinds ...string) (got []pawl.ID) {
		t.Helper()
		jobs, err := client.Claim(t.Context(), "q", n, time.Minute, kinds...)
		must(t, err)
		for _, job := range jobs {
			if !slices.Contains(kinds, job.Kind) {
				t.Errorf("claimed a %s, wanted %s", job.Kind, kinds)
			}
			got = append(got, job.ID)
		}
		return got
	}
	if got := kinds(10, "z"); len(got) > 0 {
		t.Errorf("claimed %d of a kind there is none of", got)
	}
	if got := kinds(3, "b"); !slices.Equal(got, []pawl.ID{11, 8, 5}) {
		t.Errorf("claimed %d of b, want 11, 8, 5: by priority, then by channel", got)
	}
	if got := kinds(10, "c", "b"); !slices.Equal(got, []pawl.ID{9, 12, 3, 2, 6}) {
		t.Errorf("claimed %d of b and c, want 9, 12, 3, 2, 6", got)
	}
	must(t, client.PauseQueue(t.Context(), "q"))
	if got := kinds(10, "a"); len(got) > 0 {
		t.Errorf("claimed %d of a paused queue", got)
	}
	must(t, client.ResumeQueue(t.Context(), "q"))
	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "q", MaxRunning: 2}))
	if got := kinds(10, "a"); len(got) != 2 {
		t.Errorf("claimed %d of a where two more may run", got)
	}
	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "q"}))

	// Two crashes, and it comes alone.
	for range 2 {
		expireLeases(t, pool)
		if got := kinds(1, "a"); len(got) != 1 {
			t.Fatalf("claimed %d", got)
		}
	}
	expireLeases(t, pool)
	for range value[int](t, pool, "select count(*) from pawl.ready where priority = -32769") {
		if got := kinds(10, "a", "b", "c"); len(got) != 1 {
			t.Errorf("claimed %d beside a suspect", got)
		}
	}
	if got := kinds(100, "a", "b", "c"); len(got)+value[int](t, pool, "select count(*) from pawl.dead") < 10 {
		t.Errorf("claimed only %d in the end", got)
	}
}
