package pawl_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/pawlhq/pawl/sql"
)

// The races of docs/design.md, each with the rule that survives it. Where it can be done, the rule is then taken out of the
// statement, in the test's own database, to see that the test would notice.

// rule runs race as the library is, when it must say nothing, and with `without` a function in which old stands replaced: there it
// must say what goes wrong.
func rule(t *testing.T, function, old, replaced string, race func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) (wrong string)) {
	t.Helper()
	t.Parallel()
	t.Run("kept", func(t *testing.T) {
		t.Parallel()
		client, pool := install(t)
		if wrong := race(t, client, pool); wrong != "" {
			t.Error(wrong)
		}
	})
	t.Run("left out", func(t *testing.T) {
		t.Parallel()
		text, err := sql.Files.ReadFile("function/" + function + ".sql")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(text), old) != 1 {
			t.Fatalf("%s.sql does not have %q once: the test must follow it", function, old)
		}
		for range 25 { // What other tests do on the server may hide it: a new database makes a checkpoint, after which nextval takes a number.
			client, pool := unchecked(t, pgtest.Database(t))
			exec(t, pool, strings.Replace(string(text), old, replaced, 1))
			if race(t, client, pool) != "" {
				return
			}
		}
		t.Error("nothing went wrong without the rule: the test does not test it")
	})
}

// claimTickets calls pawl.claim for the default lane and returns the ids of its jobs.
func claimTickets(t testing.TB, db queryer, lease string, worker *int64, most int) []int64 {
	t.Helper()
	return values[int64](t, db, `select id from pawl.claim($1::uuid, $2, null, $3, array['default'], array[0], array[''], array[0::bigint], array[9223372036854775807], array[$3::int]) where found`, lease, worker, most)
}

const aLease = "00000000-0000-4000-8000-000000000001"

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

// Rule 2: fence where the row is locked.
func TestCompleteAfterRescueDeletesNothing(t *testing.T) {
	rule(t, "finish/complete", "where j.id = u.id and j.epoch = u.epoch for update skip locked", "where j.id = u.id for update skip locked",
		func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) string {
			insert(t, client, Note{1})
			stale := claim(t, client, 1)
			expire(t, pool)
			if err := client.Complete(t.Context(), stale); !errors.Is(err, pawl.ErrLeaseLost) {
				return fmt.Sprintf("completed by who had lost it: %v", err)
			}
			if n := live(t, pool); n != 2 {
				return fmt.Sprintf("%d rows are left of the job, want 2", n)
			}
			return ""
		})
}

// Rule 2: the completion waits for the row, and finds another epoch when it gets it.
func TestCompleteWhileRescuedDeletesNothing(t *testing.T) {
	rule(t, "finish/lock_jobs", "where j.id = u.id and j.epoch = u.epoch for update", "where j.id = u.id for update",
		func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) string {
			insert(t, client, Note{1})
			stale := claim(t, client, 1)
			tx := begin(t, pool)
			exec(t, tx, "update pawl.lease set expires_at = clock_timestamp() - interval '1 second'")
			exec(t, tx, "select * from pawl.rescue(100, true, true)")
			answer := make(chan error, 1)
			go func() { answer <- client.Complete(t.Context(), stale) }()
			blocked(t, pool, 1)
			held := make(chan []int64, 1)
			go func() {
				rows := values[int64](t, pool, "select pawl.lock_jobs(array[j.id], array[j.epoch]) from pawl.job j")
				held <- rows
			}()
			blocked(t, pool, 2)
			commit(t, tx)
			if err := <-answer; !errors.Is(err, pawl.ErrLeaseLost) {
				return fmt.Sprintf("completed by who had lost it: %v", err)
			}
			if rows := <-held; len(rows) != 0 {
				return "pawl.unique_key says that a job with a new epoch is held at the old one"
			}
			return ""
		})
}

