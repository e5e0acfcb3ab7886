package pawl_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// Many processes insert and some jobs fail. Each channel runs one job at a time, in the order of the commits, and
// each job until it is finished.
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
	pgtest.Wait(t, "all jobs", func() bool { return liveRows(t, pool) == 0 })
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

func TestTheNextOrderedJobStartsWhenItsHeadEnds(t *testing.T) {
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
		{"it failed and waits to be tried again", false,
			func(t *testing.T, client *pawl.Client, _ *pgxpool.Pool, _ []pawl.ID, head *pawl.JobInfo) {
				must(t, client.Fail(t.Context(), head, pawl.RetryAfter(time.Hour, errBoom)))
			}, nil},
		{"it died", false, func(t *testing.T, client *pawl.Client, _ *pgxpool.Pool, _ []pawl.ID, head *pawl.JobInfo) {
			must(t, client.Fail(t.Context(), head, pawl.Dead(errBoom)))
		}, []int{1}},
		{"it died and the policy is to halt", true,
			func(t *testing.T, client *pawl.Client, _ *pgxpool.Pool, _ []pawl.ID, head *pawl.JobInfo) {
				must(t, client.Fail(t.Context(), head, pawl.Dead(errBoom)))
			}, nil},
		{"halted, then resumed", true, func(t *testing.T, client *pawl.Client, _ *pgxpool.Pool, _ []pawl.ID,
			head *pawl.JobInfo) {
			must(t, client.Fail(t.Context(), head, pawl.Dead(errBoom)))
			if channels := mustValue(client.Channels(t.Context(), "default")); len(channels) != 1 ||
				channels[0].Channel != "c" || !channels[0].Halted {
				t.Errorf("of a halted channel the figures are %+v", channels)
			}
			must(t, client.ResumeChannel(t.Context(), "default", "c"))
			if err := client.ResumeChannel(t.Context(), "default", "c"); !errors.Is(err, pawl.ErrNotFound) {
				t.Errorf("resumed again: %v", err)
			}
		}, []int{1}},
		{"halted, then the dead one is retried", true,
			func(t *testing.T, client *pawl.Client, _ *pgxpool.Pool, ids []pawl.ID, head *pawl.JobInfo) {
				must(t, client.Fail(t.Context(), head, pawl.Dead(errBoom)))
				wantCount(t, 1)(client.Retry(t.Context(), ids[0]))
			}, []int{0}},
		{"it died and is retried: behind the others", false,
			func(t *testing.T, client *pawl.Client, _ *pgxpool.Pool, ids []pawl.ID, head *pawl.JobInfo) {
				must(t, client.Fail(t.Context(), head, pawl.Dead(errBoom)))
				wantCount(t, 1)(client.Retry(t.Context(), ids[0]))
			}, []int{1}},
		{"it is cancelled while it runs", false, func(t *testing.T, client *pawl.Client, _ *pgxpool.Pool, ids []pawl.ID,
			_ *pawl.JobInfo) {
			wantCount(t, 1)(client.Cancel(t.Context(), ids[0]))
		}, []int{1}},
		{"one in the middle is cancelled", false, func(t *testing.T, client *pawl.Client, _ *pgxpool.Pool, ids []pawl.ID,
			head *pawl.JobInfo) {
			wantCount(t, 1)(client.Cancel(t.Context(), ids[1]))
			must(t, client.Complete(t.Context(), head))
		}, []int{2}},
		{"those behind are deleted", false, func(t *testing.T, client *pawl.Client, _ *pgxpool.Pool, ids []pawl.ID,
			head *pawl.JobInfo) {
			wantCount(t, 2)(client.Delete(t.Context(), pawl.Filter{IDs: ids[1:]}))
			must(t, client.Complete(t.Context(), head))
		}, nil},
		{"its lease is lost", false, func(t *testing.T, _ *pawl.Client, pool *pgxpool.Pool, _ []pawl.ID, _ *pawl.JobInfo) {
			expireLeases(t, pool)
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
			runFollowups(t, pool)
			if got := numbers(t, claimAll(t, client)); !slices.Equal(got, test.want) {
				t.Errorf("claimed %v, want %v", got, test.want)
			}
		})
	}
}

