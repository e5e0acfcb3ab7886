package pawl_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

func TestAJobWaitsForItsDependencies(t *testing.T) {
	t.Parallel()
	end := map[string]func(t *testing.T, client *pawl.Client, job *pawl.JobInfo){
		"completed": func(t *testing.T, client *pawl.Client, job *pawl.JobInfo) {
			must(t, client.Complete(t.Context(), job))
		},
		"cancelled": func(t *testing.T, client *pawl.Client, job *pawl.JobInfo) {
			must(t, client.Fail(t.Context(), job, pawl.Cancel(nil)))
		},
		"dead": func(t *testing.T, client *pawl.Client, job *pawl.JobInfo) {
			must(t, client.Fail(t.Context(), job, pawl.Dead(errBoom)))
		},
	}
	for _, test := range []struct {
		on, parent string
		keep       bool
		want       pawlstate.State
	}{
		{"ok", "completed", false, pawlstate.Ready}, {"ok", "cancelled", false, pawlstate.Cancelled},
		{"ok", "dead", false, pawlstate.Cancelled},
		{"ok", "dead", true, pawlstate.Waiting},
		{"any", "completed", false, pawlstate.Ready}, {"any", "cancelled", false, pawlstate.Ready},
		{"any", "dead", false, pawlstate.Ready},
		{"not_ok", "completed", false, pawlstate.Cancelled}, {"not_ok", "cancelled", false, pawlstate.Ready},
		{"not_ok", "dead", false, pawlstate.Ready},
	} {
		for _, late := range []bool{false, true} { // The child is inserted when the parent has ended.
			t.Run(fmt.Sprintf("%s %s keep=%t late=%t", test.on, test.parent, test.keep, late), func(t *testing.T) {
				t.Parallel()
				client, pool := install(t)
				parent := insert(t, client, Note{0})
				spec := pawl.JobSpec{Args: Note{1}, KeepWaiting: test.keep}
				switch test.on {
				case "ok":
					spec.AfterOK = []pawl.ID{parent}
				case "any":
					spec.AfterAny = []pawl.ID{parent}
				case "not_ok":
					spec.AfterNotOK = []pawl.ID{parent}
				}
				var child, grandchild pawl.ID
				follow := func() {
					child = insert(t, client, spec)
					grandchild = insert(t, client, pawl.JobSpec{Args: Note{2}, AfterOK: []pawl.ID{child}})
				}
				if !late {
					follow()
					await(t, client, child, pawlstate.Waiting)
				}
				job := claim(t, client, 1)[0]
				end[test.parent](t, client, job)
				if late {
					follow()
				}
				runFollowups(t, pool)
				runFollowups(t, pool) // What the first cancelled.
				await(t, client, child, test.want)
				want := pawlstate.Waiting
				if test.want == pawlstate.Cancelled {
					want = pawlstate.Cancelled
				}
				await(t, client, grandchild, want)
				if test.keep {
					wantCount(t, 1)(client.Retry(t.Context(), parent))
					must(t, client.Complete(t.Context(), claim(t, client, 1)))
					runFollowups(t, pool)
					await(t, client, child, pawlstate.Ready)
				}
			})
		}
	}
}

// The dependencies form a diamond: the last job waits for both jobs in the middle.
func TestAGraphRuns(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	tx := begin(t, pool)
	in := client.With(tx)
	top := insert(t, in, Note{1})
	left := insert(t, in, pawl.JobSpec{Args: Note{2}, AfterOK: []pawl.ID{top}})
	right := insert(t, in, pawl.JobSpec{Args: Note{3}, AfterOK: []pawl.ID{top}})
	insert(t, in, pawl.JobSpec{Args: Note{4}, AfterOK: []pawl.ID{left, right}})
	commit(t, tx)
	var mu sync.Mutex
	var ran []int
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error {
		mu.Lock()
		defer mu.Unlock()
		ran = append(ran, job.Args.N)
		return nil
	})
	start(t, client, mux, pawl.RunnerConfig{})
	pgtest.Wait(t, "all jobs", func() bool { return liveRows(t, pool) == 0 })
	if len(ran) != 4 || ran[0] != 1 || ran[3] != 4 {
		t.Errorf("they ran as %v", ran)
	}
}