// Rule 3: no waiting on strangers.
func TestAStrangersLockDelaysOnlyItsOwnJob(t *testing.T) {
	rule(t, "finish/complete", "j.epoch = u.epoch for update skip locked", "j.epoch = u.epoch for update",
		func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) (wrong string) {
			if _, err := client.InsertMany(t.Context(), notes(3)); err != nil {
				t.Fatal(err)
			}
			jobs := claim(t, client, 3)
			stranger := begin(t, pool)
			exec(t, stranger, "select from pawl.job where id = $1 for update", int64(jobs[1].ID))
			answer := make(chan error, 1)
			go func() { answer <- client.Complete(t.Context(), jobs) }()
			blocked(t, pool, 1)
			if n := value[int](t, pool, "select count(*) from pawl.job"); n != 1 {
				wrong = fmt.Sprintf("%d jobs are not completed because a stranger holds one", n)
			}
			if n := value[int](t, pool, "select count(*) from pawl.lease"); n != 1 {
				wrong += "; the lease went before its last job"
			}
			commit(t, stranger)
			if err := <-answer; err != nil {
				wrong += fmt.Sprint("; ", err)
			}
			return wrong
		})
}

func TestAStrangersLockDelaysOnlyItsOwnJobInARunner(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	var ids []pawl.ID
	for i := range 5 {
		ids = append(ids, insert(t, client, Note{i}))
	}
	stranger := begin(t, pool)
	exec(t, stranger, "select from pawl.job where id = $1 for update", int64(ids[2]))
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error { return nil })
	start(t, client, mux, pawl.RunnerConfig{})
	for i, id := range ids {
		if i != 2 {
			await(t, client, id, pawlstate.Completed)
		}
	}
	commit(t, stranger)
	await(t, client, ids[2], pawlstate.Completed)
}

// Section 5: what commits below the mark.
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
				return client.Complete(t.Context(), jobs) == nil && live(t, pool) == 0
			})
		})
	}
}

