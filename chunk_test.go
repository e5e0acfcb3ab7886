package pawl_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

func TestEachJobOfAChunkHasItsOwnResult(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	jobs := notes(50)
	jobs[7].Args = pawl.Raw("note", []byte(`"no object"`))
	results, err := client.InsertMany(t.Context(), jobs)
	must(t, err)
	var mu sync.Mutex
	var sizes []int
	mux := new(pawl.Mux)
	pawl.HandleChunk(mux, func(_ context.Context, chunk []*pawl.Job[Note]) error {
		mu.Lock()
		sizes = append(sizes, len(chunk))
		mu.Unlock()
		failed := pawl.JobErrors{}
		for _, job := range chunk {
			switch job.Args.N {
			case 3:
				failed[job.ID] = pawl.Dead(errBoom)
			case 4:
				failed[job.ID] = pawl.Cancel(nil)
			case 5:
				if job.Attempt == 1 {
					failed[job.ID] = pawl.RetryAfter(0, errBoom)
				}
			}
		}
		if len(failed) > 0 {
			return failed
		}
		return nil
	}, pawl.KindOptions{Chunk: 20})
	start(t, client, mux, pawl.RunnerConfig{Min: 50, Max: 100})
	pgtest.Wait(t, "all jobs", func() bool { return liveRows(t, pool) == 0 })
	for i, r := range results {
		want := pawlstate.Completed
		switch i {
		case 3, 7:
			want = pawlstate.Dead
		case 4:
			want = pawlstate.Cancelled
		}
		await(t, client, r.ID, want)
	}
	total := 0
	for _, n := range sizes {
		if total += n; n > 20 {
			t.Errorf("a chunk has %d jobs, want at most 20", n)
		}
	}
	if total != 50 || len(sizes) > 10 {
		t.Errorf("the chunks have %v jobs; want few chunks and 50 jobs: 49 that decode, and one again", sizes)
	}
}

func TestAnErrorOfAChunkFailsEachJob(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(ctx context.Context) error{
		"an error":  func(context.Context) error { return errBoom },
		"a panic":   func(context.Context) error { panic("boom") },
		"a timeout": func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, _ := install(t)
			jobs := notes(3)
			for i := range jobs {
				jobs[i].MaxAttempts = 1
			}
			results, err := client.InsertMany(t.Context(), jobs)
			must(t, err)
			mux := new(pawl.Mux)
			handle := func(ctx context.Context, _ []*pawl.Job[Note]) error { return do(ctx) }
			pawl.HandleChunk(mux, handle, pawl.KindOptions{Timeout: 50 * time.Millisecond})
			start(t, client, mux, pawl.RunnerConfig{})
			for _, r := range results {
				if job := await(t, client, r.ID, pawlstate.Dead); len(job.Errors) != 1 {
					t.Errorf("the job has the errors %v, want one", job.Errors)
				}
			}
		})
	}
}

func TestAChunkIsCancelledWithItsLastJob(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	results, err := client.InsertMany(t.Context(), notes(3))
	must(t, err)
	running, cause := make(chan int, 10), make(chan error, 10)
	mux := new(pawl.Mux)
	pawl.HandleChunk(mux, func(ctx context.Context, chunk []*pawl.Job[Note]) error {
		running <- len(chunk)
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return nil
	})
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: 200 * time.Millisecond})
	for n := 0; n < len(results); {
		n += receive(t, "the chunks", running)
	}
	for _, r := range results {
		wantCount(t, 1)(client.Cancel(t.Context(), r.ID))
	}
	if err := receive(t, "the cause", cause); !errors.Is(err, pawl.ErrCancelled) {
		t.Errorf("the cause is %v, want ErrCancelled", err)
	}
	for _, r := range results {
		await(t, client, r.ID, pawlstate.Cancelled)
	}
}
