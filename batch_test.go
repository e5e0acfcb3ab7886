package pawl_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

func TestABatchInsertsItsCallbacks(t *testing.T) {
	t.Parallel()
	follower := func(n int) *pawl.JobSpec {
		return &pawl.JobSpec{Args: Note{n}, Queue: "follow", Headers: map[string]string{"a": "b"}}
	}
	const onFinish, onSuccess, onDeath = 101, 102, 103
	for _, test := range []struct {
		name                       string
		ends                       []error // of the jobs; nil completes
		completed, cancelled, dead int
		follow                     []int
	}{
		{"none", nil, 0, 0, 0, []int{onFinish, onSuccess}},
		{"all complete", []error{nil, nil, nil}, 3, 0, 0, []int{onFinish, onSuccess}},
		{"one is cancelled", []error{nil, pawl.Cancel(nil)}, 1, 1, 0, []int{onFinish}},
		{"two die", []error{pawl.Dead(errBoom), nil, pawl.Dead(errBoom)}, 1, 0, 2, []int{onFinish, onDeath}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			id, err := client.InsertBatch(t.Context(), pawl.BatchSpec{
				Jobs: notes(len(test.ends)), OnFinish: follower(onFinish), OnSuccess: follower(onSuccess),
				OnDeath: follower(onDeath),
			})
			must(t, err)
			for i, end := range test.ends {
				job := claim(t, client, 1)[0]
				if job.Batch != id {
					t.Errorf("its batch is %d, want %d", job.Batch, id)
				}
				if end == nil {
					must(t, client.Complete(t.Context(), job))
				} else {
					must(t, client.Fail(t.Context(), job, end))
				}
				if i < len(test.ends)-1 {
					others := "select count(*) from pawl.job where queue = 'follow' and args ->> 'n' <> '103'"
					if n := value[int](t, pool, others); n != 0 {
						t.Errorf("%d jobs follow before the end", n)
					}
				}
			}
			runFollowups(t, pool)
			b, err := client.GetBatch(t.Context(), id)
			must(t, err)
			if b.Total != len(test.ends) || b.Completed != test.completed || b.Cancelled != test.cancelled ||
				b.Dead != test.dead {
				t.Errorf("the counts are %+v", b)
			}
			jobs, err := client.Claim(t.Context(), "follow", 10, time.Minute)
			must(t, err)
			got := numbers(t, jobs)
			slices.Sort(got)
			if !slices.Equal(got, test.follow) {
				t.Errorf("there follow %v, want %v", got, test.follow)
			}
			for _, job := range jobs {
				if job.Headers["batch"] != strconv.Itoa(int(id)) || job.Headers["a"] != "b" {
					t.Errorf("a follower's headers are %v", job.Headers)
				}
			}
		})
	}
}

// A dead job of a finished batch is retried. It counts as live again, and no callback is inserted a second time.
func TestABatchsJobIsRetried(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	id, err := client.InsertBatch(t.Context(), pawl.BatchSpec{Jobs: notes(1),
		OnFinish: &pawl.JobSpec{Args: Note{9}, Queue: "follow"}})
	must(t, err)
	job := claim(t, client, 1)[0]
	must(t, client.Fail(t.Context(), job, pawl.Dead(errBoom)))
	wantCount(t, 1)(client.Retry(t.Context(), job.ID))
	if b, _ := client.GetBatch(t.Context(), id); b.Dead != 0 {
		t.Errorf("after the retry: %+v", b)
	}
	must(t, client.Complete(t.Context(), claim(t, client, 1)))
	if b, _ := client.GetBatch(t.Context(), id); b.Dead != 0 || b.Completed != 1 {
		t.Errorf("in the end: %+v", b)
	}
	if n := value[int](t, pool, "select count(*) from pawl.job where queue = 'follow'"); n != 1 {
		t.Errorf("%d jobs follow, want 1", n)
	}
	if _, err := client.GetBatch(t.Context(), 1e9); !errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("an unknown batch: %v", err)
	}
}