// Section 5: what a claimer that rolls back leaves below the mark.
func TestAClaimerThatRollsBackBelowTheMark(t *testing.T) {
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

// Section 5: the safe mark needs every inserter to have a transaction number before it draws a position.
func TestAnInserterHasItsNumberBeforeItsPosition(t *testing.T) {
	rule(t, "insert/insert", "perform pg_current_xact_id();", "",
		func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) string {
			// An insert that is stopped between drawing its position and writing its first row.
			exec(t, pool, "create function stop() returns trigger language plpgsql as 'begin perform pg_advisory_xact_lock(42); return new; end'")
			exec(t, pool, "create trigger stop before insert on pawl.ready for each row when (new.pos = 2) execute function stop()")
			insert(t, client, Note{0}) // Draws position 1, which writes to the log, and so takes a number in any case.
			if err := client.Complete(t.Context(), claim(t, client, 1)); err != nil {
				t.Fatal(err)
			}
			gate := begin(t, pool)
			exec(t, gate, "select pg_advisory_xact_lock(42)")
			inserted := make(chan error, 1)
			go func() { _, err := client.Insert(t.Context(), Note{2}); inserted <- err }()
			blocked(t, pool, 1)
			pass := func() {
				insert(t, client, Note{1})
				if err := client.Complete(t.Context(), claim(t, client, 1)); err != nil {
					t.Fatal(err)
				}
			}
			pass()
			// Without its number the insert does not stop the safe mark; other tests' transactions do, for a while.
			numbered := value[bool](t, pool, "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and backend_xid is not null)")
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

// Rule 7: unclaim before the claim gets to the server: the claim then fails as a whole.
func TestUnclaimBeforeTheClaim(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	id := insert(t, client, Note{1})
	if n := value[int](t, pool, "select pawl.unclaim($1)", aLease); n != 0 {
		t.Errorf("unclaim gave back %d jobs", n)
	}
	if _, err := pool.Exec(t.Context(), "select * from pawl.claim($1::uuid, null, null, 1, array['default'], array[0], array[''], array[0::bigint], array[9223372036854775807], array[1])", aLease); err == nil {
		t.Error("the claim that had been undone was carried out")
	}
	if n := value[int](t, pool, "select pawl.unclaim($1)", aLease); n != 0 {
		t.Errorf("unclaim again gave back %d jobs", n)
	}
	if got := claim(t, client, 1); got[0].ID != id {
		t.Errorf("claimed %d, want %d", got[0].ID, id)
	}
	expire(t, pool)
	if n := value[int](t, pool, "select count(*) from pawl.lease"); n != 0 {
		t.Errorf("%d leases are left, tombstones among them", n)
	}
}

// Rule 7: unclaim while the claim is at work waits for it.
func TestUnclaimWhileTheClaimIsAtWork(t *testing.T) {
	tombstone := `insert into pawl.lease (id, expires_at, jobs, epochs)
  values (unclaim.lease, clock_timestamp() + interval '1 minute', '{}', '{}')
  on conflict (id) do nothing;
  if found then`
	rule(t, "claim/unclaim", tombstone, "if not exists (select from pawl.lease l where l.id = unclaim.lease) then",
		func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) string {
			insert(t, client, pawl.JobSpec{Args: Note{1}})
			tx := begin(t, pool)
			if got := claimTickets(t, tx, aLease, nil, 1); len(got) != 1 {
				t.Fatal("nothing was claimed")
			}
			returned := make(chan int, 1)
			go func() { returned <- value[int](t, pool, "select pawl.unclaim($1)", aLease) }()
			var early bool
			pgtest.Wait(t, "unclaim to wait or to return", func() bool {
				early = len(returned) > 0
				return early || value[int](t, pool, "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'") == 1
			})
			commit(t, tx)
			if n := <-returned; early || n != 1 {
				return fmt.Sprintf("unclaim gave back %d jobs, want 1; it waited: %t", n, !early)
			}
			if job := claim(t, client, 1)[0]; job.Attempt != 1 {
				return "an attempt was used"
			}
			return ""
		})
}

func TestUnclaimAfterTheClaim(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	id := insert(t, client, pawl.JobSpec{Args: Note{1}, Priority: 0})
	insert(t, client, pawl.JobSpec{Args: Note{2}, Priority: -10})
	if got := claimTickets(t, pool, aLease, nil, 1); len(got) != 1 {
		t.Fatal("nothing was claimed")
	}
	if n := value[int](t, pool, "select pawl.unclaim($1)", aLease); n != 1 {
		t.Errorf("unclaim gave back %d jobs", n)
	}
	if got := claim(t, client, 2); got[0].ID != id {
		t.Error("the job given back is not the next")
	}
	if n := value[int](t, pool, "select max(crashes) from pawl.job"); n != 0 {
		t.Error("a claim undone cost a strike")
	}
	// A claim that failed on the server: unclaim waits for it, too, and gives back nothing.
	insert(t, client, Note{3})
	tx := begin(t, pool)
	claimTickets(t, tx, "00000000-0000-4000-8000-000000000002", nil, 1)
	returned := make(chan int, 1)
	go func() { returned <- value[int](t, pool, "select pawl.unclaim('00000000-0000-4000-8000-000000000002')") }()
	blocked(t, pool, 1)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := <-returned; n != 0 {
		t.Errorf("unclaim gave back %d jobs of a claim that was rolled back", n)
	}
	claim(t, client, 1)
}

// Rule 6: a lease goes with its last live pair, not before.
func TestALeaseGoesWithItsLastJob(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	if _, err := client.InsertMany(t.Context(), notes(4)); err != nil {
		t.Fatal(err)
	}
	jobs := claim(t, client, 4)
	leases := func() int { return value[int](t, pool, "select count(*) from pawl.lease") }
	for i, job := range jobs[:3] {
		if err := client.Complete(t.Context(), job); err != nil {
			t.Fatal(err)
		}
		check(t, client)
		if leases() != 1 {
			t.Fatalf("the lease went after %d of 4 jobs", i+1)
		}
	}
	if err := client.Complete(t.Context(), jobs[3]); err != nil {
		t.Fatal(err)
	}
	if leases() != 0 {
		t.Error("the lease is left without a job")
	}
}

// Rules 3 and 6: rescue passes by a job somebody has locked, and its lease stays for the next time.
func TestRescueLeavesTheLeaseOfALockedJob(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	if _, err := client.InsertMany(t.Context(), notes(2)); err != nil {
		t.Fatal(err)
	}
	jobs := claim(t, client, 2)
	stranger := begin(t, pool)
	exec(t, stranger, "select from pawl.job where id = $1 for update", int64(jobs[0].ID))
	expire(t, pool)
	check(t, client)
	if n := value[int](t, pool, "select count(*) from pawl.lease"); n != 1 {
		t.Errorf("%d leases, want that of the locked job", n)
	}
	commit(t, stranger)
	expire(t, pool)
	if got := claim(t, client, 10); len(got) != 2 {
		t.Errorf("%d jobs were redelivered, want 2", len(got))
	}
}

// A hundred lost leases of jobs somebody holds must not keep a claim busy for as long as he does.
func TestRescueEndsThoughNothingCanBeRescued(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	if _, err := client.InsertMany(t.Context(), notes(101)); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		claim(t, client, 1)
	}
	stranger := begin(t, pool)
	exec(t, stranger, "select from pawl.job for update")
	exec(t, pool, "update pawl.lease set expires_at = clock_timestamp() - interval '1 second'")
	fresh, err := pawl.New(pool, pawl.Config{}) // Its first claim rescues.
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if _, err := fresh.Claim(ctx, "default", 1, 0); err != nil {
		t.Errorf("a claim of another job: %v", err)
	}
}

// Section 4, rule 6: a worker taken for dead claims nothing.
func TestABuriedWorkerClaimsNothing(t *testing.T) {
	rule(t, "claim/claim", "w.id = claim.worker and w.gone_at is null and (w.pid <> 0 or w.state = 'ready')", "true",
		func(t *testing.T, client *pawl.Client, pool *pgxpool.Pool) string {
			insert(t, client, Note{1})
			worker := value[int64](t, pool, "select pawl.register_worker('w', 'h', 1, 'v', null, '9 seconds')")
			exec(t, pool, "select pawl.unregister_worker($1)", worker)
			if got := claimTickets(t, pool, aLease, &worker, 1); len(got) != 0 {
				return "it claimed"
			}
			return ""
		})
}

// Section 4, rule 6: it is taken for dead between its claim and the commit of it. For a minute that is found at once, later by a
// sweep of all leases.
func TestAWorkerGoneWhileItClaims(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, gone, sweep string }{{"lately", "1 second", "false"}, {"long ago", "1 hour", "true"}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			id := insert(t, client, Note{1})
			worker := value[int64](t, pool, "select pawl.register_worker('w', 'h', 1, 'v', null, '9 seconds')")
			tx := begin(t, pool)
			if got := claimTickets(t, tx, aLease, &worker, 1); len(got) != 1 {
				t.Fatal("nothing was claimed")
			}
			exec(t, pool, "update pawl.worker set seen_at = seen_at - interval '1 hour', stale_after = '0 seconds'")
			exec(t, pool, "select * from pawl.rescue(100, true, false)")
			if n := value[int](t, pool, "select count(*) from pawl.worker where state = 'lost'"); n != 1 {
				t.Fatal("the worker was not found stale")
			}
			exec(t, pool, "update pawl.worker set gone_at = gone_at - $1::interval", test.gone)
			commit(t, tx)
			exec(t, pool, "select * from pawl.rescue(100, true, "+test.sweep+")")
			if got := claim(t, client, 1); got[0].ID != id {
				t.Errorf("claimed %d", got[0].ID)
			}
		})
	}
}

