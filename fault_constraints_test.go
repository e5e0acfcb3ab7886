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
	"github.com/pawlhq/pawl/pawlstate"
)

// Reservations expire without a runner of their queue, a commit wakes a runner, and a late commit returns ErrExpired.
func TestFault04ReservationsExpireAndCommitsWake(t *testing.T) {
	t.Parallel()
	reserve := func(t *testing.T, client *pawl.Client) pawl.ID {
		return insert(t, client, pawl.JobSpec{Args: Note{1}, Reserve: time.Minute})
	}
	past := func(t *testing.T, pool *pgxpool.Pool) {
		exec(t, pool, "update pawl.blocked set expires_at = clock_timestamp() - interval '1 millisecond'")
	}
	t.Run("a late commit is an error before maintenance has run", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		id := reserve(t, client)
		past(t, pool)
		if err := client.CommitReserved(t.Context(), id); !errors.Is(err, pawl.ErrExpired) {
			t.Errorf("got %v, want ErrExpired", err)
		}
		if err := client.CommitReserved(t.Context(), 999); !errors.Is(err, pawl.ErrExpired) {
			t.Errorf("of an unknown id: %v, want ErrExpired", err)
		}
		if jobs := claimAll(t, client); len(jobs) != 0 {
			t.Errorf("claimed %d", len(jobs))
		}
	})
	t.Run("it expires though no runner takes its queue", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		id := reserve(t, client)
		past(t, pool)
		ctx, stop := context.WithCancel(t.Context())
		var maintenance sync.WaitGroup
		maintenance.Go(func() { client.Maintain(ctx) })
		pgtest.Wait(t, "the reservation to go", func() bool {
			_, err := client.Get(t.Context(), id)
			return errors.Is(err, pawl.ErrNotFound)
		})
		stop()
		maintenance.Wait()
	})
	t.Run("a commit wakes", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t, withListen)
		g, mux := newGate(), new(pawl.Mux)
		close(g.leave)
		pawl.Handle(mux, g.handle)
		start(t, client, mux, pawl.RunnerConfig{PollInterval: hour, NoMaintenance: true})
		awaitSleepers(t, pool, 1)
		id := reserve(t, client)
		awaitSleepers(t, pool, 1)
		must(t, client.CommitReserved(t.Context(), id))
		receive(t, "the job", g.running)
	})
	t.Run("a commit that returned nil is not lost to an expiry beside it", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		id := reserve(t, client)
		exec(t, pool, "update pawl.blocked set expires_at = clock_timestamp() + interval '300 milliseconds'")
		tx := begin(t, pool)
		must(t, client.With(tx).CommitReserved(t.Context(), id)) // In time; and then its transaction takes longer.
		pgtest.Wait(t, "its time to pass", func() bool {
			return value[bool](t, pool, "select expires_at < clock_timestamp() from pawl.blocked")
		})
		if n := value[int](t, pool, "select pawl.expire(100)::int"); n != 0 {
			t.Errorf("%d jobs that were committed are expired", n)
		}
		commit(t, tx)
		exec(t, pool, "select pawl.expire(100)")
		if got := claim(t, client, 1); got[0].ID != id {
			t.Errorf("claimed %d", got[0].ID)
		}
	})
	t.Run("an expiry at work refuses the commit", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		id := reserve(t, client)
		past(t, pool)
		tx := begin(t, pool)
		if n := value[int](t, tx, "select pawl.expire(100)::int"); n != 1 {
			t.Fatalf("expired %d", n)
		}
		answer := make(chan error, 1)
		go func() { answer <- client.CommitReserved(t.Context(), id) }()
		awaitBlocked(t, pool, 1)
		commit(t, tx)
		if err := receive(t, "the commit", answer); !errors.Is(err, pawl.ErrExpired) {
			t.Errorf("got %v, want ErrExpired", err)
		}
	})
}

