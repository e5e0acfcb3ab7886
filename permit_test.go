package pawl_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

func TestAHandlerRunsOnlyWithItsPermit(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	var mu sync.Mutex
	asked, released := map[int]int{}, 0
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error {
		if job.Args.N != 0 && job.Args.N != 5 {
			t.Errorf("job %d ran without a permit", job.Args.N)
		}
		return nil
	}, pawl.KindOptions{Permit: func(_ context.Context, job *pawl.JobInfo) (func(), error) {
		var n int
		fmt.Sscanf(string(job.Args), `{"n": %d}`, &n)
		mu.Lock()
		defer mu.Unlock()
		asked[n]++
		release := func() { mu.Lock(); released++; mu.Unlock() }
		switch n {
		case 1:
			return nil, pawl.Cancel(nil)
		case 2:
			return nil, pawl.ErrSkip
		case 3:
			return nil, pawl.Dead(errBoom)
		case 4:
			panic("boom")
		case 5:
			if asked[n] < 3 {
				return nil, pawl.Snooze(time.Millisecond)
			}
		}
		return release, nil
	}})
	want := []pawlstate.State{
		pawlstate.Completed, pawlstate.Cancelled, pawlstate.Completed,
		pawlstate.Dead, pawlstate.Dead, pawlstate.Completed,
	}
	jobs := notes(len(want))
	for i := range jobs {
		jobs[i].MaxAttempts = 1
	}
	results, err := client.InsertMany(t.Context(), jobs)
	must(t, err)
	start(t, client, mux, pawl.RunnerConfig{})
	pgtest.Wait(t, "all jobs", func() bool { return liveRows(t, pool) == 0 })
	for i, r := range results {
		if job := await(t, client, r.ID, want[i]); job.Attempt != 1 {
			t.Errorf("job %d: attempt %d, want 1: waiting for a permit uses none", i, job.Attempt)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if released != 2 {
		t.Errorf("%d permits were released, want 2", released)
	}
}

// A SQL session finishes a job that was cancelled meanwhile. That gives the permit back at once, long before the
// lease expires.
func TestFinishingACancelledJobInSQLGivesItsPermitBack(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "default", MaxRunning: 1}))
	id := insert(t, client, Note{1})
	insert(t, client, Note{2})
	var epoch int32
	must(t, pool.QueryRow(t.Context(), "select epoch from pawl.claim('default', 1, '1 hour')").Scan(&epoch))
	wantCount(t, 1)(client.Cancel(t.Context(), id))
	if jobs, err := client.Claim(t.Context(), "default", 1, time.Minute); err != nil || len(jobs) > 0 {
		t.Errorf("claimed %d jobs beside one that still runs: %v", len(jobs), err)
	}
	if value[bool](t, pool, "select pawl.complete($1::bigint, $2::integer)", int64(id), epoch) {
		t.Error("a cancelled job was completed")
	}
	claim(t, client, 1)
}

// A job is released from a worker that lives. It counts against its limit until its handler has returned.
func TestAReleasedJobKeepsItsPermitUntilItsHandlerReturns(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "default", MaxRunning: 1}))
	insert(t, client, Note{1})
	mux := new(pawl.Mux)
	running, end := make(chan struct{}), make(chan struct{})
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		close(running)
		<-end
		return nil
	})
	start(t, client, mux, pawl.RunnerConfig{})
	<-running
	workers, err := client.Workers(t.Context())
	must(t, err)
	must(t, client.SuspendWorker(t.Context(), workers[0].ID))
	pgtest.Wait(t, "the worker to be suspended", func() bool {
		return value[string](t, pool, "select state from pawl.worker") == "suspended"
	})
	wantCount(t, 1)(client.ReleaseWorker(t.Context(), workers[0].ID))
	exec(t, pool, "select pawl.drop_stale_permits()")
	if jobs, err := client.Claim(t.Context(), "default", 1, time.Minute); err != nil || len(jobs) > 0 {
		t.Errorf("claimed %d jobs beside a handler that has not returned: %v", len(jobs), err)
	}
	close(end)
	pgtest.Wait(t, "the permit to be given back", func() bool {
		jobs, err := client.Claim(t.Context(), "default", 1, time.Minute)
		must(t, err)
		return len(jobs) == 1
	})
}