// Section 6: nobody is late until the server has been up long enough to hear of it, and a rescuer cut off itself judges nobody.
func TestWhoIsLate(t *testing.T) {
	t.Parallel()
	_, pool := install(t)
	workers := func() int { return value[int](t, pool, "select count(*) from pawl.worker where gone_at is null") }
	exec(t, pool, "select pawl.register_worker('w', 'h', 1, 'v', null, '1 day')")
	exec(t, pool, "update pawl.worker set seen_at = seen_at - interval '2 days'")
	exec(t, pool, "select * from pawl.rescue(100, true, true)")
	if workers() != 1 {
		t.Error("a worker was taken for dead though the server has not been up for its time")
	}
	exec(t, pool, "update pawl.worker set stale_after = '0 seconds'")
	exec(t, pool, "select * from pawl.rescue(100, false, true)")
	if workers() != 1 {
		t.Error("a worker was taken for dead by a rescuer that must not judge")
	}
	exec(t, pool, "select * from pawl.rescue(100, true, true)")
	if workers() != 0 {
		t.Error("a late worker was not taken for dead")
	}
}

// Section 6: attempts and crashes.
func TestStrikes(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	victim := insert(t, client, pawl.JobSpec{Args: Note{0}, Priority: 100})
	other := insert(t, client, pawl.JobSpec{Args: Note{0}, Priority: 100})
	claim(t, client, 2)
	insert(t, client, pawl.JobSpec{Args: Note{1}, Priority: -100})
	expire(t, pool)
	jobs := claim(t, client, 2)
	if got := numbers(t, jobs); len(got) != 2 || got[0] != 0 || got[1] != 0 {
		t.Fatalf("claimed %v, want the two of the lost lease before a job of higher priority", got)
	}
	if err := client.Complete(t.Context(), claim(t, client, 1)); err != nil {
		t.Fatal(err)
	}
	expire(t, pool)
	jobs = claim(t, client, 10)
	if len(jobs) != 1 || jobs[0].ID != victim {
		t.Fatalf("claimed %v, want a suspect alone", numbers(t, jobs))
	}
	if n := value[int](t, pool, "select max(cardinality(jobs)) from pawl.lease"); n != 1 {
		t.Errorf("it has a lease with %d jobs, want one of its own", n)
	}
	innocent := claim(t, client, 10)
	if len(innocent) != 1 || innocent[0].ID != other {
		t.Fatalf("claimed %v, want the other suspect", numbers(t, innocent))
	}
	if err := client.Fail(t.Context(), innocent, pawl.RetryAfter(0, errBoom)); err != nil {
		t.Fatal(err)
	}
	if crashes := value[int](t, pool, "select crashes from pawl.job where id = $1", int64(other)); crashes != 0 {
		t.Errorf("a job whose handler answered keeps %d crashes", crashes)
	}
	expire(t, pool)
	job := await(t, client, victim, pawlstate.Dead)
	if job.Reason != "poison" || job.Attempt != 0 {
		t.Errorf("dead for %q with attempt %d, want poison and 0: rescue uses no attempt", job.Reason, job.Attempt)
	}
	if err := client.Complete(t.Context(), jobs); !errors.Is(err, pawl.ErrLeaseLost) {
		t.Errorf("its last holder completed it: %v", err)
	}
}