// Without runners, Wait does maintenance: an expired reservation at the head of a channel makes room for the next job.
func TestWaitDoesMaintenanceWithoutRunners(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	spec := ordered("c", 0)
	spec.Reserve, spec.Unique.Key = time.Minute, "k"
	insert(t, client, spec)
	insert(t, client, ordered("c", 1))
	exec(t, pool, `update pawl.blocked set expires_at = clock_timestamp() - interval '1 second'
		where expires_at is not null`)
	must(t, client.Wait(t.Context(), "default"))
	if got := numbers(t, claimAll(t, client)); !slices.Equal(got, []int{1}) {
		t.Errorf("claimed %v, want the one behind the reservation that expired", got)
	}
	if n := value[int](t, pool, "select count(*) from pawl.unique_key"); n != 0 {
		t.Errorf("its unique key is still taken")
	}
}

func TestConstraintsReportsWhatAJobWaitsFor(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	want := func(id pawl.ID, want pawl.Constraints) {
		t.Helper()
		got, err := client.Constraints(t.Context(), id)
		must(t, err)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateApproxTime(time.Minute)); diff != "" {
			t.Errorf("constraints of job %d (-want +got):\n%s", id, diff)
		}
	}
	first := insert(t, client, pawl.JobSpec{Args: Note{1}, Channel: "c", Ordered: true})
	second := insert(t, client, pawl.JobSpec{Args: Note{2}, Channel: "c", Ordered: true})
	follower := insert(t, client, pawl.JobSpec{Args: Note{3}, AfterOK: []pawl.ID{first, second},
		AfterAny: []pawl.ID{second}, AfterNotOK: []pawl.ID{second}, KeepWaiting: true})
	reserved := insert(t, client, pawl.JobSpec{Args: Note{4}, Reserve: time.Hour})
	want(first, pawl.Constraints{Followers: []pawl.ID{follower}})
	want(second, pawl.Constraints{Head: first, Followers: []pawl.ID{follower}})
	want(follower, pawl.Constraints{AfterOK: []pawl.ID{first, second}, AfterAny: []pawl.ID{second},
		AfterNotOK: []pawl.ID{second}})
	want(reserved, pawl.Constraints{ReservedUntil: time.Now().Add(time.Hour)})
	want(insert(t, client, pawl.JobSpec{Args: Note{5}, Delay: time.Hour}), pawl.Constraints{})
	want(1<<40, pawl.Constraints{})

	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "default", HaltOnDead: true}))
	must(t, client.Fail(t.Context(), claim(t, client, 1), pawl.Dead(nil)))
	pgtest.Wait(t, "the channel to be halted", func() bool {
		constraints, err := client.Constraints(t.Context(), second)
		return err == nil && constraints.Halted
	})
	want(first, pawl.Constraints{})
}

// A job depends on a cancelled job that is retried at that moment. The job does not stay blocked, and verify finds no
// violation meanwhile.
func TestAJobAfterOneThatIsRetried(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	parent := insert(t, client, Note{1})
	wantCount(t, 1)(client.Cancel(t.Context(), parent))
	tx := begin(t, pool)
	child, err := client.With(tx).Insert(t.Context(), pawl.JobSpec{Args: Note{2}, AfterNotOK: []pawl.ID{parent}})
	must(t, err)
	var retrying sync.WaitGroup
	retrying.Go(func() { _, err = client.Retry(t.Context(), parent) })
	awaitBlocked(t, pool, 1)
	commit(t, tx)
	retrying.Wait()
	must(t, err)
	if n := value[int](t, pool, "select count(*) from pawl.verify() where jobs > 0"); n > 0 {
		t.Errorf("%d findings", n)
	}
	runFollowups(t, pool)
	await(t, client, child.ID, pawlstate.Ready)
}

// Followups of a finished job run even if the process that finished it is gone: they are rows.
func TestMaintenanceRunsFollowups(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	insert(t, client, ordered("c", 0))
	insert(t, client, ordered("c", 1))
	tx := begin(t, pool)
	must(t, client.With(tx).Complete(t.Context(), claim(t, client, 1)))
	commit(t, tx)
	ctx, stop := context.WithCancel(t.Context())
	var maintenance sync.WaitGroup
	maintenance.Go(func() { client.Maintain(ctx) })
	pgtest.Wait(t, "the next", func() bool { return len(claimAll(t, client)) == 1 })
	stop()
	maintenance.Wait()
}
