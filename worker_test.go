package pawl_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

func TestASuspendedWorkerClaimsNothingUntilItResumes(t *testing.T) {
	t.Parallel()
	client, pool := install(t, withListen)
	g := newGate()
	mux := new(pawl.Mux)
	pawl.Handle(mux, g.handle)
	queues := map[string]pawl.RunnerQueue{"default": {}}
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: rareBeat, Name: "w", Queues: queues})
	first := insert(t, client, Note{1})
	receive(t, "the job", g.running)
	awaitListeners(t, pool, 1)
	w := theWorker(t, client)
	host, _ := os.Hostname()
	if w.Name != "w" || w.State != "ready" || w.PID != os.Getpid() || w.Host != host ||
		!slices.Equal(w.Queues, []string{"default"}) || w.Stale || w.SeenAt.IsZero() {
		t.Errorf("the worker is %+v", w)
	}
	must(t, client.SuspendWorker(t.Context(), w.ID))
	must(t, client.SuspendWorker(t.Context(), w.ID))
	awaitHeartbeat(t, client, pool)
	second := insert(t, client, Note{2})
	close(g.leave) // The running job goes on to its end.
	await(t, client, first, pawlstate.Completed)
	if w := theWorker(t, client); w.State != "suspended" {
		t.Errorf("the worker is %+v", w)
	}
	if job, err := client.Get(t.Context(), second); err != nil || job.State != pawlstate.Ready {
		t.Errorf("the job is %+v, %v, while the only worker is suspended", job, err)
	}
	must(t, client.ResumeWorker(t.Context(), w.ID))
	await(t, client, second, pawlstate.Completed)
	for name, verb := range map[string]func(context.Context, int64) error{
		"Suspend": client.SuspendWorker, "Resume": client.ResumeWorker, "Stop": client.StopWorker,
	} {
		if err := verb(t.Context(), 999); !errors.Is(err, pawl.ErrNotFound) {
			t.Errorf("%s of no worker: %v, want ErrNotFound", name, err)
		}
	}
}

func TestAStoppedWorkerDrains(t *testing.T) {
	t.Parallel()
	client, pool := install(t, withListen)
	g := newGate()
	mux := new(pawl.Mux)
	pawl.Handle(mux, g.handle)
	first := insert(t, client, Note{1})
	ended := make(chan error, 1)
	go func() { ended <- client.Run(t.Context(), mux, pawl.RunnerConfig{Heartbeat: rareBeat}) }()
	receive(t, "the job", g.running)
	awaitListeners(t, pool, 1)
	w := theWorker(t, client)
	must(t, client.StopWorker(t.Context(), w.ID))
	if err := client.SuspendWorker(t.Context(), w.ID); err == nil || errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("suspend a stopping worker: %v", err)
	}
	select {
	case err := <-ended:
		t.Fatalf("Run ended with a job running: %v", err)
	default:
	}
	close(g.leave)
	must(t, receive(t, "Run to end", ended))
	await(t, client, first, pawlstate.Completed)
	if w := theWorker(t, client); w.State != "stopped" {
		t.Errorf("the worker is %+v", w)
	}
	if err := client.StopWorker(t.Context(), w.ID); !errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("stop a worker that is gone: %v, want ErrNotFound", err)
	}
	wantCount(t, 0)(client.PurgeWorkers(t.Context(), time.Hour))
	wantCount(t, 1)(client.PurgeWorkers(t.Context(), 0))
}

