package pawl_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

func ordered(channel string, n int) pawl.JobSpec {
	return pawl.JobSpec{Args: Note{n}, Channel: channel, Ordered: true}
}

// settle does what a tender does within a second.
func settle(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	exec(t, pool, "select * from pawl.run_followups(1000)")
}

// claimAll claims what there is, sweeping until a claim finds nothing.
func claimAll(t testing.TB, client *pawl.Client) pawl.Jobs {
	t.Helper()
	var all pawl.Jobs
	for {
		jobs, err := client.Claim(t.Context(), "default", 100, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if len(jobs) == 0 {
			return all
		}
		all = append(all, jobs...)
	}
}

// Many senders, some failing jobs: each channel runs one at a time and in the order of its commits, each job to its end.
func TestOrderedChannels(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	const channels, senders, each = 3, 6, 15
	var sending sync.WaitGroup
	for s := range senders {
		sending.Go(func() {
			for i := range each {
				spec := ordered(fmt.Sprint((s+i)%channels), s*100+i)
				if _, err := client.Insert(t.Context(), spec); err != nil {
					t.Error(err)
				}
			}
		})
	}
	sending.Wait()
	var (
		mu      sync.Mutex
		busy    = map[string]pawl.ID{}
		seen    = map[string][]pawl.ID{}
		failing = map[pawl.ID]int{}
	)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		mu.Lock()
		if other, ok := busy[job.Channel]; ok {
			t.Errorf("job %d of channel %s started while %d ran", job.ID, job.Channel, other)
		}
		busy[job.Channel] = job.ID
		mu.Unlock()
		defer func() {
			mu.Lock()
			delete(busy, job.Channel)
			mu.Unlock()
		}()
		mu.Lock()
		defer mu.Unlock()
		if failing[job.ID]++; failing[job.ID] == 1 && job.Args.N%5 == 0 {
			return pawl.RetryAfter(20*time.Millisecond, errBoom)
		}
		seen[job.Channel] = append(seen[job.Channel], job.ID)
		return nil
	})
	start(t, client, mux, pawl.RunnerConfig{})
	pgtest.Wait(t, "all jobs", func() bool { return live(t, pool) == 0 })
	total := 0
	for channel, ids := range seen {
		total += len(ids)
		if !slices.IsSorted(ids) {
			t.Errorf("channel %s ran %v, want the order of its commits", channel, ids)
		}
	}
	if total != senders*each {
		t.Errorf("%d jobs completed, want %d", total, senders*each)
	}
}

