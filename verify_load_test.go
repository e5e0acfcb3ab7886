package pawl_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// While jobs move between all the tables, Verify finds nothing.
func TestVerifyFindsNothingUnderLoad(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	if err := client.PutQueue(t.Context(), pawl.Queue{Name: "limited", MaxRunning: 3}); err != nil {
		t.Fatal(err)
	}
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		switch {
		case job.Attempt == 1 && job.Args.N%7 == 0:
			return pawl.RetryAfter(5*time.Millisecond, errors.New("once more"))
		case job.Args.N%11 == 0:
			return pawl.Dead(errors.New("no"))
		}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	defer load.Wait()
	defer cancel()
	load.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			specs := []pawl.JobSpec{
				{Args: Note{n}}, {Args: Note{n}, Delay: 3 * time.Millisecond}, {Args: Note{n}, Queue: "limited"},
				ordered(fmt.Sprint(n%3), n), {Args: Note{n}, Unique: pawl.Unique{Key: fmt.Sprint(n % 5)}},
				{Args: Note{n}, Reserve: time.Hour},
			}
			results, err := client.InsertMany(ctx, specs)
			if err != nil {
				break
			}
			client.Insert(ctx, pawl.JobSpec{Args: Note{n}, AfterOK: []pawl.ID{results[0].ID, results[3].ID}})
			client.InsertBatch(ctx, pawl.BatchSpec{Jobs: notes(3), OnFinish: &pawl.JobSpec{Args: Note{n}}})
			if n%2 == 0 {
				client.CommitReserved(ctx, results[5].ID)
			} else {
				client.AbortReserved(ctx, results[5].ID)
			}
			client.Cancel(ctx, results[1].ID)
			client.Retry(ctx, pawl.Filter{States: []pawlstate.State{pawlstate.Dead}, Limit: 2})
		}
		if ctx.Err() == nil {
			t.Error("the load ended too early")
		}
	})
	load.Go(func() { // A consumer that loses some of its leases.
		for ctx.Err() == nil {
			jobs, err := client.Claim(ctx, "default", 5, 20*time.Millisecond)
			if err != nil {
				break
			}
			for i, job := range jobs {
				if i%2 == 0 {
					client.Complete(ctx, job)
				}
			}
		}
	})
	for range 2 {
		stop := start(t, client, mux, pawl.RunnerConfig{Heartbeat: time.Second})
		defer stop()
	}
	pgtest.Wait(t, "the load to begin", func() bool {
		return value[bool](t, pool, "select exists (select from pawl.archive)")
	})
	for range 25 {
		found, err := client.Verify(t.Context())
		if err != nil || len(found) > 0 {
			t.Fatalf("found %+v, %v", found, err)
		}
	}
	if got, err := client.Repair(t.Context()); err != nil || len(got) > 0 {
		t.Errorf("repair found %+v, %v", got, err)
	}
}

// Tickets vanish while workers and Repair run: each job still runs exactly once.
func TestRepairUnderLoadRunsEachJobOnce(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	const jobs = 1500
	var mu sync.Mutex
	counts := map[int]int{}
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		mu.Lock()
		defer mu.Unlock()
		counts[job.Args.N]++
		return nil
	})
	specs := notes(jobs)
	for i := range specs {
		switch i % 3 {
		case 1:
			specs[i].Channel, specs[i].Ordered = fmt.Sprint(i%20), true
		case 2:
			specs[i].Delay = time.Duration(i) * time.Millisecond
		}
	}
	if _, err := client.InsertMany(t.Context(), specs); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var sabotage sync.WaitGroup
	defer sabotage.Wait()
	sabotaged := 0
	sabotage.Go(func() {
		for n := 0; ctx.Err() == nil && n < 200; n++ {
			for _, table := range []string{"ready", "scheduled", "blocked"} {
				tag, err := pool.Exec(ctx, fmt.Sprintf(`delete from pawl.%[1]s where ctid = any (array(
					select ctid from pawl.%[1]s order by random() limit 2 for update skip locked))`, table))
				if err == nil {
					sabotaged += int(tag.RowsAffected())
				}
			}
		}
	})
	stop := start(t, client, mux, pawl.RunnerConfig{Max: 4, Min: 1})
	pgtest.Wait(t, "all jobs to end", func() bool {
		if _, err := client.Repair(t.Context()); err != nil {
			t.Fatal(err)
		}
		return value[int](t, pool, "select count(*) from pawl.job") == 0
	})
	if err := stop(); err != nil {
		t.Error(err)
	}
	cancel()
	sabotage.Wait()
	if sabotaged < 20 {
		t.Errorf("only %d tickets were deleted", sabotaged)
	}
	for n := range jobs {
		if counts[n] != 1 {
			t.Errorf("note %d ran %d times", n, counts[n])
		}
	}
}
