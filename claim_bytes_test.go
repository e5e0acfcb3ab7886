package pawl_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

// lowerClaimBytes makes the limit of a claim 5 MB.
func lowerClaimBytes(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	exec(t, pool, `do $$ declare f text; begin
		for f in select replace(replace(pg_get_functiondef(p.oid), ' 268435456', ' 5000000'), '> 1048576', '> 10000')
			from pg_proc p where p.pronamespace = 'pawl'::regnamespace
				and p.proname = any ('{claim,claim_bounded,check_claim_size}') loop
			execute f;
		end loop;
	end $$`)
}

// insertLarge inserts jobs of 1 MB by SQL, each of which takes 12 kB on disk, and one small job after each fifth.
func insertLarge(t testing.TB, pool *pgxpool.Pool, n int) []pawl.ID {
	t.Helper()
	ids := values[int64](t, pool, fmt.Sprintf(`select pawl.insert('note', jsonb_build_object('n', i, 's',
		repeat('x', case when i %% 6 = 0 then 1 else 1000000 end))) from generate_series(1, %d) i`, n))
	jobs := make([]pawl.ID, len(ids))
	for i, id := range ids {
		jobs[i] = pawl.ID(id)
	}
	return jobs
}

// size returns the bytes of the args of jobs.
func size(jobs pawl.Jobs) (bytes int) {
	for _, job := range jobs {
		bytes += len(job.Args)
	}
	return bytes
}

func TestAClaimIsBoundByBytes(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	lowerClaimBytes(t, pool)
	ids := insertLarge(t, pool, 30)
	var got []pawl.ID
	for claims := 0; len(got) < len(ids); claims++ {
		jobs, err := client.Claim(t.Context(), "default", 40, time.Minute)
		must(t, err)
		if size(jobs) > 5_000_000 || len(jobs) == 0 {
			t.Fatalf("claim %d has %d jobs of %d bytes, want 1 to 5 MB", claims, len(jobs), size(jobs))
		}
		if claims > 8 {
			t.Fatalf("%d claims gave %d jobs: they take too little", claims, len(got))
		}
		for _, job := range jobs {
			got = append(got, job.ID)
		}
		must(t, client.Complete(t.Context(), jobs))
	}
	if !slices.Equal(got, ids) {
		t.Errorf("claimed were %v, want %v", got, ids)
	}
	if problems := values[string](t, pool, "select problem from pawl.verify()"); len(problems) > 0 {
		t.Errorf("verify: %v", problems)
	}
}

// The tickets that a claim puts back are claimed by the next one, although the runner has a mark above them.
func TestLargeJobsFlowThroughARunner(t *testing.T) {
	t.Parallel()
	_, pool := install(t)
	lowerClaimBytes(t, pool)
	var mu sync.Mutex
	largest := 0
	onClaim := func(_ context.Context, jobs pawl.Jobs, _ time.Duration, err error) {
		mu.Lock()
		defer mu.Unlock()
		largest = max(largest, size(jobs))
		if err != nil {
			t.Errorf("a claim failed: %v", err)
		}
	}
	client, err := pawl.New(pool, pawl.Config{OnClaim: onClaim})
	must(t, err)
	exec(t, pool, "insert into pawl.queue (name, rate) values ('limited', '{\"n\": 1000, \"per\": 1, \"burst\": 1000}')")
	ids := insertLarge(t, pool, 24)
	exec(t, pool, "update pawl.job set queue = 'limited' where id % 2 = 0")
	exec(t, pool, "update pawl.ready set queue = 'limited' where job_id % 2 = 0")
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error { return nil })
	start(t, client, mux, pawl.RunnerConfig{Max: 40})
	for _, id := range ids {
		await(t, client, id, pawlstate.Completed)
	}
	mu.Lock()
	defer mu.Unlock()
	if largest > 5_000_000 {
		t.Errorf("a claim returned %d bytes, want at most 5 MB", largest)
	}
}

// A job that is larger than the limit is claimed alone.
func TestAJobAboveTheLimitIsClaimedAlone(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	lowerClaimBytes(t, pool)
	for range 3 {
		exec(t, pool, "select pawl.insert('note', jsonb_build_object('s', repeat('x', 6000000)))")
	}
	for range 3 {
		jobs, err := client.Claim(t.Context(), "default", 40, time.Minute)
		must(t, err)
		if len(jobs) != 1 || size(jobs) < 6_000_000 {
			t.Fatalf("claimed %d jobs of %d bytes, want one", len(jobs), size(jobs))
		}
	}
}

// A claim in a transaction of database/sql reads the rows that say that a claim was cut short.
func TestAClaimIsCutShortInATransaction(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	lowerClaimBytes(t, pool)
	ids := insertLarge(t, pool, 12)
	tx := stdTx(t, pool)
	got := 0
	for range ids {
		jobs, err := client.WithSQL(tx).Claim(t.Context(), "default", 40, time.Minute)
		must(t, err)
		if size(jobs) > 5_000_000 {
			t.Errorf("a claim has %d bytes, want at most 5 MB", size(jobs))
		}
		got += len(jobs)
	}
	if got != len(ids) {
		t.Errorf("claimed %d of %d jobs", got, len(ids))
	}
}
