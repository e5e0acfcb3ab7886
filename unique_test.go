package pawl_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// A duplicate replaces the fields of a job of its own kind as they are given.
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

// A batch has the same results as its jobs inserted one after the other.
func TestDuplicatesWithinABatch(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	unique := func(n int, delay time.Duration) pawl.JobSpec {
		return pawl.JobSpec{Args: Note{n}, Delay: delay, Unique: pawl.Unique{Key: "k", Replace: true, Reschedule: true}}
	}
	results, err := client.InsertMany(t.Context(),
		[]pawl.JobSpec{unique(1, time.Minute), unique(2, 10*time.Hour), {Args: Note{9}}, unique(3, 5*time.Hour)})
	must(t, err)
	job, err := client.Get(t.Context(), results[0].ID)
	must(t, err)
	if results[0].Duplicate || !results[1].Duplicate || results[2].Duplicate || !results[3].Duplicate ||
		results[3].ID != job.ID {
		t.Errorf("the results are %+v", results)
	}
	if due := job.RunAt.Sub(job.CreatedAt).Round(time.Hour); string(job.Args) != `{"n": 3}` || due != 5*time.Hour {
		t.Errorf("the job has args %s and is due after %v, want those of the last, 5 h", job.Args, due)
	}
}

// An open transaction that has met a taken key does not keep the job, or others, from starting and finishing.
func TestADuplicateBlocksNoJob(t *testing.T) {
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

// A job that releases its key at its start waits for an uncommitted duplicate. Its handler must see what the
// duplicate's transaction wrote. Other jobs start.
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

// A duplicate of a job that is being claimed becomes a new job: the starting job does not see what the transaction
// wrote.
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
			awaitBlocked(t, pool, 1)
			commit(t, tx)
			inserting.Wait()
			must(t, err)
			if result.Duplicate || result.ID == id {
				t.Errorf("%+v, want a new job", result)
			}
		})
	}
}

