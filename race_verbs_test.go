package pawl_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// Rule 1: a job is returned while it is cancelled. It has a new ticket when the cancellation gets the row.
func TestCancelRemovesTheTicketOfAReturnedJob(t *testing.T) {
	for name, giveBack := range map[string]func(context.Context, *pawl.Client, pawl.Jobs) error{
		"released": func(ctx context.Context, c *pawl.Client, jobs pawl.Jobs) error { return c.Release(ctx, jobs, 0) },
		"retried": func(ctx context.Context, c *pawl.Client, jobs pawl.Jobs) error {
			return c.Fail(ctx, jobs, pawl.RetryAfter(time.Hour, errBoom))
		},
		"snoozed now": func(ctx context.Context, c *pawl.Client, jobs pawl.Jobs) error {
			return c.Fail(ctx, jobs, pawl.Snooze(0))
		},
	} {
		for verb, remove := range map[string]func(context.Context, *pawl.Client, pawl.Selector) (int64, error){
			"cancelled": func(ctx context.Context, c *pawl.Client, which pawl.Selector) (int64, error) {
				return c.Cancel(ctx, which)
			},
			"deleted": func(ctx context.Context, c *pawl.Client, which pawl.Selector) (int64, error) {
				return c.Delete(ctx, which)
			},
		} {
			t.Run(name+" "+verb, func(t *testing.T) {
				t.Parallel()
				client, pool := install(t)
				id := insert(t, client, Note{1})
				jobs := claim(t, client, 1)
				tx := begin(t, pool)
				if err := giveBack(t.Context(), client.With(tx), jobs); err != nil {
					t.Fatal(err)
				}
				removed := make(chan int64, 1)
				go func() {
					n, err := remove(t.Context(), client, id)
					if err != nil {
						t.Error(err)
					}
					removed <- n
				}()
				awaitBlocked(t, pool, 1)
				commit(t, tx)
				if n := <-removed; n != 1 {
					t.Errorf("%d were %s", n, verb)
				}
				if n := liveRows(t, pool); n != 0 {
					t.Errorf("%d rows are left: a ticket without its job", n)
				}
			})
		}
	}
}

// Rule 1: cancel, delete and retry run while a claim or a promotion is under way.
func TestVerbsDuringAClaimOrAPromotion(t *testing.T) {
	verbs := map[string]func(context.Context, *pawl.Client, pawl.ID) (int64, error){
		"cancel": func(ctx context.Context, c *pawl.Client, id pawl.ID) (int64, error) { return c.Cancel(ctx, id) },
		"delete": func(ctx context.Context, c *pawl.Client, id pawl.ID) (int64, error) { return c.Delete(ctx, id) },
		"retry":  func(ctx context.Context, c *pawl.Client, id pawl.ID) (int64, error) { return c.Retry(ctx, id) },
	}
	for name, verb := range verbs {
		t.Run(name+" while claimed", func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			id := insert(t, client, Note{1})
			tx := begin(t, pool)
			claimTickets(t, tx, aLease, nil, 1)
			done := make(chan int64, 1)
			go func() {
				n, err := verb(t.Context(), client, id)
				if err != nil {
					t.Error(err)
				}
				done <- n
			}()
			want := int64(1)
			if name == "retry" { // It is ready, and then running: left as it is.
				want = 0
			} else {
				awaitBlocked(t, pool, 1)
				commit(t, tx)
			}
			if n := <-done; n != want {
				t.Errorf("%s changed %d jobs, want %d", name, n, want)
			}
			if name == "retry" {
				commit(t, tx)
			}
		})
		t.Run(name+" while promoted", func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			id := insert(t, client, pawl.JobSpec{Args: Note{1}, Delay: time.Hour})
			makeDue(t, pool)
			tx := begin(t, pool)
			promote := "select moved::int from pawl.promote(array['default'], array['-infinity'::timestamptz], 10)"
			if n := value[int](t, tx, promote); n != 1 {
				t.Fatal("nothing was promoted")
			}
			done := make(chan int64, 1)
			go func() {
				n, err := verb(t.Context(), client, id)
				if err != nil {
					t.Error(err)
				}
				done <- n
			}()
			awaitBlocked(t, pool, 1)
			commit(t, tx)
			want := int64(1)
			if name == "retry" {
				want = 0
			}
			if n := <-done; n != want {
				t.Errorf("%s changed %d jobs, want %d", name, n, want)
			}
		})
	}
	// A job that is being cancelled is not claimed.
	t.Run("claim while cancelled", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		id := insert(t, client, Note{1})
		tx := begin(t, pool)
		if n, err := client.With(tx).Cancel(t.Context(), id); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if jobs, err := client.Claim(t.Context(), "default", 1, 0); len(jobs) != 0 || err != nil {
			t.Errorf("claimed %d, %v", len(jobs), err)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		pgtest.Wait(t, "the job to be claimed after all", func() bool {
			jobs, err := client.Claim(t.Context(), "default", 1, 0)
			return err == nil && len(jobs) == 1
		})
	})
}

