package pawl_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// Whoever finishes a job tells those that await it, and nobody where nobody does.
func TestAwaitIsTold(t *testing.T) {
	t.Parallel()
	client, pool := install(t, listens)
	first, other, last := insert(t, client, Note{1}), insert(t, client, Note{2}), insert(t, client, Note{3})
	ear, err := pgx.Connect(t.Context(), pgtest.Direct(t, pool.Config().ConnString()))
	must(t, err)
	defer ear.Close(t.Context())
	exec(t, ear, `listen barrier; listen """pawl"".finished"`)
	told := func() (payloads []string) {
		exec(t, pool, "notify barrier")
		for {
			n, err := ear.WaitForNotification(t.Context())
			must(t, err)
			if n.Channel == "barrier" {
				return payloads
			}
			payloads = append(payloads, n.Payload)
		}
	}
	finish := map[pawl.ID]func(pawl.ID) error{
		first: func(id pawl.ID) error { _, err := client.Cancel(t.Context(), id); return err },
		last: func(id pawl.ID) error {
			jobs, err := client.Claim(t.Context(), "default", 1, time.Minute)
			if err == nil {
				err = client.Complete(t.Context(), jobs)
			}
			return err
		},
	}
	locks := func() int {
		return value[int](t, pool, `select count(*) from pg_locks where locktype = 'advisory'
			and database = (select oid from pg_database where datname = current_database())`)
	}
	_, err = client.Cancel(t.Context(), other)
	must(t, err)
	if got := told(); len(got) > 0 {
		t.Errorf("nobody awaits, and %q are told", got)
	}
	for _, id := range []pawl.ID{first, last} {
		returned := make(chan error, 1)
		go func() {
			job, err := client.Await(t.Context(), id)
			if err == nil && job.ID != id {
				err = fmt.Errorf("job %d", job.ID)
			}
			returned <- err
		}()
		pgtest.Wait(t, "the locks of who awaits", func() bool { return locks() == 2 })
		must(t, finish[id](id))
		if got := told(); !slices.Equal(got, []string{fmt.Sprint(id)}) {
			t.Errorf("told %q, want %d", got, id)
		}
		must(t, <-returned)
		pgtest.Wait(t, "no locks", func() bool { return locks() == 0 })
	}
}

func TestResultAndAwait(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	type sum struct{ Total int }
	mux := new(pawl.Mux)
	pawl.HandleResult(mux, func(_ context.Context, job *pawl.Job[Note]) (sum, error) {
		switch job.Args.N {
		case 13:
			return sum{}, pawl.Dead(errBoom)
		case 14:
			return sum{14}, pawl.ErrSkip
		}
		return sum{job.Args.N * 2}, nil
	})
	pawl.HandleResult(mux, func(context.Context, *pawl.Job[pawl.RawArgs]) (chan int, error) { return make(chan int), nil }, pawl.KindOptions{Kind: "bad"})
	start(t, client, mux, pawl.RunnerConfig{})
	for n, want := range map[int]string{4: `{"Total": 8}`, 13: "", 14: `{"Total": 14}`} {
		job, err := client.Await(t.Context(), insert(t, client, Note{n}))
		must(t, err)
		if string(job.Result) != want || (job.State == pawlstate.Dead) != (n == 13) {
			t.Errorf("%d: %s with the result %s, want %s", n, job.State, job.Result, want)
		}
	}
	job, err := client.Await(t.Context(), insert(t, client, pawl.JobSpec{Args: pawl.Raw("bad", nil), MaxAttempts: 1}))
	must(t, err)
	if job.State != pawlstate.Dead {
		t.Errorf("with a result that does not marshal the job is %s", job.State)
	}
	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "gone", RetainCompleted: -1, RetainCancelled: -1, RetainDead: -1}))
	if _, err := client.Await(t.Context(), insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "gone"})); !errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("of a job that is not kept: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Await(ctx, insert(t, client, pawl.JobSpec{Args: Note{1}, Delay: time.Hour})); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	if _, err := client.With(pool).Await(t.Context(), 1); err == nil {
		t.Error("Await in a transaction returned nil")
	}
}

func TestChunks(t *testing.T) {
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
	pgtest.Wait(t, "all jobs", func() bool { return live(t, pool) == 0 })
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
			t.Errorf("a chunk of %d, want at most 20", n)
		}
	}
	if total != 50 || len(sizes) > 10 {
		t.Errorf("chunks of %v, want few and 50 in all: 49 that decode, and one again", sizes)
	}
}

func TestChunkFails(t *testing.T) {
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
			pawl.HandleChunk(mux, func(ctx context.Context, _ []*pawl.Job[Note]) error { return do(ctx) }, pawl.KindOptions{Timeout: 50 * time.Millisecond})
			start(t, client, mux, pawl.RunnerConfig{})
			for _, r := range results {
				if job := await(t, client, r.ID, pawlstate.Dead); len(job.Errors) != 1 {
					t.Errorf("it has the errors %v", job.Errors)
				}
			}
		})
	}
}

// When every job of a chunk is cancelled, its handler's context ends.
func TestAChunkIsCancelled(t *testing.T) {
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
		n += within(t, "the chunks", running)
	}
	for _, r := range results {
		must1(t, 1)(client.Cancel(t.Context(), r.ID))
	}
	if err := within(t, "the cause", cause); !errors.Is(err, pawl.ErrCancelled) {
		t.Errorf("the cause is %v, want ErrCancelled", err)
	}
	for _, r := range results {
		await(t, client, r.ID, pawlstate.Cancelled)
	}
}

