package pawl_test

import (
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// Section 5: an insert that commits below the mark is found.
func TestALateCommitBelowTheMarkIsFound(t *testing.T) {
	for name, insertLate := range map[string]func(t *testing.T, c *pawl.Client) error{
		"one":  func(t *testing.T, c *pawl.Client) error { _, err := c.Insert(t.Context(), Note{-1}); return err },
		"copy": func(t *testing.T, c *pawl.Client) error { _, err := c.InsertMany(t.Context(), notes(2000)); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			late := begin(t, pool)
			if err := insertLate(t, client.With(late)); err != nil {
				t.Fatal(err)
			}
			for i := range 5 { // Enough claims for every mark to go where it can.
				insert(t, client, Note{i})
				if err := client.Complete(t.Context(), claim(t, client, 100)); err != nil {
					t.Fatal(err)
				}
			}
			commit(t, late)
			pgtest.Wait(t, "the late jobs to be claimed", func() bool {
				jobs, err := client.Claim(t.Context(), "default", 2000, 0)
				if err != nil {
					t.Fatal(err)
				}
				return client.Complete(t.Context(), jobs) == nil && liveRows(t, pool) == 0
			})
		})
	}
}

// Section 5: the tickets of a claim that is rolled back below the mark are found.
func TestAClaimRolledBackBelowTheMarkIsFound(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	insert(t, client, Note{0})
	claimer := begin(t, pool)
	if got := claimTickets(t, claimer, aLease, nil, 1); len(got) != 1 {
		t.Fatal("the claimer got nothing")
	}
	for i := range 5 {
		insert(t, client, Note{i})
		if err := client.Complete(t.Context(), claim(t, client, 100)); err != nil {
			t.Fatal(err)
		}
	}
	if err := claimer.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	pgtest.Wait(t, "the job to be claimed", func() bool {
		jobs, err := client.Claim(t.Context(), "default", 100, 0)
		return err == nil && len(jobs) == 1
	})
}

// Section 5: the safe mark needs every insert to have a transaction id before it draws a position.
func TestAnInsertHasATransactionIDBeforeItsPosition(t *testing.T) {
	checkRule(t, "insert/insert", "perform pg_current_xact_id();", "",
		func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) string {
			// An insert that is stopped between drawing its position and writing its first row.
			exec(t, pool, "create function stop() returns trigger language plpgsql as 'begin perform "+
				"pg_advisory_xact_lock(42); return new; end'")
			exec(t, pool, `create trigger stop before insert on pawl.ready for each row when (new.pos = 2)
				execute function stop()`)
			insert(t, client, Note{0}) // Draws position 1, which writes to the log, and so takes a number in any case.
			if err := client.Complete(t.Context(), claim(t, client, 1)); err != nil {
				t.Fatal(err)
			}
			gate := begin(t, pool)
			exec(t, gate, "select pg_advisory_xact_lock(42)")
			inserted := make(chan error, 1)
			go func() { _, err := client.Insert(t.Context(), Note{2}); inserted <- err }()
			awaitBlocked(t, pool, 1)
			pass := func() {
				insert(t, client, Note{1})
				if err := client.Complete(t.Context(), claim(t, client, 1)); err != nil {
					t.Fatal(err)
				}
			}
			pass()
			// Without its number the insert does not stop the safe mark; other tests' transactions do, for a while.
			numbered := value[bool](t, pool, "select exists (select from pg_stat_activity where datname = current_database() "+
				"and wait_event_type = 'Lock' and backend_xid is not null)")
			for range 5 {
				if !numbered {
					next := value[int64](t, pool, "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
					pgtest.Wait(t, "older transactions to end", func() bool {
						return value[int64](t, pool, "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint") >= next
					})
				}
				pass()
			}
			commit(t, gate)
			if err := <-inserted; err != nil {
				t.Fatal(err)
			}
			for range 20 {
				if jobs, err := client.Claim(t.Context(), "default", 10, 0); err != nil {
					t.Fatal(err)
				} else if len(jobs) == 1 {
					return ""
				}
			}
			return "the job is below the safe mark and never found"
		})
}

// Section 5: a consumer looks for new lanes even while its known lanes have tickets.
func TestABusyConsumerFindsAMoreUrgentLane(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	if _, err := client.InsertMany(t.Context(), notes(4000)); err != nil {
		t.Fatal(err)
	}
	claim(t, client, 1) // It knows its lane from now on.
	urgent := insert(t, client, pawl.JobSpec{Args: Note{-1}, Priority: -10})
	began := time.Now()
	for {
		job := claim(t, client, 1)[0]
		if job.ID == urgent {
			return
		}
		if d := time.Since(began); d > 3*time.Second {
			t.Fatalf("in %v of claims a job of higher priority was not found", d)
		}
	}
}

// Section 4, rule 8: a claim that returns no job does not mean that there is no job.
func TestOrphanTicketsDoNotHideAJob(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	exec(t, pool, "insert into pawl.ready (pos, job_id, epoch, priority, queue, channel) select -i, -i, 0, 0, "+
		"'default', '' from generate_series(1, 20) i")
	exec(t, pool, "update pawl.ready set pos = nextval('pawl.pos')")
	id := insert(t, client, Note{1})
	for range 10 {
		jobs, err := client.Claim(t.Context(), "default", 5, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(jobs) == 1 && jobs[0].ID == id {
			return
		}
	}
	t.Error("the job behind tickets without jobs was not found by ten claims")
}

// Section 4, rule 9: the claim itself reads whether the queue is paused.
func TestThePauseIsReadInsideTheClaim(t *testing.T) {
	paused := "where not exists (select from pawl.queue q where q.name = u.queue and q.paused)\n      and"
	checkRule(t, "claim/claim", paused, "where",
		func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) string {
			insert(t, client, Note{1})
			exec(t, pool, "insert into pawl.queue (name, paused) values ('default', true)")
			if jobs, err := client.Claim(t.Context(), "default", 1, 0); err != nil {
				t.Fatal(err)
			} else if len(jobs) > 0 {
				return "a job of a paused queue was claimed"
			}
			return ""
		})
}

func TestTwoClaimersNeverGetTheSameJob(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	const n = 3000
	if _, err := client.InsertMany(t.Context(), notes(n)); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	taken := map[pawl.ID]int{}
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			for {
				jobs, err := client.Claim(t.Context(), "default", 17, 0)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, job := range jobs {
					taken[job.ID]++
				}
				done := len(taken) == n
				mu.Unlock()
				if err := client.Complete(t.Context(), jobs); err != nil {
					t.Error(err)
					return
				}
				if done || t.Context().Err() != nil {
					return
				}
			}
		})
	}
	all.Wait()
	for id, times := range taken {
		if times != 1 {
			t.Errorf("job %d was claimed %d times", id, times)
		}
	}
}
