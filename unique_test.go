package pawl_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// What a duplicate gives is given as it is, to a job of its own kind.
func TestWhatADuplicateReplaces(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	unique := func(kind, args string) pawl.JobSpec {
		return pawl.JobSpec{Args: pawl.Raw(kind, []byte(args)), Unique: pawl.Unique{Key: "k", Replace: true}}
	}
	id := insert(t, client, unique("a", `{"n": 1}`))
	for _, test := range []struct{ kind, args, want string }{
		{"a", `{"n": null, "list": [{"deep": null}]}`, `{"n": null, "list": [{"deep": null}]}`},
		{"b", `{"other": 1}`, `{"n": null, "list": [{"deep": null}]}`},
		{"a", `null`, ``},
		{"a", `{"n": 2}`, `{"n": 2}`},
	} {
		result, err := client.Insert(t.Context(), unique(test.kind, test.args))
		must(t, err)
		job, err := client.Get(t.Context(), id)
		must(t, err)
		if !result.Duplicate || result.ID != id || job.Kind != "a" || string(job.Args) != test.want {
			t.Errorf("%s %s: %+v, and the job is %s %s, want %s", test.kind, test.args, result, job.Kind, job.Args, test.want)
		}
	}
}

// A batch says the same as its jobs one after the other.
func TestDuplicatesWithinABatch(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	unique := func(n int, delay time.Duration) pawl.JobSpec {
		return pawl.JobSpec{Args: Note{n}, Delay: delay, Unique: pawl.Unique{Key: "k", Replace: true, Reschedule: true}}
	}
	results, err := client.InsertMany(t.Context(), []pawl.JobSpec{unique(1, time.Minute), unique(2, 10*time.Hour), {Args: Note{9}}, unique(3, 5*time.Hour)})
	must(t, err)
	job, err := client.Get(t.Context(), results[0].ID)
	must(t, err)
	if results[0].Duplicate || !results[1].Duplicate || results[2].Duplicate || !results[3].Duplicate || results[3].ID != job.ID {
		t.Errorf("the results are %+v", results)
	}
	if due := job.RunAt.Sub(job.CreatedAt).Round(time.Hour); string(job.Args) != `{"n": 3}` || due != 5*time.Hour {
		t.Errorf("the job has args %s and is due after %v, want those of the last, 5 h", job.Args, due)
	}
}

// A transaction that has met a taken key, and is still open, keeps nobody from starting and finishing the job, nor those beside it.
func TestADuplicateHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	unique := pawl.JobSpec{Args: Note{1}, Unique: pawl.Unique{Key: "k"}}
	id := insert(t, client, unique)
	insert(t, client, Note{2})
	tx := begin(t, pool)
	result, err := client.With(tx).Insert(t.Context(), unique)
	must(t, err)
	if !result.Duplicate || result.ID != id {
		t.Fatalf("%+v is no duplicate of %d", result, id)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	jobs := claim(t, client, 2)
	must(t, client.Complete(ctx, jobs))
	commit(t, tx)
}

// A job that gives its key up when it starts does not start before what a duplicate stands for is there to be seen; others do.
func TestADuplicateKeepsItsJobFromStarting(t *testing.T) {
	t.Parallel()
	for _, replace := range []bool{false, true} {
		t.Run(fmt.Sprint("replace=", replace), func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			unique := pawl.JobSpec{Args: Note{1}, Unique: pawl.Unique{Key: "k", UntilStart: true, Replace: replace}}
			id := insert(t, client, unique)
			insert(t, client, Note{2})
			tx := begin(t, pool)
			result, err := client.With(tx).Insert(t.Context(), unique)
			must(t, err)
			if !result.Duplicate || result.ID != id {
				t.Fatalf("%+v is no duplicate of %d", result, id)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			jobs, err := client.Claim(ctx, "default", 10, time.Minute)
			must(t, err)
			if len(jobs) != 1 || jobs[0].ID == id {
				t.Fatalf("claimed %d jobs, want the other alone", len(jobs))
			}
			commit(t, tx)
			if jobs := claimAll(t, client); len(jobs) != 1 || jobs[0].ID != id {
				t.Errorf("claimed %d jobs after the commit", len(jobs))
			}
		})
	}
}

// A duplicate that meets its job being claimed is a new job: the one that starts does not see what it stands for.
func TestADuplicateOfAJobThatStarts(t *testing.T) {
	t.Parallel()
	for _, unique := range []pawl.Unique{{Key: "k", UntilStart: true}, {Key: "k", UntilStart: true, Replace: true}} {
		t.Run(fmt.Sprint("replace=", unique.Replace), func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			id := insert(t, client, pawl.JobSpec{Args: Note{1}, Unique: unique})
			tx := begin(t, pool)
			jobs, err := client.With(tx).Claim(t.Context(), "default", 1, time.Minute)
			must(t, err)
			if len(jobs) != 1 {
				t.Fatalf("claimed %d jobs", len(jobs))
			}
			var inserting sync.WaitGroup
			var result pawl.InsertResult
			inserting.Go(func() { result, err = client.Insert(t.Context(), pawl.JobSpec{Args: Note{2}, Unique: unique}) })
			blocked(t, pool, 1)
			commit(t, tx)
			inserting.Wait()
			must(t, err)
			if result.Duplicate || result.ID == id {
				t.Errorf("%+v, want a new job", result)
			}
		})
	}
}

// One InsertMany that takes several statements, and so locks in no order, survives a deadlock.
func TestManyOrderedJobsSurviveADeadlock(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	jobs := make([]pawl.JobSpec, 5001)
	for i := range jobs {
		jobs[i] = ordered("a", i)
	}
	jobs[5000].Channel = "b"
	tx := begin(t, pool)
	exec(t, tx, "set local deadlock_timeout = '1 min'")
	_, err := client.With(tx).Insert(t.Context(), ordered("b", 0))
	must(t, err)
	var inserting sync.WaitGroup
	var results []pawl.InsertResult
	inserting.Go(func() { results, err = client.InsertMany(t.Context(), jobs) })
	blocked(t, pool, 1)
	_, other := client.With(tx).Insert(t.Context(), ordered("a", 0))
	must(t, other)
	commit(t, tx)
	inserting.Wait()
	must(t, err)
	if n := value[int](t, pool, "select count(*) from pawl.job"); len(results) != 5001 || n != 5003 {
		t.Errorf("%d results, %d jobs", len(results), n)
	}
}

// Many duplicates at once, with runners that start and finish their jobs meanwhile: the last word of each writer is not lost.
func TestDebounceUnderWay(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	mux := new(pawl.Mux)
	var mu sync.Mutex
	seen := map[int]int{}
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		mu.Lock()
		defer mu.Unlock()
		seen[job.Args.N]++
		return nil
	})
	start(t, client, mux, pawl.RunnerConfig{})
	const writers, each = 4, 50
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				_, err := client.Insert(t.Context(), pawl.JobSpec{
					Args: Note{w*each + i}, Unique: pawl.Unique{Key: fmt.Sprint("k", w), UntilStart: true, Replace: true},
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	writing.Wait()
	pgtest.Wait(t, "the last of each writer to be run", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for w := range writers {
			if seen[w*each+each-1] == 0 {
				return false
			}
		}
		return true
	})
}