func TestOrderedHead(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		halt bool
		do   func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool, ids []pawl.ID, head *pawl.JobInfo)
		want []int // what can be claimed then
	}{
		{"it runs", false, func(*testing.T, *pawl.Client, *pgxpool.Pool, []pawl.ID, *pawl.JobInfo) {}, nil},
		{"it completes", false, func(t *testing.T, client *pawl.Client, _ *pgxpool.Pool, _ []pawl.ID, head *pawl.JobInfo) {
			must(t, client.Complete(t.Context(), head))
		}, []int{1}},
		{"it failed and waits to be tried again", false, func(t *testing.T, client *pawl.Client, _ *pgxpool.Pool, _ []pawl.ID, head *pawl.JobInfo) {
			must(t, client.Fail(t.Context(), head, pawl.RetryAfter(time.Hour, errBoom)))
		}, nil},
		{"it died", false, func(t *testing.T, client *pawl.Client, _ *pgxpool.Pool, _ []pawl.ID, head *pawl.JobInfo) {
			must(t, client.Fail(t.Context(), head, pawl.Dead(errBoom)))
		}, []int{1}},
		{"it died and the policy is to halt", true, func(t *testing.T, client *pawl.Client, _ *pgxpool.Pool, _ []pawl.ID, head *pawl.JobInfo) {
			must(t, client.Fail(t.Context(), head, pawl.Dead(errBoom)))
		}, nil},
		{"halted, then resumed", true, func(t *testing.T, client *pawl.Client, _ *pgxpool.Pool, _ []pawl.ID, head *pawl.JobInfo) {
			must(t, client.Fail(t.Context(), head, pawl.Dead(errBoom)))
			if channels := must2(client.Channels(t.Context(), "default")); len(channels) != 1 || channels[0].Channel != "c" || !channels[0].Halted {
				t.Errorf("of a halted channel the figures are %+v", channels)
			}
			must(t, client.ResumeChannel(t.Context(), "default", "c"))
			if err := client.ResumeChannel(t.Context(), "default", "c"); !errors.Is(err, pawl.ErrNotFound) {
				t.Errorf("resumed again: %v", err)
			}
		}, []int{1}},
		{"halted, then the dead one is retried", true, func(t *testing.T, client *pawl.Client, _ *pgxpool.Pool, ids []pawl.ID, head *pawl.JobInfo) {
			must(t, client.Fail(t.Context(), head, pawl.Dead(errBoom)))
			must1(t, 1)(client.Retry(t.Context(), ids[0]))
		}, []int{0}},
		{"it died and is retried: behind the others", false, func(t *testing.T, client *pawl.Client, _ *pgxpool.Pool, ids []pawl.ID, head *pawl.JobInfo) {
			must(t, client.Fail(t.Context(), head, pawl.Dead(errBoom)))
			must1(t, 1)(client.Retry(t.Context(), ids[0]))
		}, []int{1}},
		{"it is cancelled while it runs", false, func(t *testing.T, client *pawl.Client, _ *pgxpool.Pool, ids []pawl.ID, _ *pawl.JobInfo) {
			must1(t, 1)(client.Cancel(t.Context(), ids[0]))
		}, []int{1}},
		{"one in the middle is cancelled", false, func(t *testing.T, client *pawl.Client, _ *pgxpool.Pool, ids []pawl.ID, head *pawl.JobInfo) {
			must1(t, 1)(client.Cancel(t.Context(), ids[1]))
			must(t, client.Complete(t.Context(), head))
		}, []int{2}},
		{"those behind are deleted", false, func(t *testing.T, client *pawl.Client, _ *pgxpool.Pool, ids []pawl.ID, head *pawl.JobInfo) {
			must1(t, 2)(client.Delete(t.Context(), pawl.Filter{IDs: ids[1:]}))
			must(t, client.Complete(t.Context(), head))
		}, nil},
		{"its lease is lost", false, func(t *testing.T, _ *pawl.Client, pool *pgxpool.Pool, _ []pawl.ID, _ *pawl.JobInfo) {
			expire(t, pool)
		}, []int{0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "default", HaltOnDead: test.halt}))
			var ids []pawl.ID
			for i := range 3 {
				ids = append(ids, insert(t, client, ordered("c", i)))
			}
			plain := insert(t, client, pawl.JobSpec{Args: Note{9}, Channel: "c"}) // Unordered beside ordered.
			jobs := claimAll(t, client)
			if got := numbers(t, jobs); !slices.Equal(got, []int{0, 9}) && !slices.Equal(got, []int{9, 0}) {
				t.Fatalf("claimed %v, want the head and what is not ordered", got)
			}
			head := jobs[slices.IndexFunc(jobs, func(job *pawl.JobInfo) bool { return job.ID != plain })]
			if !head.Ordered {
				t.Error("the head does not say that it is ordered")
			}
			must(t, client.Complete(t.Context(), jobs[slices.Index(jobs, head)^1]))
			test.do(t, client, pool, ids, head)
			settle(t, pool)
			if got := numbers(t, claimAll(t, client)); !slices.Equal(got, test.want) {
				t.Errorf("claimed %v, want %v", got, test.want)
			}
		})
	}
}

