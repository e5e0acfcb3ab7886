package pawl_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

func TestAHeartbeatLearnsOfACancelledJob(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	g := newGate()
	causes := make(chan error, 1)
	mux := new(pawl.Mux)
	mux.Use(func(ctx context.Context, job *pawl.JobInfo, next func(context.Context) error) error {
		err := next(ctx)
		causes <- err
		return nil
	})
	pawl.Handle(mux, g.handle)
	id := insert(t, client, Note{1})
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: 200 * time.Millisecond, NoMaintenance: true})
	receive(t, "the job", g.running)
	if n, err := client.Cancel(t.Context(), id); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if err := receive(t, "the handler's context to end", causes); !errors.Is(err, pawl.ErrCancelled) {
		t.Errorf("the cause was %v, want ErrCancelled", err)
	}
	await(t, client, id, pawlstate.Cancelled)
}

func TestAStaleWorkerRegistersAgain(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	var mu sync.Mutex
	var causes []error
	claimed := make(chan struct{}, 10)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		mu.Lock()
		again := len(causes) > 0
		mu.Unlock()
		if again {
			return nil
		}
		claimed <- struct{}{}
		<-ctx.Done()
		mu.Lock()
		causes = append(causes, context.Cause(ctx))
		mu.Unlock()
		return nil
	})
	id := insert(t, client, Note{1})
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: 300 * time.Millisecond, NoMaintenance: true})
	receive(t, "the job", claimed)
	exec(t, pool, "delete from pawl.worker")
	pgtest.Wait(t, "the runner to know", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(causes) > 0
	})
	if !errors.Is(causes[0], pawl.ErrLeaseLost) {
		t.Errorf("the cause was %v, want ErrLeaseLost", causes[0])
	}
	// More than one rescue may be needed: jobs that the runner claims before it knows are lost a second time.
	pgtest.Wait(t, "the job to run again", func() bool {
		exec(t, pool, "select * from pawl.rescue(100, true, true)")
		return liveRows(t, pool) == 0
	})
	if job := await(t, client, id, pawlstate.Completed); job.Attempt != 1 {
		t.Errorf("attempt %d, want 1: a rescue uses none", job.Attempt)
	}
}

// Many jobs finish while a heartbeat is under way. The database does not find them, but they are not lost. To search
// the archive for them took longer than a heartbeat may be silent.
func TestJobsThatFinishDuringAHeartbeatAreNotLost(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	exec(t, pool, `create sequence pawl.searched;
		create or replace function pawl.find_finished(ids bigint[], epochs integer[])
		returns table (id bigint, state text)
		language sql as 'select nextval(''pawl.searched''), ''completed'' limit 0'`)
	exec(t, pool, `create or replace function pawl.find_missing(ids bigint[], epochs integer[]) returns bigint[]
		language sql as 'select pg_sleep(0.2);
			select coalesce(array_agg(u.id), ''{}'') from unnest(ids, epochs) u (id, epoch)
			where not exists (select from pawl.job j where (j.id, j.epoch) = (u.id, u.epoch))'`)
	mux := new(pawl.Mux)
	var done atomic.Int64
	pawl.Handle(mux, func(ctx context.Context, _ *pawl.Job[Note]) error {
		select { // Long enough that a heartbeat reports the job.
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
		done.Add(1)
		return ctx.Err()
	})
	const n = 3000
	if _, err := client.InsertMany(t.Context(), notes(n)); err != nil {
		t.Fatal(err)
	}
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: 700 * time.Millisecond})
	pgtest.Wait(t, "all jobs", func() bool { return liveRows(t, pool) == 0 })
	if done.Load() != n {
		t.Errorf("%d jobs ran, want %d", done.Load(), n)
	}
	if value[bool](t, pool, "select is_called from pawl.searched") {
		t.Error("jobs that finished were searched for in the archive")
	}
}

// A failover to a server that lagged takes back confirmed transactions: here it brings back a lease whose jobs the
// worker has completed. The worker lives and does not know the lease. Its jobs must not stay claimed for as long.
func TestALeaseThatItsWorkerDoesNotKnowIsGivenBack(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error { return nil })
	id := insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "elsewhere"})
	queues := map[string]pawl.RunnerQueue{"default": {}}
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: 200 * time.Millisecond, Queues: queues})
	registered := func() bool { return value[int](t, pool, "select count(*) from pawl.worker") == 1 }
	pgtest.Wait(t, "the worker", registered)
	exec(t, pool, `with ticket as (delete from pawl.ready returning job_id, epoch),
		job as (update pawl.job set queue = 'default')
		insert into pawl.lease (id, worker_id, jobs, epochs)
		select gen_random_uuid(), (select id from pawl.worker), array[job_id], array[epoch] from ticket`)
	await(t, client, id, pawlstate.Completed)
}

func TestASuspendedWorkerThatRegistersAgainStaysSuspended(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	mux := new(pawl.Mux)
	var ran atomic.Int32
	pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error { ran.Add(1); return nil })
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: 100 * time.Millisecond, NoMaintenance: true})
	registered := func() bool { return value[int](t, pool, "select count(*) from pawl.worker") == 1 }
	pgtest.Wait(t, "the worker", registered)
	w := theWorker(t, client)
	must(t, client.SuspendWorker(t.Context(), w.ID))
	awaitHeartbeat(t, client, pool)
	exec(t, pool, "delete from pawl.worker")
	pgtest.Wait(t, "the worker to register again", registered)
	if again := theWorker(t, client); again.ID == w.ID || again.State != "suspended" {
		t.Errorf("the worker registered again as %+v, want it suspended", again)
	}
	insert(t, client, Note{1})
	must(t, client.StopWorker(t.Context(), theWorker(t, client).ID))
	pgtest.Wait(t, "the worker to stop", func() bool { return theWorker(t, client).State == "stopped" })
	if ran.Load() != 0 {
		t.Error("a suspended worker ran a job")
	}
}
