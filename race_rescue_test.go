package pawl_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

// Rule 6: a lease is deleted with its last job, not before.
func TestALeaseIsDeletedWithItsLastJob(t *testing.T) {
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
		checkInvariant(t, client)
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

// Rules 3 and 6: rescue skips a locked job and keeps its lease for the next time.
func TestRescueKeepsTheLeaseOfALockedJob(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	if _, err := client.InsertMany(t.Context(), notes(2)); err != nil {
		t.Fatal(err)
	}
	jobs := claim(t, client, 2)
	locker := begin(t, pool)
	exec(t, locker, "select from pawl.job where id = $1 for update", int64(jobs[0].ID))
	expireLeases(t, pool)
	checkInvariant(t, client)
	if n := value[int](t, pool, "select count(*) from pawl.lease"); n != 1 {
		t.Errorf("%d leases, want that of the locked job", n)
	}
	commit(t, locker)
	expireLeases(t, pool)
	if got := claim(t, client, 10); len(got) != 2 {
		t.Errorf("%d jobs were redelivered, want 2", len(got))
	}
}

// A hundred expired leases of locked jobs must not keep a claim busy while the locks last.
func TestRescueReturnsWhenAllJobsAreLocked(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	if _, err := client.InsertMany(t.Context(), notes(101)); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		claim(t, client, 1)
	}
	locker := begin(t, pool)
	exec(t, locker, "select from pawl.job for update")
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

// Section 4, rule 6: a worker that is no longer registered claims nothing.
func TestAnUnregisteredWorkerClaimsNothing(t *testing.T) {
	checkRule(t, "claim/claim", "w.id = claim.worker and w.gone_at is null and (w.pid <> 0 or w.state = 'ready')", "true",
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

// Section 4, rule 6: a worker is found lost between its claim and the commit of the claim. Within a minute every
// rescue finds its leases; later a sweep of all leases does.
func TestAWorkerLostDuringItsClaimLosesTheJob(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, gone, sweep string }{{"lately", "1 second", "false"},
		{"long ago", "1 hour", "true"}} {
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

// Section 6: no worker is lost before the server has been up for the worker's limit. A rescuer that was cut off
// itself finds no worker lost.
func TestAWorkerIsLostOnlyAfterItsTime(t *testing.T) {
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
func TestAJobIsDeadAfterThreeCrashes(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	victim := insert(t, client, pawl.JobSpec{Args: Note{0}, Priority: 100})
	other := insert(t, client, pawl.JobSpec{Args: Note{0}, Priority: 100})
	claim(t, client, 2)
	insert(t, client, pawl.JobSpec{Args: Note{1}, Priority: -100})
	expireLeases(t, pool)
	jobs := claim(t, client, 2)
	if got := numbers(t, jobs); len(got) != 2 || got[0] != 0 || got[1] != 0 {
		t.Fatalf("claimed %v, want the two of the lost lease before a job of higher priority", got)
	}
	if err := client.Complete(t.Context(), claim(t, client, 1)); err != nil {
		t.Fatal(err)
	}
	expireLeases(t, pool)
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
	expireLeases(t, pool)
	job := await(t, client, victim, pawlstate.Dead)
	if job.Reason != "poison" || job.Attempt != 0 {
		t.Errorf("dead for %q with attempt %d, want poison and 0: rescue uses no attempt", job.Reason, job.Attempt)
	}
	if err := client.Complete(t.Context(), jobs); !errors.Is(err, pawl.ErrLeaseLost) {
		t.Errorf("its last holder completed it: %v", err)
	}
}