// A head that waits for its next try keeps its place when it is retried; nothing else of it starts anew.
func TestRetryOfAScheduledHead(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	spec := ordered("c", 0)
	spec.Unique = pawl.Unique{Key: "k", UntilStart: true}
	head := insert(t, client, spec)
	insert(t, client, ordered("c", 1))
	must(t, client.Fail(t.Context(), claim(t, client, 1), pawl.RetryAfter(hour, errBoom)))
	other, err := client.Insert(t.Context(), pawl.JobSpec{Args: Note{2}, Delay: hour, Unique: pawl.Unique{Key: "k"}})
	must(t, err)
	if other.Duplicate {
		t.Fatal("after its start the key is taken")
	}
	must1(t, 1)(client.Retry(t.Context(), head))
	if got := numbers(t, claimAll(t, client)); !slices.Equal(got, []int{0}) {
		t.Errorf("claimed %v, want the head", got)
	}
	if n := value[int64](t, pool, "select job_id from pawl.unique_key where key = 'k'"); pawl.ID(n) != other.ID {
		t.Errorf("job %d has the key, want %d", n, other.ID)
	}
}

// A retried job has its key as it was inserted with it, not as who had the key since.
func TestRetryTakesItsKeyAsItsOwn(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	first, err := client.Insert(t.Context(), pawl.JobSpec{Args: Note{1}, Unique: pawl.Unique{Key: "k"}})
	must(t, err)
	must(t, client.Fail(t.Context(), claim(t, client, 1), pawl.Dead(errBoom)))
	insert(t, client, pawl.JobSpec{Args: Note{2}, Unique: pawl.Unique{Key: "k", UntilStart: true, Period: hour}})
	must(t, client.Complete(t.Context(), claim(t, client, 1)))
	exec(t, pool, "update pawl.unique_key set keep_until = keep_until - interval '1 hour'")
	must1(t, 1)(client.Retry(t.Context(), first.ID))
	claim(t, client, 1)
	again, err := client.Insert(t.Context(), pawl.JobSpec{Args: Note{3}, Unique: pawl.Unique{Key: "k"}})
	must(t, err)
	if !again.Duplicate {
		t.Error("the key of a running job is free")
	}
}