// Section 5: lanes not known yet are looked for also while the known ones have tickets.
func TestAMoreUrgentLaneIsFoundByABusyConsumer(t *testing.T) {
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

// Section 4, rule 9.
func TestThePauseIsReadInsideTheClaim(t *testing.T) {
	rule(t, "claim/claim", "where not exists (select from pawl.queue q where q.name = u.queue and q.paused)\n      and", "where",
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

// Section 4, rule 8: "nothing came of it" is not "nothing is there".
func TestOrphanTicketsDoNotEndTheClaim(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	exec(t, pool, "insert into pawl.ready (pos, job_id, epoch, priority, queue, channel) select -i, -i, 0, 0, 'default', '' from generate_series(1, 20) i")
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

// Section 4, rule 7: a retried completion that matches nothing looks whether it was carried out.
func TestFinishedKnowsItsOwn(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	if _, err := client.InsertMany(t.Context(), notes(2)); err != nil {
		t.Fatal(err)
	}
	jobs := claim(t, client, 2)
	if err := client.Complete(t.Context(), jobs[0]); err != nil {
		t.Fatal(err)
	}
	if err := client.Fail(t.Context(), jobs[1], pawl.Dead(nil)); err != nil {
		t.Fatal(err)
	}
	finished := func(shift int) int {
		return len(values[int64](t, pool, `select pawl.find_finished(array_agg(id), array_agg(epoch + $1::int))
			from (select id, epoch from pawl.archive union all select id, epoch from pawl.dead) f`, shift))
	}
	if n := finished(0); n != 2 {
		t.Errorf("%d of 2 are known to be finished at their epoch", n)
	}
	if n := finished(1) + finished(-1); n != 0 {
		t.Errorf("%d are said to be finished at an epoch that is not theirs", n)
	}
}

// Rule 1: a verb and its ticket. What is being given back while it is cancelled has a new ticket when the cancellation gets the row.
func TestCancelWhileGivenBack(t *testing.T) {
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
				blocked(t, pool, 1)
				commit(t, tx)
				if n := <-removed; n != 1 {
					t.Errorf("%d were %s", n, verb)
				}
				if n := live(t, pool); n != 0 {
					t.Errorf("%d rows are left: a ticket without its job", n)
				}
			})
		}
	}
}

