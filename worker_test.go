package pawl_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// A heartbeat that does not come by itself within a test.
const rareBeat = 10 * time.Minute

// listening waits until n sessions of the test's database listen.
func listening(t testing.TB, pool *pgxpool.Pool, n int) {
	t.Helper()
	pgtest.Wait(t, "somebody to listen", func() bool {
		return value[int](t, pool, `select count(*) from pg_stat_activity where datname = current_database() and query like 'listen %' and state = 'idle'
			or datname = current_database() and query like '%sleep_key%' and state = 'idle'`) >= n
	})
}

func theWorker(t testing.TB, client *pawl.Client) pawl.Worker {
	t.Helper()
	workers, err := client.Workers(t.Context())
	if err != nil || len(workers) != 1 {
		t.Fatalf("workers are %+v, %v; want one", workers, err)
	}
	return workers[0]
}

// hear waits until the only worker has made a heartbeat and acted on it.
func hear(t testing.TB, client *pawl.Client, pool *pgxpool.Pool) {
	t.Helper()
	for range 2 { // The second begins when the first has been acted on.
		now := value[time.Time](t, pool, "select clock_timestamp()")
		pgtest.Wait(t, "a heartbeat", func() bool {
			exec(t, pool, "select pawl.poke_heartbeats()")
			return theWorker(t, client).SeenAt.After(now)
		})
	}
}

func TestSuspendAndResumeWorker(t *testing.T) {
	t.Parallel()
	client, pool := install(t, listens)
	g := newGate()
	mux := new(pawl.Mux)
	pawl.Handle(mux, g.handle)
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: rareBeat, Name: "w", Queues: map[string]pawl.RunnerQueue{"default": {}}})
	first := insert(t, client, Note{1})
	within(t, "the job", g.running)
	listening(t, pool, 1)
	w := theWorker(t, client)
	host, _ := os.Hostname()
	if w.Name != "w" || w.State != "ready" || w.PID != os.Getpid() || w.Host != host || !slices.Equal(w.Queues, []string{"default"}) || w.Stale || w.SeenAt.IsZero() {
		t.Errorf("the worker is %+v", w)
	}
	must(t, client.SuspendWorker(t.Context(), w.ID))
	must(t, client.SuspendWorker(t.Context(), w.ID))
	hear(t, client, pool)
	second := insert(t, client, Note{2})
	close(g.leave) // What runs goes on to its end.
	await(t, client, first, pawlstate.Completed)
	if w := theWorker(t, client); w.State != "suspended" {
		t.Errorf("the worker is %+v", w)
	}
	if job, err := client.Get(t.Context(), second); err != nil || job.State != pawlstate.Ready {
		t.Errorf("the job is %+v, %v, while the only worker is suspended", job, err)
	}
	must(t, client.ResumeWorker(t.Context(), w.ID))
	await(t, client, second, pawlstate.Completed)
	for name, verb := range map[string]func(context.Context, int64) error{"Suspend": client.SuspendWorker, "Resume": client.ResumeWorker, "Stop": client.StopWorker} {
		if err := verb(t.Context(), 999); !errors.Is(err, pawl.ErrNotFound) {
			t.Errorf("%s of none: %v", name, err)
		}
	}
}

func TestStopWorker(t *testing.T) {
	t.Parallel()
	client, pool := install(t, listens)
	g := newGate()
	mux := new(pawl.Mux)
	pawl.Handle(mux, g.handle)
	first := insert(t, client, Note{1})
	ended := make(chan error, 1)
	go func() { ended <- client.Run(t.Context(), mux, pawl.RunnerConfig{Heartbeat: rareBeat}) }()
	within(t, "the job", g.running)
	listening(t, pool, 1)
	w := theWorker(t, client)
	must(t, client.StopWorker(t.Context(), w.ID))
	if err := client.SuspendWorker(t.Context(), w.ID); err == nil || errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("a stopping worker suspended: %v", err)
	}
	select {
	case err := <-ended:
		t.Fatalf("Run ended with a job running: %v", err)
	default:
	}
	close(g.leave)
	must(t, within(t, "Run to end", ended))
	await(t, client, first, pawlstate.Completed)
	if w := theWorker(t, client); w.State != "stopped" {
		t.Errorf("the worker is %+v", w)
	}
	if err := client.StopWorker(t.Context(), w.ID); !errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("a worker that is gone stopped: %v", err)
	}
	must1(t, 0)(client.PurgeWorkers(t.Context(), time.Hour))
	must1(t, 1)(client.PurgeWorkers(t.Context(), 0))
}