func TestPermit(t *testing.T) {
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
	want := []pawlstate.State{pawlstate.Completed, pawlstate.Cancelled, pawlstate.Completed, pawlstate.Dead, pawlstate.Dead, pawlstate.Completed}
	jobs := notes(len(want))
	for i := range jobs {
		jobs[i].MaxAttempts = 1
	}
	results, err := client.InsertMany(t.Context(), jobs)
	must(t, err)
	start(t, client, mux, pawl.RunnerConfig{})
	pgtest.Wait(t, "all jobs", func() bool { return live(t, pool) == 0 })
	for i, r := range results {
		if job := await(t, client, r.ID, want[i]); job.Attempt != 1 {
			t.Errorf("job %d: attempt %d, want 1: congestion uses none", i, job.Attempt)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if released != 2 {
		t.Errorf("%d permits were released, want 2", released)
	}
}

func TestCheckpointsAndSteps(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	did := map[string]int{}
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		charge, err := pawl.Step(ctx, "charge", func(context.Context) (string, error) {
			did["charge"]++
			return "paid €1", nil
		})
		if err != nil || charge != "paid €1" {
			t.Errorf("attempt %d: charge is %q (%v)", job.Attempt, charge, err)
		}
		if _, err := pawl.Step(ctx, "send", func(context.Context) (int, error) {
			if did["send"]++; did["send"] == 1 {
				return 0, errBoom
			}
			return did["send"], nil
		}); err != nil {
			must(t, job.Progress(ctx, 50, "half"))
			must(t, client.Checkpoint(ctx, job, pawl.Checkpoint{Args: Note{7}, Data: []byte("d"), Value: map[string]int{"at": 1}, Attempts: 2}))
			return pawl.RetryAfter(0, err)
		}
		if job.Args.N != 7 || string(job.Data) != "d" || string(job.Checkpoint) != `{"at": 1}` || job.MaxAttempts != 3 || job.Percent != 50 || job.Message != "half" {
			t.Errorf("the next attempt has %+v, checkpoint %s, data %s, %d attempts, %d %% %s", job.Args, job.Checkpoint, job.Data, job.MaxAttempts, job.Percent, job.Message)
		}
		for _, name := range []string{"a\x00b", "\xff"} { // It would be done again each time: refused before it is done.
			if _, err := pawl.Step(ctx, name, func(context.Context) (int, error) { did["unnamed"]++; return 1, nil }); err == nil || did["unnamed"] > 0 {
				t.Errorf("a step named %q: %v, done %d times", name, err, did["unnamed"])
			}
		}
		must(t, client.Checkpoint(ctx, job, pawl.Checkpoint{Args: pawl.Raw("note", []byte("null")), Data: []byte{}, Value: json.RawMessage("null")}))
		return nil
	})
	id := insert(t, client, pawl.JobSpec{Args: Note{1}, MaxAttempts: 1})
	start(t, client, mux, pawl.RunnerConfig{})
	job := await(t, client, id, pawlstate.Completed)
	if did["charge"] != 1 || did["send"] != 2 || job.Attempt != 2 {
		t.Errorf("steps done: %v in %d attempts", did, job.Attempt)
	}
	if job.Args != nil || job.Data != nil {
		t.Errorf("cleared, it has args %s and data %q", job.Args, job.Data)
	}

	if _, err := pawl.Step(t.Context(), "x", func(context.Context) (int, error) { return 1, nil }); err == nil {
		t.Error("Step outside of a handler returned nil")
	}
}

func TestACheckpointIsFenced(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	id := insert(t, client, Note{1})
	held := claim(t, client, 1)[0]
	tx := begin(t, pool)
	must(t, client.With(tx).Checkpoint(t.Context(), held, pawl.Checkpoint{Value: 1}))
	must(t, tx.Rollback(t.Context()))
	if job, _ := client.Get(t.Context(), id); job.Checkpoint != nil {
		t.Errorf("rolled back, it has the checkpoint %s", job.Checkpoint)
	}
	for _, wrong := range []pawl.Checkpoint{{Attempts: -1}, {Attempts: 40_000}, {Extend: -time.Second}} {
		if err := client.Checkpoint(t.Context(), held, wrong); err == nil || !strings.Contains(err.Error(), "want 0 to") && !strings.Contains(err.Error(), "negative") {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
	expire(t, pool)
	if err := client.Checkpoint(t.Context(), held, pawl.Checkpoint{Value: 1}); !errors.Is(err, pawl.ErrLeaseLost) {
		t.Errorf("after the lease: %v, want ErrLeaseLost", err)
	}
}

// JobInfo.Result is everybody's to write, and only HandleResult's is kept: what is no JSON must not keep a job from being completed.
func TestAHandlerWritesNonsenseIntoResult(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error {
		job.Result = json.RawMessage("no JSON")
		return nil
	})
	id := insert(t, client, Note{1})
	start(t, client, mux, pawl.RunnerConfig{})
	if job := await(t, client, id, pawlstate.Completed); job.Result != nil {
		t.Errorf("its result is %s", job.Result)
	}
}