// Rule 1: cancel, delete and retry against a claim and a promotion that are at work.
func TestVerbsAgainstAClaimOrPromotionAtWork(t *testing.T) {
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
				blocked(t, pool, 1)
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
			elapse(t, pool)
			tx := begin(t, pool)
			if n := value[int](t, tx, "select moved::int from pawl.promote(array['default'], array['-infinity'::timestamptz], 10)"); n != 1 {
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
			blocked(t, pool, 1)
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
	// And the other way round: what is being cancelled is not claimed.
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

// Rule 4: locks in a fixed order, whatever the order of the argument.
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
			stranger := begin(t, pool)
			exec(t, stranger, "select from pawl.job where id = $1 for update", int64(jobs[0].ID))
			errs := make(chan error, 2)
			go func() { errs <- verb(t.Context(), client, jobs, []pawl.ID{jobs[0].ID, jobs[1].ID}) }()
			blocked(t, pool, 1)
			go func() {
				errs <- verb(t.Context(), client, pawl.Jobs{jobs[1], jobs[0]}, []pawl.ID{jobs[1].ID, jobs[0].ID})
			}()
			blocked(t, pool, 2)
			commit(t, stranger)
			for range 2 {
				if err := <-errs; err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// Everything at once, for a while; then all that is left is finished, and the invariant holds (install checks it).
func TestEverythingAtOnce(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	const steps = 150
	var inserted atomic.Int64
	var all sync.WaitGroup
	fail := func(err error) bool {
		if err != nil && !errors.Is(err, pawl.ErrLeaseLost) && !errors.Is(err, pawl.ErrNotFound) && !errors.Is(err, pawl.ErrRunning) {
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
					_, err = client.Insert(t.Context(), pawl.JobSpec{Args: Note{w}, Delay: delay, Priority: random.IntN(3), MaxAttempts: 3})
					inserted.Add(1)
				case 3:
					_, err = client.Cancel(t.Context(), any)
				case 4:
					_, err = client.Delete(t.Context(), any)
				case 5:
					_, err = client.Retry(t.Context(), any)
				case 12:
					priority := random.IntN(3)
					_, err = client.Update(t.Context(), any, pawl.JobUpdate{Priority: &priority, Delay: time.Duration(random.IntN(20)) * time.Millisecond})
				case 6:
					_, err = pool.Exec(t.Context(), "update pawl.lease set expires_at = clock_timestamp() where random() < 0.3 and expires_at is not null")
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
	check(t, client)
	pgtest.Wait(t, "all that is left to be finished", func() bool {
		elapse(t, pool)
		expire(t, pool)
		jobs, err := client.Claim(t.Context(), "default", 1000, 0)
		if err != nil {
			t.Fatal(err)
		}
		return !fail(client.Complete(t.Context(), jobs)) && live(t, pool) == 0
	})
}