func TestReleaseWorker(t *testing.T) {
	t.Parallel()
	client, pool := install(t, listens)
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
	job := within(t, "the job", running)
	listening(t, pool, 1)
	w := theWorker(t, client)
	must(t, client.SuspendWorker(t.Context(), w.ID))
	hear(t, client, pool)
	must1(t, 1)(client.ReleaseWorker(t.Context(), w.ID))
	must1(t, 0)(client.ReleaseWorker(t.Context(), w.ID))
	if err := within(t, "the handler's context to end", causes); !errors.Is(err, pawl.ErrLeaseLost) {
		t.Errorf("the cause was %v, want ErrLeaseLost", err)
	}
	if n := value[int](t, pool, "select count(*) from pawl.lease where worker_id is not null"); n != 0 {
		t.Errorf("%d leases are left", n)
	}
	if crashes := value[int](t, pool, "select crashes from pawl.job where id = $1", int64(id)); crashes != 0 {
		t.Errorf("%d crashes", crashes)
	}
	again := claim(t, client, 1)
	if again[0].ID != id || again[0].Attempt != job.Attempt {
		t.Errorf("claimed %+v", again[0])
	}
	must(t, client.Complete(t.Context(), again))
	if _, err := client.ReleaseWorker(t.Context(), 999); !errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("of none: %v", err)
	}
}

// A completion at work when its worker is released counts, and the job is not given back.
func TestReleaseWorkerWhileAJobCompletes(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	if _, err := client.InsertMany(t.Context(), notes(2)); err != nil {
		t.Fatal(err)
	}
	worker := value[int64](t, pool, "select pawl.register_worker('w', 'h', 1, 'v', null, '1 minute')")
	ids := claimTickets(t, pool, aLease, &worker, 2)
	tx := begin(t, pool)
	exec(t, tx, "select pawl.complete(array[j.id], array[j.epoch], array[0]::bigint[], array[0]::bigint[], array[null]::text[], 'w', '{}', '{}') from pawl.job j where j.id = $1", ids[0])
	released := make(chan int64, 1)
	go func() {
		n, err := client.ReleaseWorker(t.Context(), worker)
		if err != nil {
			t.Error(err)
		}
		released <- n
	}()
	blocked(t, pool, 1)
	commit(t, tx)
	if n := within(t, "the release", released); n != 1 {
		t.Errorf("%d were released, want the other one", n)
	}
	await(t, client, pawl.ID(ids[0]), pawlstate.Completed)
	await(t, client, pawl.ID(ids[1]), pawlstate.Ready)
	exec(t, pool, "select pawl.unregister_worker($1)", worker)
}

func TestPurgeWorkersKeepsWhoHasLeases(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	insert(t, client, Note{1})
	worker := value[int64](t, pool, "select pawl.register_worker('w', 'h', 1, 'v', null, '1 minute')")
	claimTickets(t, pool, aLease, &worker, 1)
	exec(t, pool, "update pawl.worker set gone_at = now() - interval '2 hours', state = 'lost'")
	must1(t, 0)(client.PurgeWorkers(t.Context(), time.Hour))
	exec(t, pool, "select * from pawl.rescue(100, true, true)")
	must1(t, 1)(client.PurgeWorkers(t.Context(), time.Hour))
}

func TestWorkersReportAgeSilenceAndStaleness(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	for _, staleAfter := range []string{"1 hour", "-1 hour"} {
		for _, gone := range []bool{false, true} {
			exec(t, pool, `insert into pawl.worker (name, host, pid, version, started_at, seen_at, stale_after, state, gone_at)
				values ('w', 'h', 1, 'v', clock_timestamp() - interval '2 hours', clock_timestamp() - interval '30 s', $1::interval,
				case when $2 then 'lost' else 'ready' end, case when $2 then clock_timestamp() end)`, staleAfter, gone)
		}
	}
	workers, err := client.Workers(t.Context())
	must(t, err)
	if len(workers) != 4 {
		t.Fatalf("%d workers", len(workers))
	}
	for i, w := range workers {
		if w.Age < 2*time.Hour || w.Age > 2*time.Hour+time.Minute || w.Silent < 30*time.Second || w.Silent > time.Minute+30*time.Second {
			t.Errorf("worker %d has age %v and was silent for %v", w.ID, w.Age, w.Silent)
		}
		if w.Stale != (i == 2) || w.GoneAt.IsZero() != (i%2 == 0) {
			t.Errorf("worker %d: stale %t, gone at %v", i, w.Stale, w.GoneAt)
		}
	}
}

// A Worker that is not in the database cannot claim.
func TestAWorkerThatIsNotRegistered(t *testing.T) {
	t.Parallel()
	worker := &pawl.Worker{Name: "w"}
	if _, err := worker.Claim(t.Context(), "default", 1, 0); err == nil || !strings.Contains(err.Error(), "RegisterWorker") {
		t.Errorf("claimed: %v", err)
	}
	if _, err := worker.Heartbeat(t.Context()); err == nil || !strings.Contains(err.Error(), "RegisterWorker") {
		t.Errorf("sent a heartbeat: %v", err)
	}
}