func TestReleaseWorkerGivesItsJobsBack(t *testing.T) {
	t.Parallel()
	client, pool := install(t, withListen)
	running, causes := make(chan *pawl.JobInfo, 10), make(chan error, 10)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		running <- job.JobInfo
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return nil
	})
	id := insert(t, client, Note{1})
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: rareBeat})
	job := receive(t, "the job", running)
	awaitListeners(t, pool, 1)
	w := theWorker(t, client)
	must(t, client.SuspendWorker(t.Context(), w.ID))
	awaitHeartbeat(t, client, pool)
	wantCount(t, 1)(client.ReleaseWorker(t.Context(), w.ID))
	wantCount(t, 0)(client.ReleaseWorker(t.Context(), w.ID))
	if err := receive(t, "the handler's context to end", causes); !errors.Is(err, pawl.ErrLeaseLost) {
		t.Errorf("the cause was %v, want ErrLeaseLost", err)
	}
	if n := value[int](t, pool, "select count(*) from pawl.lease where worker_id is not null"); n != 0 {
		t.Errorf("%d leases are left", n)
	}
	if crashes := value[int](t, pool, "select crashes from pawl.job where id = $1", int64(id)); crashes != 0 {
		t.Errorf("the job has %d crashes, want none", crashes)
	}
	again := claim(t, client, 1)
	if again[0].ID != id || again[0].Attempt != job.Attempt {
		t.Errorf("claimed %+v", again[0])
	}
	must(t, client.Complete(t.Context(), again))
	if _, err := client.ReleaseWorker(t.Context(), 999); !errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("release of no worker: %v, want ErrNotFound", err)
	}
}

// A completion is under way when its worker is released. It counts, and the job is not given back.
func TestReleaseWorkerLeavesAJobThatCompletes(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	if _, err := client.InsertMany(t.Context(), notes(2)); err != nil {
		t.Fatal(err)
	}
	worker := value[int64](t, pool, "select pawl.register_worker('w', 'h', 1, 'v', null, '1 minute')")
	ids := claimTickets(t, pool, aLease, &worker, 2)
	tx := begin(t, pool)
	exec(t, tx, `select pawl.complete(array[j.id], array[j.epoch], array[0]::bigint[], array[0]::bigint[],
		array[null]::text[], 'w', '{}', '{}') from pawl.job j where j.id = $1`, ids[0])
	released := make(chan int64, 1)
	go func() {
		n, err := client.ReleaseWorker(t.Context(), worker)
		if err != nil {
			t.Error(err)
		}
		released <- n
	}()
	awaitBlocked(t, pool, 1)
	commit(t, tx)
	if n := receive(t, "the release", released); n != 1 {
		t.Errorf("%d jobs were released, want the other one", n)
	}
	await(t, client, pawl.ID(ids[0]), pawlstate.Completed)
	await(t, client, pawl.ID(ids[1]), pawlstate.Ready)
	exec(t, pool, "select pawl.unregister_worker($1)", worker)
}

func TestPurgeWorkersKeepsAWorkerWithLeases(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	insert(t, client, Note{1})
	worker := value[int64](t, pool, "select pawl.register_worker('w', 'h', 1, 'v', null, '1 minute')")
	claimTickets(t, pool, aLease, &worker, 1)
	exec(t, pool, "update pawl.worker set gone_at = now() - interval '2 hours', state = 'lost'")
	wantCount(t, 0)(client.PurgeWorkers(t.Context(), time.Hour))
	exec(t, pool, "select * from pawl.rescue(100, true, true)")
	wantCount(t, 1)(client.PurgeWorkers(t.Context(), time.Hour))
}

func TestWorkersReportAgeSilenceAndStaleness(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	for _, staleAfter := range []string{"1 hour", "-1 hour"} {
		for _, gone := range []bool{false, true} {
			exec(t, pool, `insert into pawl.worker
				(name, host, pid, version, started_at, seen_at, stale_after, state, gone_at)
				values ('w', 'h', 1, 'v', clock_timestamp() - interval '2 hours',
				clock_timestamp() - interval '30 s', $1::interval,
				case when $2 then 'lost' else 'ready' end, case when $2 then clock_timestamp() end)`, staleAfter, gone)
		}
	}
	workers, err := client.Workers(t.Context())
	must(t, err)
	if len(workers) != 4 {
		t.Fatalf("there are %d workers, want 4", len(workers))
	}
	for i, w := range workers {
		if w.Age < 2*time.Hour || w.Age > 2*time.Hour+time.Minute ||
			w.Silent < 30*time.Second || w.Silent > 90*time.Second {
			t.Errorf("worker %d has the age %v and was silent for %v", w.ID, w.Age, w.Silent)
		}
		if w.Stale != (i == 2) || w.GoneAt.IsZero() != (i%2 == 0) {
			t.Errorf("worker %d: stale %t, gone at %v", i, w.Stale, w.GoneAt)
		}
	}
}
