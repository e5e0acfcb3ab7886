package pawl_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// Three workers never run more jobs at once than the limits of the queue and its channels allow, and they run all.
func TestMaxRunningIsNeverExceeded(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "default", MaxRunning: 5, ChannelMaxRunning: 2}))
	jobs := notes(120)
	for i := range jobs {
		jobs[i].Channel = fmt.Sprint(i % 4)
		jobs[i].Priority = i % 3
	}
	if _, err := client.InsertMany(t.Context(), jobs); err != nil {
		t.Fatal(err)
	}
	var running, most, done atomic.Int64
	var perChannel [4]atomic.Int64
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		n := running.Add(1)
		defer running.Add(-1)
		for {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		if n > 5 {
			t.Errorf("%d run at once, want at most 5", n)
		}
		channel := &perChannel[job.Args.N%4]
		if n := channel.Add(1); n > 2 {
			t.Errorf("%d of a channel run at once, want at most 2", n)
		}
		defer channel.Add(-1)
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
		}
		if done.Add(1)%10 == 0 && job.Attempt == 1 {
			return pawl.RetryAfter(0, errBoom)
		}
		return nil
	})
	for range 3 {
		start(t, client, mux, pawl.RunnerConfig{})
	}
	pgtest.Wait(t, "all jobs", func() bool { return liveRows(t, pool) == 0 })
	if most.Load() < 3 {
		t.Errorf("at most %d ran at once; the limit is 5", most.Load())
	}
	pgtest.Wait(t, "all permits to be back", func() bool {
		return value[int](t, pool, "select count(*) from pawl.permit") == 0
	})
}

// Two concurrent claims of a limited queue get no more jobs than the limit together. The other jobs can still be
// claimed.
func TestMaxRunningRace(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "default", MaxRunning: 7}))
	if _, err := client.InsertMany(t.Context(), notes(50)); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var claimed pawl.Jobs
	var claiming sync.WaitGroup
	for range 6 {
		claiming.Go(func() {
			for range 10 {
				jobs, err := client.Claim(t.Context(), "default", 3, time.Minute)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				claimed = append(claimed, jobs...)
				mu.Unlock()
			}
		})
	}
	claiming.Wait()
	if len(claimed) != 7 {
		t.Fatalf("%d are claimed, want 7", len(claimed))
	}
	must(t, client.Complete(t.Context(), claimed[:3]))
	must(t, client.Release(t.Context(), claimed[3:4], 0))
	if got := len(claimAll(t, client)); got != 4 {
		t.Errorf("claimed %d more, want 4: as many as were given back", got)
	}

	// In the caller's transaction the permit comes back with its commit.
	tx := begin(t, pool)
	must(t, client.With(tx).Complete(t.Context(), claimed[4]))
	if got := len(claimAll(t, client)); got != 0 {
		t.Errorf("claimed %d before the commit", got)
	}
	commit(t, tx)
	if got := len(claimAll(t, client)); got != 1 {
		t.Errorf("claimed %d after the commit, want 1", got)
	}

	// A worker that does not come back loses the permit with the lease.
	exec(t, pool, "update pawl.lease set expires_at = clock_timestamp() - interval '1 second'")
	exec(t, pool, "select * from pawl.rescue(100, true, true)")
	exec(t, pool, "select pawl.drop_stale_permits()")
	if got := len(claimAll(t, client)); got == 0 || got > 7 {
		t.Errorf("claimed %d after the leases were lost, want up to 7", got)
	}
}

// A job cancelled while it runs keeps its permit until its handler has ended.
func TestCancelledJobKeepsItsPermit(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "default", MaxRunning: 1}))
	first, second := insert(t, client, Note{1}), insert(t, client, Note{2})
	running, leave := make(chan pawl.ID, 10), make(chan struct{})
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error {
		running <- job.ID
		if job.ID == first {
			<-leave // It does not look at its context.
		}
		return nil
	})
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: 200 * time.Millisecond})
	receive(t, "the first", running)
	wantCount(t, 1)(client.Cancel(t.Context(), first))
	exec(t, pool, "select pawl.drop_stale_permits()")
	await(t, client, second, pawlstate.Ready)
	if n := value[int](t, pool, "select count(*) from pawl.permit"); n != 1 {
		t.Errorf("%d permits, want that of the handler at work", n)
	}
	close(leave)
	await(t, client, second, pawlstate.Completed)
}