// A head that waits for its next attempt keeps its place when it is retried.
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
	wantCount(t, 1)(client.Retry(t.Context(), head))
	if got := numbers(t, claimAll(t, client)); !slices.Equal(got, []int{0}) {
		t.Errorf("claimed %v, want the head", got)
	}
	if n := value[int64](t, pool, "select job_id from pawl.unique_key where key = 'k'"); pawl.ID(n) != other.ID {
		t.Errorf("job %d has the key, want %d", n, other.ID)
	}
}

// A dead head is retried before its followups have run: the next job becomes the head.
func TestRetryOfAHeadBeforeItsFollowups(t *testing.T) {
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
			wantCount(t, 1)(client.Retry(t.Context(), head))
			must(t, tx.Rollback(t.Context()))
			runFollowups(t, pool)
			if got := numbers(t, claimAll(t, client)); !slices.Equal(got, []int{1}) {
				t.Errorf("claimed %v, want the next", got)
			}
		})
	}
}

// The head completes while another insert into the channel is uncommitted. Whichever commits last, the next job
// starts.
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
	runFollowups(t, pool)
	if n := value[int](t, pool, "select count(*) from pawl.followup"); n != 1 {
		t.Errorf("%d followups are left, want 1: the channel is locked", n)
	}
	commit(t, tx)
	runFollowups(t, pool)
	if got := numbers(t, claimAll(t, client)); !slices.Equal(got, []int{1}) {
		t.Errorf("claimed %v, want the next", got)
	}
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

// An ordered job dies while Retry waits for it. Retry saw it running and leaves it alone: it does not hold the lock
// of the channel, into which other jobs are inserted.
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
			awaitBlocked(t, pool, 1)
			commit(t, tx)
			retrying.Wait()
			must(t, err)
			if want := map[bool]int64{true: 0, false: 1}[constrained]; n != want {
				t.Errorf("%d retried, want %d", n, want)
			}
			wantCount(t, 1-n)(client.Retry(t.Context(), id))
		})
	}
}

// A retried job is not placed behind jobs of its channel that depend on it: otherwise neither would run.
func TestRetryOfAnOrderedJobOthersWaitFor(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		busy bool // The next job has started.
		want []int
	}{{"the next waits for it", false, []int{0, 1, 2}}, {"the next is at work", true, []int{2, 0, 1}}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			head := insert(t, client, ordered("c", 0))
			must(t, client.Fail(t.Context(), claim(t, client, 1), pawl.Dead(errBoom)))
			runFollowups(t, pool)
			child := ordered("c", 1)
			child.AfterOK, child.KeepWaiting = []pawl.ID{head}, true
			if test.busy {
				insert(t, client, ordered("c", 2))
				insert(t, client, child)
			} else {
				insert(t, client, child)
				insert(t, client, ordered("c", 2))
			}
			wantCount(t, 1)(client.Retry(t.Context(), head))
			var got []int
			for range 3 {
				if n := value[int](t, pool, "select count(*) from pawl.verify() where jobs > 0"); n > 0 {
					t.Errorf("%d findings", n)
				}
				jobs := claimAll(t, client)
				got = append(got, numbers(t, jobs)...)
				must(t, client.Complete(t.Context(), jobs))
				runFollowups(t, pool)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("they ran in the order %v, want %v", got, test.want)
			}
		})
	}
}

// An InsertMany of several statements takes its locks in no fixed order. It survives a deadlock.
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
	awaitBlocked(t, pool, 1)
	_, other := client.With(tx).Insert(t.Context(), ordered("a", 0))
	must(t, other)
	commit(t, tx)
	inserting.Wait()
	must(t, err)
	if n := value[int](t, pool, "select count(*) from pawl.job"); len(results) != 5001 || n != 5003 {
		t.Errorf("%d results, %d jobs", len(results), n)
	}
}
