package pawl_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// Rule 7: unclaim reaches the server before its claim. The claim then fails as a whole.
func TestAClaimAfterItsUnclaimFails(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	id := insert(t, client, Note{1})
	if n := value[int](t, pool, "select pawl.unclaim($1)", aLease); n != 0 {
		t.Errorf("unclaim gave back %d jobs", n)
	}
	if _, err := pool.Exec(t.Context(), "select * from pawl.claim($1::uuid, null, null, 1, array['default'], array[0], "+
		"array[''], array[0::bigint], array[9223372036854775807], array[1])", aLease); err == nil {
		t.Error("the claim that had been undone was carried out")
	}
	if n := value[int](t, pool, "select pawl.unclaim($1)", aLease); n != 0 {
		t.Errorf("unclaim again gave back %d jobs", n)
	}
	if got := claim(t, client, 1); got[0].ID != id {
		t.Errorf("claimed %d, want %d", got[0].ID, id)
	}
	expireLeases(t, pool)
	if n := value[int](t, pool, "select count(*) from pawl.lease"); n != 0 {
		t.Errorf("%d leases are left, tombstones among them", n)
	}
}

// Rule 7: unclaim waits for a claim that is under way.
func TestUnclaimWaitsForItsClaim(t *testing.T) {
	tombstone := `insert into pawl.lease (id, expires_at, jobs, epochs)
  values (unclaim.lease, clock_timestamp() + interval '1 minute', '{}', '{}')
  on conflict (id) do nothing;
  if found then`
	checkRule(t, "claim/unclaim", tombstone, "if not exists (select from pawl.lease l where l.id = unclaim.lease) then",
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
				return early || value[int](t, pool, "select count(*) from pg_stat_activity where datname = current_database() "+
					"and wait_event_type = 'Lock'") == 1
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

func TestUnclaimReturnsClaimedJobs(t *testing.T) {
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
		t.Error("an undone claim counted as a crash")
	}
	// A claim that failed on the server: unclaim waits for it, too, and gives back nothing.
	insert(t, client, Note{3})
	tx := begin(t, pool)
	claimTickets(t, tx, "00000000-0000-4000-8000-000000000002", nil, 1)
	returned := make(chan int, 1)
	go func() { returned <- value[int](t, pool, "select pawl.unclaim('00000000-0000-4000-8000-000000000002')") }()
	awaitBlocked(t, pool, 1)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := <-returned; n != 0 {
		t.Errorf("unclaim gave back %d jobs of a claim that was rolled back", n)
	}
	claim(t, client, 1)
}