// An ordered channel goes on after a dead head and after a job that is deleted from the middle. It keeps the order of
// concurrent inserts and of a batch.
func TestFault05OrderedChannelsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	t.Run("a dead head does not block", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		spec := ordered("c", 0)
		spec.MaxAttempts = 1
		insert(t, client, spec)
		insert(t, client, ordered("c", 1))
		must(t, client.Fail(t.Context(), claim(t, client, 1), errBoom))
		runFollowups(t, pool)
		if got := numbers(t, claimAll(t, client)); !slices.Equal(got, []int{1}) {
			t.Errorf("claimed %v behind a dead head", got)
		}
	})
	t.Run("any may be taken from the middle", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		var ids []pawl.ID
		for i := range 6 {
			ids = append(ids, insert(t, client, ordered("c", i)))
		}
		head := claim(t, client, 1)
		wantCount(t, 1)(client.Delete(t.Context(), ids[1]))
		wantCount(t, 1)(client.Cancel(t.Context(), ids[3]))
		wantCount(t, 1)(client.Delete(t.Context(), ids[4]))
		runFollowups(t, pool)
		if jobs := claimAll(t, client); len(jobs) != 0 {
			t.Errorf("claimed %v beside the head", numbers(t, jobs))
		}
		var order []int
		for {
			order = append(order, numbers(t, head)...)
			must(t, client.Complete(t.Context(), head))
			runFollowups(t, pool)
			if head = claimAll(t, client); len(head) == 0 {
				break
			}
		}
		if !slices.Equal(order, []int{0, 2, 5}) {
			t.Errorf("they ran as %v", order)
		}
	})
	t.Run("senders at once, and heads that end meanwhile, need not try again", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		var all sync.WaitGroup
		for s := range 6 {
			all.Go(func() {
				for i := range 10 {
					tx, err := pool.Begin(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					for j := range 2 {
						if _, err := client.With(tx).Insert(t.Context(), ordered("c", 100*s+10*i+j)); err != nil {
							t.Errorf("insert: %v", err)
						}
					}
					if err := tx.Commit(t.Context()); err != nil {
						t.Errorf("commit: %v", err)
					}
				}
			})
		}
		done := 0
		pgtest.Wait(t, "all jobs", func() bool {
			jobs, err := client.Claim(t.Context(), "default", 10, time.Minute)
			if err != nil || len(jobs) > 1 {
				t.Fatalf("claimed %d of one channel at once, %v", len(jobs), err)
			}
			must(t, client.Complete(t.Context(), jobs))
			runFollowups(t, pool)
			done += len(jobs)
			return done == 120
		})
		all.Wait()
	})
	t.Run("a batch runs in the order in which it was given", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		want := []int{7, 3, 9, 1, 8, 2, 6}
		var specs []pawl.JobSpec
		for _, n := range want {
			specs = append(specs, ordered("c", n))
		}
		_, err := client.InsertMany(t.Context(), specs)
		must(t, err)
		var got []int
		for range want {
			jobs := claim(t, client, 10)
			got = append(got, numbers(t, jobs)...)
			must(t, client.Complete(t.Context(), jobs))
			runFollowups(t, pool)
		}
		if !slices.Equal(got, want) {
			t.Errorf("they ran as %v, want %v", got, want)
		}
	})
}

// Cancel does not change finished jobs. A cancelled job stays cancelled, whatever its handler returns. Its unique key
// can be used by another job.
func TestFault16ACancelledJobStaysCancelled(t *testing.T) {
	t.Parallel()
	t.Run("completed and dead ones stay as they are", func(t *testing.T) {
		t.Parallel()
		client, _ := install(t)
		same := func(n int) pawl.JobSpec {
			return pawl.JobSpec{Args: Note{n}, Fingerprint: "f", Unique: pawl.Unique{Key: fmt.Sprint(n)}}
		}
		completed, dead := insert(t, client, same(1)), insert(t, client, same(2))
		jobs := claim(t, client, 2)
		must(t, client.Complete(t.Context(), jobs[0]))
		must(t, client.Fail(t.Context(), jobs[1], pawl.Dead(errBoom)))
		before := await(t, client, completed, pawlstate.Completed).FinishedAt
		waiting := insert(t, client, same(3))
		wantCount(t, 0)(client.Cancel(t.Context(), pawl.Filter{UniqueKey: "1"}))
		wantCount(t, 1)(client.Cancel(t.Context(), pawl.Filter{Fingerprint: "f"}))
		if n, _ := client.Cancel(t.Context(), pawl.Filter{IDs: []pawl.ID{completed, dead}}); n != 0 {
			t.Errorf("Cancel changed %d finished jobs", n)
		}
		await(t, client, waiting, pawlstate.Cancelled)
		if job := await(t, client, completed, pawlstate.Completed); !job.FinishedAt.Equal(before) {
			t.Error("the completed job was changed")
		}
		await(t, client, dead, pawlstate.Dead)
	})
	for name, outcome := range map[string]error{"nil": nil, "an error": errBoom, "a snooze": pawl.Snooze(0),
		"dead": pawl.Dead(errBoom)} {
		t.Run("the running handler returns "+name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			running, leave := make(chan *pawl.JobInfo, 10), make(chan struct{})
			mux := new(pawl.Mux)
			pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error {
				running <- job.JobInfo
				if job.Args.N == 1 {
					<-leave
					return outcome
				}
				return nil
			})
			unique := func(n int) pawl.JobSpec {
				return pawl.JobSpec{Args: Note{n}, Unique: pawl.Unique{Key: "k"}}
			}
			first := insert(t, client, unique(1))
			stop := start(t, client, mux, pawl.RunnerConfig{})
			receive(t, "the first", running)
			wantCount(t, 1)(client.Cancel(t.Context(), first))
			second := insert(t, client, unique(2)) // The key is free again, and taken again.
			if second == first {
				t.Fatal("the key of a cancelled job is taken")
			}
			receive(t, "the second", running)
			await(t, client, second, pawlstate.Completed)
			third := insert(t, client, pawl.JobSpec{Args: Note{3}, Delay: time.Hour, Unique: pawl.Unique{Key: "k"}})
			close(leave)
			must(t, stop())
			await(t, client, first, pawlstate.Cancelled)
			if n := len(values[int64](t, pool, "select id from pawl.job")); n != 1 {
				t.Errorf("%d live jobs, want the third", n)
			}
			// It is not dropped, and does not run while another job has the key. After that job it can be retried.
			if n, _ := client.Retry(t.Context(), first); n != 0 {
				t.Errorf("Retry changed %d", n)
			}
			await(t, client, first, pawlstate.Cancelled)
			wantCount(t, 1)(client.Cancel(t.Context(), third))
			wantCount(t, 1)(client.Retry(t.Context(), first))
			await(t, client, first, pawlstate.Ready)
		})
	}
}