// Extend of a part of a claim gives it a lease of its own, and the permits move to that lease.
func TestExtendTakesPermitsAlong(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "default", MaxRunning: 2}))
	if _, err := client.InsertMany(t.Context(), notes(3)); err != nil {
		t.Fatal(err)
	}
	claimed := claim(t, client, 2)
	release, err := client.Semaphore(1, func(*pawl.JobInfo) []string { return []string{"k"} })(t.Context(), claimed[1])
	must(t, err)
	must(t, client.Extend(t.Context(), claimed[1], hour))
	exec(t, pool, "delete from pawl.lease where $1 = any (jobs)", int64(claimed[0].ID)) // The other job's worker is gone.
	exec(t, pool, "select pawl.drop_stale_permits()")
	if n := value[int](t, pool, "select count(*) from pawl.permit where job_id = $1", int64(claimed[1].ID)); n != 2 {
		t.Errorf("%d permits, want the queue's and that of the key", n)
	}
	release()
	must(t, client.Complete(t.Context(), claimed[1]))
	if n := value[int](t, pool, "select count(*) from pawl.permit"); n != 0 {
		t.Errorf("%d permits are left", n)
	}
	wantCount(t, 1)(client.Delete(t.Context(), claimed[0].ID))
}

func TestClaimsObeyTheRate(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "default", Rate: pawl.Rate{N: 10, Per: time.Hour, Burst: 4},
		ChannelRate: pawl.Rate{N: 1, Per: time.Hour, Burst: 3}}))
	jobs := notes(20)
	for i := range jobs {
		jobs[i].Channel = fmt.Sprint(i % 2)
	}
	if _, err := client.InsertMany(t.Context(), jobs); err != nil {
		t.Fatal(err)
	}
	count := func() (n [2]int) {
		for _, job := range claimAll(t, client) {
			n[job.Channel[0]-'0']++
		}
		return n
	}
	if got := count(); got[0]+got[1] != 4 || got[0] > 3 || got[1] > 3 {
		t.Fatalf("claimed %v by channel, want the burst of 4, at most 3 of one", got)
	}
	refill := func(d string) { exec(t, pool, "update pawl.bucket set at = at - $1::interval", d) }
	refill("6 minutes")
	if got := count(); got[0]+got[1] != 1 {
		t.Errorf("after 6 minutes claimed %v, want 1", got)
	}
	refill("10 hours") // The queue's burst again; the channels' too.
	if got := count(); got[0]+got[1] != 4 {
		t.Errorf("after hours claimed %v, want the burst", got)
	}
}

// A runner at its rate limit waits without a busy loop and claims again when there are tokens.
func TestRunnersObeyTheRate(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "default", Rate: pawl.Rate{N: 20, Per: time.Second, Burst: 1}}))
	if _, err := client.InsertMany(t.Context(), notes(11)); err != nil {
		t.Fatal(err)
	}
	mux := new(pawl.Mux)
	var starts []time.Time
	var mu sync.Mutex
	pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error {
		mu.Lock()
		defer mu.Unlock()
		starts = append(starts, time.Now())
		return nil
	})
	start(t, client, mux, pawl.RunnerConfig{})
	pgtest.Wait(t, "all jobs", func() bool { return liveRows(t, pool) == 0 })
	if took := starts[10].Sub(starts[0]); took < 450*time.Millisecond {
		t.Errorf("eleven starts in %v, at 20 a second with a burst of 1", took)
	}
}

// returnTickets gives claimed jobs without a lease their tickets back, so that the check at the end finds no
// violations.
func returnTickets(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	exec(t, pool, "insert into pawl.ready (pos, job_id, epoch, priority, queue, channel) select coalesce(pos, id), id, "+
		"epoch, priority, queue, channel from pawl.job")
}

func TestChannelsShareByTheirWeights(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "default", Weights: map[string]int{"big": 3}}))
	jobs := notes(200)
	for i := range jobs {
		jobs[i].Channel = []string{"big", "small"}[i%2]
	}
	if _, err := client.InsertMany(t.Context(), jobs); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	first, err := client.Claim(t.Context(), "default", 40, time.Minute)
	must(t, err)
	for _, job := range first {
		got[job.Channel]++
	}
	if got["big"] != 30 || got["small"] != 10 {
		t.Errorf("a claim of 40 took %v, want three to one", got)
	}
}

// An extended part of a claim keeps its permits until its jobs finish.
func TestExtendedPartKeepsItsPermit(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "default", MaxRunning: 2}))
	if _, err := client.InsertMany(t.Context(), notes(5)); err != nil {
		t.Fatal(err)
	}
	claimed := claim(t, client, 2)
	must(t, client.Extend(t.Context(), claimed[:1], time.Hour))
	must(t, client.Complete(t.Context(), claimed[1]))
	exec(t, pool, "select pawl.drop_stale_permits()")
	more := claimAll(t, client)
	if len(more) != 1 {
		t.Errorf("claimed %d beside the one that runs, want 1", len(more))
	}
	must(t, client.Complete(t.Context(), claimed[0]))
	if got := claimAll(t, client); len(got) != 1 {
		t.Errorf("claimed %d after its end, want 1", len(got))
	}
}