// A duplicate belongs to no batch: a batch has the jobs that were inserted. A batch of duplicates alone is finished
// at once.
func TestABatchOfDuplicates(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	unique := func(n int, key string) pawl.JobSpec {
		return pawl.JobSpec{Args: Note{n}, Unique: pawl.Unique{Key: key}}
	}
	insert(t, client, unique(1, "taken"))
	some, err := client.InsertBatch(t.Context(),
		pawl.BatchSpec{Jobs: []pawl.JobSpec{unique(2, "taken"), unique(3, "free"), {Args: Note{4}}}})
	must(t, err)
	if b, err := client.GetBatch(t.Context(), some); err != nil || b.Total != 2 {
		t.Errorf("a batch of three with one duplicate: %+v, %v", b, err)
	}
	all, err := client.InsertBatch(t.Context(), pawl.BatchSpec{Jobs: []pawl.JobSpec{unique(5, "taken")},
		OnFinish: &pawl.JobSpec{Args: Note{6}, Queue: "follow"}})
	must(t, err)
	if b, err := client.GetBatch(t.Context(), all); err != nil || b.Total != 0 {
		t.Errorf("a batch of one duplicate: %+v, %v", b, err)
	}
	if n := value[int](t, pool, "select count(*) from pawl.job where queue = 'follow'"); n != 1 {
		t.Errorf("%d jobs follow, want 1", n)
	}
}

// A large batch, run by two runners, with a callback that runs once.
func TestABatchRuns(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	var mu sync.Mutex
	ran := map[int]int{}
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error {
		mu.Lock()
		defer mu.Unlock()
		ran[job.Args.N]++
		return nil
	})
	id, err := client.InsertBatch(t.Context(), pawl.BatchSpec{Jobs: notes(500),
		OnSuccess: &pawl.JobSpec{Args: Note{1000}}})
	must(t, err)
	for range 2 {
		start(t, client, mux, pawl.RunnerConfig{})
	}
	pgtest.Wait(t, "the callback", func() bool { mu.Lock(); defer mu.Unlock(); return ran[1000] > 0 })
	pgtest.Wait(t, "all jobs", func() bool { return liveRows(t, pool) == 0 })
	b, err := client.GetBatch(t.Context(), id)
	must(t, err)
	if b.Completed != 500 || len(ran) != 501 || ran[1000] != 1 {
		t.Errorf("%+v; %d kinds of jobs ran, the callback %d times", b, len(ran), ran[1000])
	}
}

func TestASagaUndoesItsSteps(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		dies int // step, from 1; 0: none
		want []int
	}{
		{0, []int{1, 2, 3}},
		{1, []int{1}},
		{2, []int{1, 2, -1}},
		{3, []int{1, 2, 3, -2, -1}},
	} {
		t.Run(fmt.Sprint(test.dies), func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			var mu sync.Mutex
			var ran []int
			mux := new(pawl.Mux)
			pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error {
				mu.Lock()
				defer mu.Unlock()
				ran = append(ran, job.Args.N)
				if job.Args.N == test.dies {
					return pawl.Dead(errBoom)
				}
				return nil
			})
			step := func(n int) pawl.JobSpec {
				return pawl.JobSpec{Args: Note{n}, Undo: &pawl.JobSpec{Args: Note{-n}}}
			}
			id, err := client.InsertSaga(t.Context(), step(1), step(2), step(3))
			must(t, err)
			start(t, client, mux, pawl.RunnerConfig{})
			pgtest.Wait(t, "all jobs", func() bool {
				b, err := client.GetBatch(t.Context(), id)
				return err == nil && b.Completed+b.Cancelled+b.Dead == b.Total
			})
			if liveRows(t, pool) != 0 || !slices.Equal(ran, test.want) {
				t.Errorf("ran %v, want %v; %d are live", ran, test.want, liveRows(t, pool))
			}
		})
	}
}