// A dead head is retried before its end was settled: the turn it gives up goes to the next.
func TestRetryOfAHeadWhoseEndIsNotSettled(t *testing.T) {
	t.Parallel()
	for _, locked := range []bool{false, true} {
		t.Run(fmt.Sprint(locked), func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			head := insert(t, client, ordered("c", 0))
			next := insert(t, client, ordered("c", 1))
			jobs := claim(t, client, 1)
			tx := begin(t, pool)
			must(t, client.With(tx).Fail(t.Context(), jobs, pawl.Dead(errBoom)))
			commit(t, tx)
			tx = begin(t, pool)
			if locked {
				exec(t, tx, "select from pawl.job where id = $1 for update", int64(next))
			}
			must1(t, 1)(client.Retry(t.Context(), head))
			must(t, tx.Rollback(t.Context()))
			settle(t, pool)
			if got := numbers(t, claimAll(t, client)); !slices.Equal(got, []int{1}) {
				t.Errorf("claimed %v, want the next", got)
			}
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// must1 is for verbs that say how many.
func must1(t testing.TB, want int64) func(n int64, err error) {
	return func(n int64, err error) {
		t.Helper()
		if err != nil || n != want {
			t.Fatalf("changed %d (%v), want %d", n, err, want)
		}
	}
}

// The head completes while another insert into the channel has not committed: whichever comes last, the next has its turn.
func TestAnOrderedInsertWhileTheHeadEnds(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	insert(t, client, ordered("c", 0))
	head := claim(t, client, 1)
	tx := begin(t, pool)
	if _, err := client.With(tx).Insert(t.Context(), ordered("c", 1)); err != nil {
		t.Fatal(err)
	}
	must(t, client.Complete(t.Context(), head))
	settle(t, pool)
	if n := value[int](t, pool, "select count(*) from pawl.followup"); n != 1 {
		t.Errorf("%d ends are left to be settled, want 1: the channel is locked", n)
	}
	commit(t, tx)
	settle(t, pool)
	if got := numbers(t, claimAll(t, client)); !slices.Equal(got, []int{1}) {
		t.Errorf("claimed %v, want the next", got)
	}
}

// The end of a job is settled though the process that ended it is gone: it is a row.
func TestATenderSettles(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	insert(t, client, ordered("c", 0))
	insert(t, client, ordered("c", 1))
	tx := begin(t, pool)
	must(t, client.With(tx).Complete(t.Context(), claim(t, client, 1)))
	commit(t, tx)
	ctx, stop := context.WithCancel(t.Context())
	var tending sync.WaitGroup
	tending.Go(func() { client.Maintain(ctx) })
	pgtest.Wait(t, "the next", func() bool { return len(claimAll(t, client)) == 1 })
	stop()
	tending.Wait()
}

func TestOrderedWithPriority(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	var invalid *pawl.InvalidError
	_, err := client.Insert(t.Context(), pawl.JobSpec{Args: Note{1}, Ordered: true, Priority: 1})
	if !errors.As(err, &invalid) || invalid.Field != "Priority" {
		t.Errorf("got %v, want an *InvalidError of Priority", err)
	}
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
	if global := add(pawl.JobSpec{Args: Note{3}, Queue: "other", Unique: pawl.Unique{Key: "k", Global: true}}); global.Duplicate {
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

	// A dead job whose key another has meanwhile is not brought back.
	must(t, client.Fail(t.Context(), claim(t, client, 1), pawl.Dead(errBoom)))
	third := add(key(3, pawl.Unique{}))
	must1(t, 0)(client.Retry(t.Context(), second.ID))
	must1(t, 1)(client.Cancel(t.Context(), third.ID))
	must1(t, 1)(client.Retry(t.Context(), second.ID))
	if again := add(key(4, pawl.Unique{})); !again.Duplicate || again.ID != second.ID {
		t.Errorf("after the retry: %+v, want a duplicate of %d", again, second.ID)
	}
	must1(t, 1)(client.Delete(t.Context(), second.ID))

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
	spec := pawl.JobSpec{Args: Note{1}, Delay: time.Hour, Unique: pawl.Unique{Key: "k", Replace: true, Reschedule: true}, Headers: map[string]string{"a": "1"}}
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
		t.Errorf("it has args %s, headers %v, and is due %v after its insert", job.Args, job.Headers, job.RunAt.Sub(job.CreatedAt))
	}
	must1(t, 1)(client.Retry(t.Context(), first.ID))
	running := claim(t, client, 1)
	spec.Args = Note{3}
	if _, err := client.Insert(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	must(t, client.Complete(t.Context(), running)) // It was left alone while running.
}

func TestUniqueInABatch(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	taken, err := client.Insert(t.Context(), pawl.JobSpec{Args: Note{0}, Unique: pawl.Unique{Key: "taken"}})
	must(t, err)
	unique := func(n int, key string) pawl.JobSpec {
		return pawl.JobSpec{Args: Note{n}, Unique: pawl.Unique{Key: key}}
	}
	results, err := client.InsertMany(t.Context(), []pawl.JobSpec{unique(1, "b"), unique(2, "taken"), {Args: Note{3}}, unique(4, "b"), unique(5, "a")})
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

// Many insert the same keys at once, in batches of their own order; some roll back. Every key has one job.
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

func TestTwoPhase(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	reserve := func(n int) pawl.ID {
		return insert(t, client, pawl.JobSpec{Args: Note{n}, Reserve: time.Minute})
	}
	a, b, c, d := reserve(1), reserve(2), reserve(3), reserve(4)
	await(t, client, a, pawlstate.Reserved)
	if jobs := claimAll(t, client); len(jobs) != 0 {
		t.Fatalf("claimed %v, which are reserved", numbers(t, jobs))
	}
	must(t, client.CommitReserved(t.Context(), a))
	if err := client.CommitReserved(t.Context(), a); !errors.Is(err, pawl.ErrExpired) {
		t.Errorf("committed twice: %v", err)
	}
	must(t, client.AbortReserved(t.Context(), b))
	if _, err := client.Get(t.Context(), b); !errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("after the abort: %v", err)
	}
	must(t, client.ExtendReserved(t.Context(), time.Hour, c))
	exec(t, pool, "update pawl.blocked set expires_at = expires_at - interval '30 minutes'")
	if err := client.CommitReserved(t.Context(), c, d); !errors.Is(err, pawl.ErrExpired) {
		t.Errorf("one of them had expired: %v", err)
	}
	exec(t, pool, "select pawl.expire(10)")
	if _, err := client.Get(t.Context(), d); !errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("after its time: %v", err)
	}
	must(t, client.CommitReserved(t.Context(), c))
	if got := numbers(t, claimAll(t, client)); !slices.Equal(got, []int{1, 3}) {
		t.Errorf("claimed %v", got)
	}
}

// A reserved head keeps its place, and its channel waits for it.
func TestTwoPhaseInAnOrderedChannel(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	spec := ordered("c", 0)
	spec.Reserve = time.Minute
	head := insert(t, client, spec)
	insert(t, client, ordered("c", 1))
	if jobs := claimAll(t, client); len(jobs) != 0 {
		t.Fatalf("claimed %v behind a reserved head", numbers(t, jobs))
	}
	must(t, client.CommitReserved(t.Context(), head))
	jobs := claimAll(t, client)
	if got := numbers(t, jobs); !slices.Equal(got, []int{0}) {
		t.Fatalf("claimed %v", got)
	}
	must(t, client.Complete(t.Context(), jobs))
	settle(t, pool)
	if got := numbers(t, claimAll(t, client)); !slices.Equal(got, []int{1}) {
		t.Errorf("claimed %v", got)
	}
}

// A commit wakes a runner that sleeps.
func TestCommitWakes(t *testing.T) {
	t.Parallel()
	client, pool := install(t, listens)
	g, mux := newGate(), new(pawl.Mux)
	pawl.Handle(mux, g.handle)
	id := insert(t, client, pawl.JobSpec{Args: Note{1}, Reserve: time.Minute})
	start(t, client, mux, pawl.RunnerConfig{PollInterval: time.Hour, Queues: map[string]pawl.RunnerQueue{"default": {}}})
	asleep(t, pool, 1)
	must(t, client.CommitReserved(t.Context(), id))
	within(t, "the committed job", g.running)
	close(g.leave)
	await(t, client, id, pawlstate.Completed)
}

func TestAfter(t *testing.T) {
	t.Parallel()
	end := map[string]func(t *testing.T, client *pawl.Client, job *pawl.JobInfo){
		"completed": func(t *testing.T, client *pawl.Client, job *pawl.JobInfo) { must(t, client.Complete(t.Context(), job)) },
		"cancelled": func(t *testing.T, client *pawl.Client, job *pawl.JobInfo) {
			must(t, client.Fail(t.Context(), job, pawl.Cancel(nil)))
		},
		"dead": func(t *testing.T, client *pawl.Client, job *pawl.JobInfo) {
			must(t, client.Fail(t.Context(), job, pawl.Dead(errBoom)))
		},
	}
	for _, test := range []struct {
		on, parent string
		hold       bool
		want       pawlstate.State
	}{
		{"ok", "completed", false, pawlstate.Ready}, {"ok", "cancelled", false, pawlstate.Cancelled}, {"ok", "dead", false, pawlstate.Cancelled},
		{"ok", "dead", true, pawlstate.Waiting},
		{"any", "completed", false, pawlstate.Ready}, {"any", "cancelled", false, pawlstate.Ready}, {"any", "dead", false, pawlstate.Ready},
		{"not_ok", "completed", false, pawlstate.Cancelled}, {"not_ok", "cancelled", false, pawlstate.Ready}, {"not_ok", "dead", false, pawlstate.Ready},
	} {
		for _, late := range []bool{false, true} { // The child is inserted when the parent has ended.
			t.Run(fmt.Sprintf("%s %s hold=%t late=%t", test.on, test.parent, test.hold, late), func(t *testing.T) {
				t.Parallel()
				client, pool := install(t)
				parent := insert(t, client, Note{0})
				spec := pawl.JobSpec{Args: Note{1}, KeepWaiting: test.hold}
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
				settle(t, pool)
				settle(t, pool) // What the first cancelled.
				await(t, client, child, test.want)
				want := pawlstate.Waiting
				if test.want == pawlstate.Cancelled {
					want = pawlstate.Cancelled
				}
				await(t, client, grandchild, want)
				if test.hold {
					must1(t, 1)(client.Retry(t.Context(), parent))
					must(t, client.Complete(t.Context(), claim(t, client, 1)))
					settle(t, pool)
					await(t, client, child, pawlstate.Ready)
				}
			})
		}
	}
}

// A diamond, run: the last waits for both.
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
	pgtest.Wait(t, "all jobs", func() bool { return live(t, pool) == 0 })
	if len(ran) != 4 || ran[0] != 1 || ran[3] != 4 {
		t.Errorf("they ran as %v", ran)
	}
}

// Where consumers alone work, Wait does what a tender would: an expired reservation at the head of a channel lets the next have its turn.
func TestConsumersAlone(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	spec := ordered("c", 0)
	spec.Reserve, spec.Unique.Key = time.Minute, "k"
	insert(t, client, spec)
	insert(t, client, ordered("c", 1))
	exec(t, pool, "update pawl.blocked set expires_at = clock_timestamp() - interval '1 second' where expires_at is not null")
	must(t, client.Wait(t.Context(), "default"))
	if got := numbers(t, claimAll(t, client)); !slices.Equal(got, []int{1}) {
		t.Errorf("claimed %v, want the one behind the reservation that expired", got)
	}
	if n := value[int](t, pool, "select count(*) from pawl.unique_key"); n != 0 {
		t.Errorf("its key is still held")
	}
}

func TestTies(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	want := func(id pawl.ID, want pawl.Constraints) {
		t.Helper()
		got, err := client.Constraints(t.Context(), id)
		must(t, err)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateApproxTime(time.Minute)); diff != "" {
			t.Errorf("ties of job %d (-want +got):\n%s", id, diff)
		}
	}
	first := insert(t, client, pawl.JobSpec{Args: Note{1}, Channel: "c", Ordered: true})
	second := insert(t, client, pawl.JobSpec{Args: Note{2}, Channel: "c", Ordered: true})
	follower := insert(t, client, pawl.JobSpec{Args: Note{3}, AfterOK: []pawl.ID{first, second}, AfterAny: []pawl.ID{second}, AfterNotOK: []pawl.ID{second}, KeepWaiting: true})
	reserved := insert(t, client, pawl.JobSpec{Args: Note{4}, Reserve: time.Hour})
	want(first, pawl.Constraints{Followers: []pawl.ID{follower}})
	want(second, pawl.Constraints{Head: first, Followers: []pawl.ID{follower}})
	want(follower, pawl.Constraints{AfterOK: []pawl.ID{first, second}, AfterAny: []pawl.ID{second}, AfterNotOK: []pawl.ID{second}})
	want(reserved, pawl.Constraints{ReservedUntil: time.Now().Add(time.Hour)})
	want(insert(t, client, pawl.JobSpec{Args: Note{5}, Delay: time.Hour}), pawl.Constraints{})
	want(1<<40, pawl.Constraints{})

	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "default", HaltOnDead: true}))
	must(t, client.Fail(t.Context(), claim(t, client, 1), pawl.Dead(nil)))
	pgtest.Wait(t, "the channel to be halted", func() bool {
		ties, err := client.Constraints(t.Context(), second)
		return err == nil && ties.Halted
	})
	want(first, pawl.Constraints{})
}