// Rule 4: locks are taken in a fixed order, whatever the order of the ids.
func TestVerbsInOppositeOrdersDoNotDeadlock(t *testing.T) {
	verbs := map[string]func(context.Context, *pawl.Client, pawl.Jobs, []pawl.ID) error{
		"cancel": func(ctx context.Context, c *pawl.Client, _ pawl.Jobs, ids []pawl.ID) error {
			_, err := c.Cancel(ctx, pawl.Filter{IDs: ids})
			return err
		},
		"delete": func(ctx context.Context, c *pawl.Client, _ pawl.Jobs, ids []pawl.ID) error {
			_, err := c.Delete(ctx, pawl.Filter{IDs: ids})
			return err
		},
		"complete": func(ctx context.Context, c *pawl.Client, jobs pawl.Jobs, _ []pawl.ID) error {
			if err := c.Complete(ctx, jobs); !errors.Is(err, pawl.ErrLeaseLost) {
				return err
			}
			return nil
		},
	}
	for name, verb := range verbs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			if _, err := client.InsertMany(t.Context(), notes(2)); err != nil {
				t.Fatal(err)
			}
			jobs := claim(t, client, 2)
			locker := begin(t, pool)
			exec(t, locker, "select from pawl.job where id = $1 for update", int64(jobs[0].ID))
			errs := make(chan error, 2)
			go func() { errs <- verb(t.Context(), client, jobs, []pawl.ID{jobs[0].ID, jobs[1].ID}) }()
			awaitBlocked(t, pool, 1)
			go func() {
				errs <- verb(t.Context(), client, pawl.Jobs{jobs[1], jobs[0]}, []pawl.ID{jobs[1].ID, jobs[0].ID})
			}()
			awaitBlocked(t, pool, 2)
			commit(t, locker)
			for range 2 {
				if err := <-errs; err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// All verbs run at once for a while. Then the remaining jobs are finished. At the end install checks that Verify
// finds no violation.
func TestConcurrentVerbsLoseNoJob(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	const steps = 150
	var inserted atomic.Int64
	var all sync.WaitGroup
	fail := func(err error) bool {
		if err != nil && !errors.Is(err, pawl.ErrLeaseLost) && !errors.Is(err, pawl.ErrNotFound) &&
			!errors.Is(err, pawl.ErrRunning) {
			t.Error(err)
			return true
		}
		return false
	}
	for w := range 6 {
		random := rand.New(rand.NewPCG(1, uint64(w)))
		all.Go(func() {
			for range steps {
				any := pawl.ID(random.Int64N(inserted.Load()*2 + 2))
				var err error
				switch random.IntN(13) {
				case 0, 1, 2:
					var delay time.Duration
					if random.IntN(2) == 0 {
						delay = time.Duration(random.IntN(20)) * time.Millisecond
					}
					_, err = client.Insert(t.Context(), pawl.JobSpec{Args: Note{w}, Delay: delay, Priority: random.IntN(3),
						MaxAttempts: 3})
					inserted.Add(1)
				case 3:
					_, err = client.Cancel(t.Context(), any)
				case 4:
					_, err = client.Delete(t.Context(), any)
				case 5:
					_, err = client.Retry(t.Context(), any)
				case 12:
					priority := random.IntN(3)
					_, err = client.Update(t.Context(), any,
						pawl.JobUpdate{Priority: &priority, Delay: time.Duration(random.IntN(20)) * time.Millisecond})
				case 6:
					_, err = pool.Exec(t.Context(), "update pawl.lease set expires_at = clock_timestamp() where random() < 0.3 and "+
						"expires_at is not null")
					if err == nil {
						_, err = pool.Exec(t.Context(), "select * from pawl.rescue(10, true, random() < 0.5)")
					}
				default:
					var jobs pawl.Jobs
					jobs, err = client.Claim(t.Context(), "default", 1+random.IntN(5), 0)
					if len(jobs) == 0 || err != nil {
						break
					}
					switch random.IntN(5) {
					case 0:
						err = client.Fail(t.Context(), jobs, errBoom)
					case 1:
						err = client.Fail(t.Context(), jobs, pawl.RetryAfter(0, errBoom))
					case 2:
						err = client.Release(t.Context(), jobs, 0)
					case 3:
						err = client.Extend(t.Context(), jobs[:1], time.Hour)
					default:
						err = client.Complete(t.Context(), jobs)
					}
				}
				if fail(err) {
					return
				}
			}
		})
	}
	all.Wait()
	checkInvariant(t, client)
	pgtest.Wait(t, "all that is left to be finished", func() bool {
		makeDue(t, pool)
		expireLeases(t, pool)
		jobs, err := client.Claim(t.Context(), "default", 1000, 0)
		if err != nil {
			t.Fatal(err)
		}
		return !fail(client.Complete(t.Context(), jobs)) && liveRows(t, pool) == 0
	})
}