func TestRegisteredWorker(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	for _, wrong := range []pawl.Worker{{}, {Name: "w", StaleAfter: -1}, {Name: "w\x00"}, {Name: "w", Queues: []string{strings.Repeat("q", 256)}}} {
		if _, err := client.RegisterWorker(t.Context(), wrong); err == nil {
			t.Errorf("%+v was registered", wrong)
		}
	}
	anna, err := client.RegisterWorker(t.Context(), pawl.Worker{Name: "anna", Host: "h", Queues: []string{"default"}, StaleAfter: time.Hour, PID: 7, State: "stopped"})
	must(t, err)
	if _, err := client.InsertMany(t.Context(), notes(6)); err != nil {
		t.Fatal(err)
	}
	jobs := claim(t, anna, 2)
	seen := theWorker(t, client)
	if seen.Name != "anna" || seen.PID != 0 || seen.State != "ready" || seen.Running != 2 || seen.StaleAfter != time.Hour || !slices.Equal(seen.Queues, anna.Queues) {
		t.Errorf("registered is %+v", seen)
	}
	if held := must2(client.Claimed(t.Context(), jobs[0].ID)); len(held) != 1 || held[0].LeaseUntil.IsZero() || held[0].Worker != "anna" {
		t.Errorf("held is %+v", held)
	}
	must(t, client.Complete(t.Context(), jobs[0]))
	if job := await(t, client, jobs[0].ID, pawlstate.Completed); job.Worker != "anna" {
		t.Errorf("it was done by %q", job.Worker)
	}
	if state, err := anna.Heartbeat(t.Context()); state != "ready" || err != nil || theWorker(t, client).Running != 1 {
		t.Errorf("heartbeat: %s, %v; it runs %d", state, err, theWorker(t, client).Running)
	}

	// Suspended it claims nothing, also in a transaction.
	must(t, client.SuspendWorker(t.Context(), anna.ID))
	if state, _ := anna.Heartbeat(t.Context()); state != "suspended" {
		t.Errorf("told to be %q", state)
	}
	if jobs, err := anna.Claim(t.Context(), "default", 1, 0); len(jobs) > 0 || err != nil {
		t.Errorf("a suspended worker claimed %d, %v", len(jobs), err)
	}
	must(t, client.ResumeWorker(t.Context(), anna.ID))
	tx := begin(t, pool)
	workers, err := client.With(tx).Workers(t.Context())
	must(t, err)
	if jobs := claim(t, &workers[0], 1); jobs[0].Worker != "anna" {
		t.Errorf("claimed by %q", jobs[0].Worker)
	}
	must(t, tx.Rollback(t.Context()))

	// Its lease ends by itself, before the worker does.
	expire(t, pool)
	if err := client.Complete(t.Context(), jobs[1]); !errors.Is(err, pawl.ErrLeaseLost) {
		t.Errorf("completed after the lease: %v", err)
	}
	// Taken for dead, it loses what it holds.
	jobs = claim(t, anna, 1)
	exec(t, pool, "update pawl.worker set stale_after = '0'")
	pgtest.Wait(t, "the rescue", func() bool { return value[int](t, pool, "select jobs from pawl.rescue(10, true, true)") == 1 })
	if err := client.Complete(t.Context(), jobs); !errors.Is(err, pawl.ErrLeaseLost) {
		t.Errorf("completed by a lost worker: %v", err)
	}
	if _, err := anna.Heartbeat(t.Context()); !errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("heartbeat of a lost worker: %v", err)
	}
	if _, err := anna.Claim(t.Context(), "default", 1, 0); !errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("claim of a lost worker: %v", err)
	}
	if n, err := client.PurgeWorkers(t.Context(), time.Hour, anna.ID); n != 0 || err == nil || errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("purged %d that were gone for too short: %v", n, err)
	}
	must1(t, 1)(client.PurgeWorkers(t.Context(), 0, anna.ID))
	if n, err := client.PurgeWorkers(t.Context(), 0, anna.ID); n != 0 || !errors.Is(err, pawl.ErrNotFound) {
		t.Errorf("purged %d twice: %v", n, err)
	}

	// Stopped, it is gone at once, and gives back what it holds, without a strike.
	bert, err := client.RegisterWorker(t.Context(), pawl.Worker{Name: "bert"})
	must(t, err)
	jobs = claim(t, bert, 1)
	crashes := "select crashes from pawl.job where id = $1"
	before := value[int](t, pool, crashes, int64(jobs[0].ID))
	if n, err := client.PurgeWorkers(t.Context(), 0, bert.ID); n != 0 || err == nil || !strings.Contains(err.Error(), "StopWorker") {
		t.Errorf("purged %d that live: %v", n, err)
	}
	must(t, client.StopWorker(t.Context(), bert.ID))
	if w := theWorker(t, client); w.State != "stopped" || w.GoneAt.IsZero() || w.StaleAfter != 9*time.Second {
		t.Errorf("stopped is %+v", w)
	}
	await(t, client, jobs[0].ID, pawlstate.Ready)
	if after := value[int](t, pool, crashes, int64(jobs[0].ID)); after != before {
		t.Errorf("%d crashes, before %d", after, before)
	}
	exec(t, pool, "update pawl.worker set gone_at = null, state = 'ready'")
	claim(t, bert, 1)
	exec(t, pool, "update pawl.worker set gone_at = clock_timestamp(), state = 'lost'")
	if n, err := client.PurgeWorkers(t.Context(), 0, bert.ID); n != 0 || err == nil || !strings.Contains(err.Error(), "ReleaseWorker") {
		t.Errorf("purged %d whose jobs are not rescued: %v", n, err)
	}
}