// An ordered job that dies while it is retried was running then, and is left as it is: the retry has not got its channel, into which
// others insert meanwhile.
func TestRetryOfAnOrderedJobThatDies(t *testing.T) {
	t.Parallel()
	for _, constrained := range []bool{true, false} {
		t.Run(fmt.Sprint(constrained), func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			spec := pawl.JobSpec{Args: Note{0}}
			if constrained {
				spec = ordered("c", 0)
			}
			id := insert(t, client, spec)
			jobs := claim(t, client, 1)
			tx := begin(t, pool)
			must(t, client.With(tx).Fail(t.Context(), jobs, pawl.Dead(errBoom)))
			var retrying sync.WaitGroup
			var n int64
			var err error
			retrying.Go(func() { n, err = client.Retry(t.Context(), id) })
			blocked(t, pool, 1)
			commit(t, tx)
			retrying.Wait()
			must(t, err)
			if want := map[bool]int64{true: 0, false: 1}[constrained]; n != want {
				t.Errorf("%d retried, want %d", n, want)
			}
			must1(t, 1-n)(client.Retry(t.Context(), id))
		})
	}
}

// Who waits for a cancelled job that is retried at that moment is settled, and no orphan meanwhile.
func TestAJobAfterOneThatIsRetried(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	parent := insert(t, client, Note{1})
	must1(t, 1)(client.Cancel(t.Context(), parent))
	tx := begin(t, pool)
	child, err := client.With(tx).Insert(t.Context(), pawl.JobSpec{Args: Note{2}, AfterNotOK: []pawl.ID{parent}})
	must(t, err)
	var retrying sync.WaitGroup
	retrying.Go(func() { _, err = client.Retry(t.Context(), parent) })
	blocked(t, pool, 1)
	commit(t, tx)
	retrying.Wait()
	must(t, err)
	if n := value[int](t, pool, "select count(*) from pawl.verify() where jobs > 0"); n > 0 {
		t.Errorf("%d findings", n)
	}
	settle(t, pool)
	await(t, client, child.ID, pawlstate.Ready)
}

