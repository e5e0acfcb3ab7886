package pawl_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// A login that may connect and nothing else holds every advisory lock that Pawl has ever used. Nothing stands still:
// rescue, partitions, limits, semaphores, ordered channels, follow-ups, repair, sleeping runners and Await go on, with
// less speed where a lock is only a hint. Doctor names the session.
func TestAStrangerHoldsEveryAdvisoryLock(t *testing.T) {
	t.Parallel()
	r := installRoles(t)
	ctx := t.Context()
	client, pool := r.client, r.pool
	must(t, client.PutQueue(ctx, pawl.Queue{Name: "limited", MaxRunning: 1}))
	holdAdvisoryLocks(t, r)

	// Rescue.
	lost := insert(t, client, Note{1})
	worker := value[int64](t, pool, r.in("select pawl.register_worker('w', 'h', 1, 'v', null, '0 seconds')"))
	exec(t, pool, r.in(`insert into pawl.lease (id, worker_id, jobs, epochs)
		select gen_random_uuid(), $1, array[j.id], array[j.epoch] from pawl.job j`), worker)
	exec(t, pool, r.in("delete from pawl.ready"))
	exec(t, pool, r.in("select * from pawl.rescue(100, true, true)"))
	jobs, err := client.Claim(ctx, "default", 1, time.Minute)
	must(t, err)
	if len(jobs) != 1 || jobs[0].ID != lost {
		t.Fatalf("claimed %v, want the job that was lost", jobs)
	}
	// A semaphore, partitions, a limit.
	release, err := client.Semaphore(1, func(*pawl.JobInfo) []string { return []string{"key"} })(ctx, jobs[0])
	must(t, err)
	release()
	must(t, client.MakePartitions(ctx))
	insert(t, client, pawl.JobSpec{Args: Note{2}, Queue: "limited"})
	if jobs, err := client.Claim(ctx, "limited", 1, time.Minute); err != nil || len(jobs) != 1 {
		t.Errorf("claimed %d of a limited queue: %v", len(jobs), err)
	}
	// Ordered channels: insert, halt, resume, retry, repair.
	must(t, client.PutQueue(ctx, pawl.Queue{Name: "default", HaltOnDead: true}))
	must(t, client.Complete(ctx, jobs))
	head := insert(t, client, ordered("c", 3))
	insert(t, client, ordered("c", 4))
	jobs, err = client.Claim(ctx, "default", 1, time.Minute)
	must(t, err)
	must(t, client.Fail(ctx, jobs, pawl.Dead(errBoom)))
	wantCount(t, 1)(client.Retry(ctx, head))
	jobs, err = client.Claim(ctx, "default", 1, time.Minute)
	must(t, err)
	must(t, client.Fail(ctx, jobs, pawl.Dead(errBoom)))
	must(t, client.ResumeChannel(ctx, "default", "c"))
	exec(t, pool, r.in("delete from pawl.ordered_job"))
	findings, err := client.Repair(ctx)
	must(t, err)
	if len(findings) == 0 || !findings[0].Repaired {
		t.Errorf("repaired %+v", findings)
	}
	if jobs, err = client.Claim(ctx, "default", 1, time.Minute); err != nil || len(jobs) != 1 {
		t.Errorf("claimed %d of the channel: %v", len(jobs), err)
	}
	must(t, client.Complete(ctx, jobs))

	// A runner that would sleep starts a new job within a few polls.
	mux := new(pawl.Mux)
	running := make(chan int, 1)
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error { running <- job.Args.N; return nil })
	start(t, client, mux, pawl.RunnerConfig{Queues: map[string]pawl.RunnerQueue{"quiet": {}},
		PollInterval: 200 * time.Millisecond})
	awaited := make(chan error, 1)
	for n := range 3 {
		id := insert(t, client, pawl.JobSpec{Args: Note{n}, Queue: "quiet"})
		go func() {
			_, err := client.Await(ctx, id)
			awaited <- err
		}()
		for _, event := range []string{"start", "return to Await"} {
			timer := time.After(15 * time.Second)
			select {
			case <-running:
			case err := <-awaited:
				must(t, err)
			case <-timer:
				t.Fatalf("job %d did not %s", n, event)
			}
		}
	}

	found, err := client.Doctor(ctx)
	must(t, err)
	named := false
	for _, f := range found {
		named = named || f.Check == "advisory-lock"
	}
	if !named {
		t.Errorf("Doctor does not name the stranger: %+v", found)
	}
}

// holdAdvisoryLocks opens a session of a login without rights. Until the end of the test it holds Pawl's advisory
// locks.
func holdAdvisoryLocks(t *testing.T, r *realm) {
	t.Helper()
	_, pool := r.as("nobody")
	conn, err := pool.Acquire(t.Context())
	must(t, err)
	t.Cleanup(conn.Release)
	schema := r.schema
	for _, name := range []string{"rescue", "partitions", "limit limited", "limit default", "limit  key", "sleep *",
		"sleep quiet", "sleep default", "sleep limited", "await *"} {
		exec(t, conn, "select pg_advisory_lock(hashtextextended($1, 0))", schema+"."+name)
	}
	for slot := range 64 {
		exec(t, conn, "select pg_advisory_lock(hashtextextended($1, 0))", fmt.Sprintf("%s.await %d", schema, slot))
	}
	exec(t, conn, "select pg_advisory_lock(hashtext($1), object) from generate_series(0, 1023) object",
		schema+".channel default")
	if n := value[int](t, r.pool, "select count(*) from pg_locks where locktype = 'advisory' and pid = $1",
		int32(conn.Conn().PgConn().PID())); n != 1024+64+10 {
		t.Fatalf("the stranger holds %d locks", n)
	}
	// These are the keys that Pawl uses.
	for _, call := range []string{"sleep_key('*')", "await_key(null)", "await_key(7)"} {
		pgtest.Wait(t, "the key of "+call, func() bool {
			return !value[bool](t, r.pool, r.in("select pg_try_advisory_xact_lock(pawl."+call+")"))
		})
	}
}