// Many duplicates are inserted while runners start and finish their jobs. The last write of each writer is not lost.
func TestDebounceKeepsTheLastArgsOfEachWriter(t *testing.T) {
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

func TestUnique(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	key := func(n int, u pawl.Unique) pawl.JobSpec {
		u.Key = "k"
		return pawl.JobSpec{Args: Note{n}, Unique: u}
	}
	add := func(spec pawl.JobSpec) pawl.InsertResult {
		t.Helper()
		r, err := client.Insert(t.Context(), spec)
		must(t, err)
		return r
	}
	first := add(key(1, pawl.Unique{}))
	if first.Duplicate {
		t.Fatal("the first is a duplicate")
	}
	if again := add(key(2, pawl.Unique{})); !again.Duplicate || again.ID != first.ID {
		t.Errorf("the second: %+v, want a duplicate of %d", again, first.ID)
	}
	if other := add(pawl.JobSpec{Args: Note{3}, Queue: "other", Unique: pawl.Unique{Key: "k"}}); other.Duplicate {
		t.Error("in another queue the key is taken")
	}
	if global := add(pawl.JobSpec{Args: Note{3}, Queue: "other",
		Unique: pawl.Unique{Key: "k", Global: true}}); global.Duplicate {
		t.Error("a global key is taken by one of a queue")
	}
	job := claim(t, client, 1)[0]
	if job.UniqueKey != "k" {
		t.Errorf("its key is %q", job.UniqueKey)
	}
	if running := add(key(2, pawl.Unique{})); !running.Duplicate {
		t.Error("the key of a running job is free")
	}
	must(t, client.Fail(t.Context(), job, pawl.RetryAfter(0, errBoom)))
	if failed := add(key(2, pawl.Unique{})); !failed.Duplicate {
		t.Error("the key of a job that waits for its retry is free")
	}
	must(t, client.Complete(t.Context(), claim(t, client, 1)))
	second := add(key(2, pawl.Unique{}))
	if second.Duplicate || second.ID == first.ID {
		t.Errorf("after its end: %+v, want a new job", second)
	}

	// A dead job is not retried while another job has its key.
	must(t, client.Fail(t.Context(), claim(t, client, 1), pawl.Dead(errBoom)))
	third := add(key(3, pawl.Unique{}))
	wantCount(t, 0)(client.Retry(t.Context(), second.ID))
	wantCount(t, 1)(client.Cancel(t.Context(), third.ID))
	wantCount(t, 1)(client.Retry(t.Context(), second.ID))
	if again := add(key(4, pawl.Unique{})); !again.Duplicate || again.ID != second.ID {
		t.Errorf("after the retry: %+v, want a duplicate of %d", again, second.ID)
	}
	wantCount(t, 1)(client.Delete(t.Context(), second.ID))

	// Until the start.
	until := add(key(5, pawl.Unique{UntilStart: true}))
	if again := add(key(6, pawl.Unique{UntilStart: true})); !again.Duplicate || again.ID != until.ID {
		t.Errorf("before its start: %+v", again)
	}
	job = claim(t, client, 1)[0]
	if started := add(key(6, pawl.Unique{UntilStart: true})); started.Duplicate {
		t.Error("after its start the key is taken")
	}
	must(t, client.Complete(t.Context(), job))
	must(t, client.Complete(t.Context(), claim(t, client, 1)))

	// A period outlives the job.
	add(key(7, pawl.Unique{Period: time.Hour}))
	must(t, client.Complete(t.Context(), claim(t, client, 1)))
	if soon := add(key(8, pawl.Unique{Period: time.Hour})); !soon.Duplicate {
		t.Error("within the period the key is free")
	}
	exec(t, pool, "update pawl.unique_key set keep_until = keep_until - interval '1 hour' where keep_until is not null")
	if later := add(key(8, pawl.Unique{Period: time.Hour})); later.Duplicate {
		t.Error("after the period the key is taken")
	}
}

func TestUniqueDuplicatesChangeTheJob(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	spec := pawl.JobSpec{Args: Note{1}, Delay: time.Hour, Unique: pawl.Unique{Key: "k", Replace: true, Reschedule: true},
		Headers: map[string]string{"a": "1"}}
	first, err := client.Insert(t.Context(), spec)
	must(t, err)
	spec.Args, spec.Delay, spec.Headers = Note{2}, 2*time.Hour, map[string]string{"a": "2"}
	second, err := client.Insert(t.Context(), spec)
	must(t, err)
	if !second.Duplicate || second.ID != first.ID {
		t.Fatalf("%+v is no duplicate of %d", second, first.ID)
	}
	job, err := client.Get(t.Context(), first.ID)
	must(t, err)
	if string(job.Args) != `{"n": 2}` || job.Headers["a"] != "2" || job.RunAt.Sub(job.CreatedAt) < 90*time.Minute {
		t.Errorf("it has args %s, headers %v, and is due %v after its insert", job.Args, job.Headers,
			job.RunAt.Sub(job.CreatedAt))
	}
	wantCount(t, 1)(client.Retry(t.Context(), first.ID))
	running := claim(t, client, 1)
	spec.Args = Note{3}
	if _, err := client.Insert(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	must(t, client.Complete(t.Context(), running)) // It was left alone while running.
}

func TestUniqueKeysWithinABatch(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	taken, err := client.Insert(t.Context(), pawl.JobSpec{Args: Note{0}, Unique: pawl.Unique{Key: "taken"}})
	must(t, err)
	unique := func(n int, key string) pawl.JobSpec {
		return pawl.JobSpec{Args: Note{n}, Unique: pawl.Unique{Key: key}}
	}
	results, err := client.InsertMany(t.Context(),
		[]pawl.JobSpec{unique(1, "b"), unique(2, "taken"), {Args: Note{3}}, unique(4, "b"), unique(5, "a")})
	must(t, err)
	for i, want := range []bool{false, true, false, true, false} {
		if results[i].Duplicate != want {
			t.Errorf("job %d: %+v, want duplicate %t", i, results[i], want)
		}
	}
	if results[1].ID != taken.ID || results[3].ID != results[0].ID {
		t.Errorf("the duplicates are of %d and %d, want %d and %d", results[1].ID, results[3].ID, taken.ID, results[0].ID)
	}
	if got := numbers(t, claimAll(t, client)); !slices.Equal(got, []int{0, 1, 3, 5}) {
		t.Errorf("claimed %v", got)
	}
}

// Many batches insert the same keys at once, each in its own order, and some roll back. Every key has one job.
func TestUniqueRace(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	var inserting sync.WaitGroup
	for g := range 8 {
		inserting.Go(func() {
			for round := range 5 {
				var jobs []pawl.JobSpec
				for k := range 10 {
					jobs = append(jobs, pawl.JobSpec{Args: Note{k}, Unique: pawl.Unique{Key: fmt.Sprint((k*7 + g) % 10)}})
				}
				if (g+round)%3 == 0 {
					tx, err := pool.Begin(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := client.With(tx).InsertMany(t.Context(), jobs); err != nil {
						t.Error(err)
					}
					tx.Rollback(t.Context())
				} else if _, err := client.InsertMany(t.Context(), jobs); err != nil {
					t.Error(err)
				}
			}
		})
	}
	inserting.Wait()
	if n := value[int](t, pool, "select count(*) from pawl.job"); n != 10 {
		t.Errorf("%d jobs, want one a key", n)
	}
}

// A retried job takes its key with the settings of its own insert.
func TestRetryTakesItsKeyAsItsOwn(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	first, err := client.Insert(t.Context(), pawl.JobSpec{Args: Note{1}, Unique: pawl.Unique{Key: "k"}})
	must(t, err)
	must(t, client.Fail(t.Context(), claim(t, client, 1), pawl.Dead(errBoom)))
	insert(t, client, pawl.JobSpec{Args: Note{2}, Unique: pawl.Unique{Key: "k", UntilStart: true, Period: hour}})
	must(t, client.Complete(t.Context(), claim(t, client, 1)))
	exec(t, pool, "update pawl.unique_key set keep_until = keep_until - interval '1 hour'")
	wantCount(t, 1)(client.Retry(t.Context(), first.ID))
	claim(t, client, 1)
	again, err := client.Insert(t.Context(), pawl.JobSpec{Args: Note{3}, Unique: pawl.Unique{Key: "k"}})
	must(t, err)
	if !again.Duplicate {
		t.Error("the key of a running job is free")
	}
}