// Of several jobs finished at once some are, and for one nobody can say it: which is told.
func TestCompleteOfManyOfWhichOneIsLocked(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	for n := range 3 {
		insert(t, client, Note{n})
	}
	jobs := claim(t, client, 3)
	tx := begin(t, pool)
	exec(t, tx, "select from pawl.job where id = $1 for update", int64(jobs[1].ID))
	ctx, cancel := context.WithCancel(t.Context())
	var completing sync.WaitGroup
	var err error
	completing.Go(func() { err = client.Complete(ctx, jobs) })
	blocked(t, pool, 1)
	cancel()
	completing.Wait()
	several, ok := errors.AsType[pawl.JobErrors](err)
	if !ok || len(several) != 1 || !errors.Is(several[jobs[1].ID], context.Canceled) {
		t.Errorf("got %v, want an error of job %d alone", err, jobs[1].ID)
	}
	await(t, client, jobs[0].ID, pawlstate.Completed)
	await(t, client, jobs[2].ID, pawlstate.Completed)
	must(t, tx.Rollback(t.Context()))
	must(t, client.Complete(t.Context(), jobs[1:2]))
}

// A retried job that others of its channel wait for is not put behind them: neither would ever run.
func TestRetryOfAnOrderedJobOthersWaitFor(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		busy bool // The next has its turn already.
		want []int
	}{{"the next waits for it", false, []int{0, 1, 2}}, {"the next is at work", true, []int{2, 0, 1}}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			head := insert(t, client, ordered("c", 0))
			must(t, client.Fail(t.Context(), claim(t, client, 1), pawl.Dead(errBoom)))
			settle(t, pool)
			child := ordered("c", 1)
			child.AfterOK, child.KeepWaiting = []pawl.ID{head}, true
			if test.busy {
				insert(t, client, ordered("c", 2))
				insert(t, client, child)
			} else {
				insert(t, client, child)
				insert(t, client, ordered("c", 2))
			}
			must1(t, 1)(client.Retry(t.Context(), head))
			var got []int
			for range 3 {
				if n := value[int](t, pool, "select count(*) from pawl.verify() where jobs > 0"); n > 0 {
					t.Errorf("%d findings", n)
				}
				jobs := claimAll(t, client)
				got = append(got, numbers(t, jobs)...)
				must(t, client.Complete(t.Context(), jobs))
				settle(t, pool)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("they ran in the order %v, want %v", got, test.want)
			}
		})
	}
}
