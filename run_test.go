package pawl_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	osexec "os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/localpg"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// gate is a handler that tells when it runs and stays until it is let go or its context ends.
type gate struct {
	running chan *pawl.JobInfo
	leave   chan struct{}
}

func newGate() *gate { return &gate{make(chan *pawl.JobInfo, 1000), make(chan struct{})} }

func (g *gate) handle(ctx context.Context, job *pawl.Job[Note]) error {
	g.running <- job.JobInfo
	select {
	case <-g.leave:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// within is the next value of a channel, that must come soon.
func within[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("after 20 s still waiting for: %s", what)
	}
	return v
}

func TestRunMistakes(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	mux := new(pawl.Mux)
	if err := client.Run(t.Context(), mux, pawl.RunnerConfig{}); err == nil {
		t.Error("Run without a handler returned nil")
	}
	pawl.Handle(mux, newGate().handle)
	if err := client.With(pool).Run(t.Context(), mux, pawl.RunnerConfig{}); err == nil {
		t.Error("Run on a client made by With returned nil")
	}
	for _, config := range []pawl.RunnerConfig{
		{Min: 5, Max: 4}, {Min: -1}, {Max: -1}, {Heartbeat: time.Millisecond}, {PollInterval: -1}, {DrainTimeout: -1},
		{Queues: map[string]pawl.RunnerQueue{}}, {Queues: map[string]pawl.RunnerQueue{"": {}}}, {Queues: map[string]pawl.RunnerQueue{"q": {Max: -1}}},
	} {
		if err := client.Run(t.Context(), mux, config); err == nil {
			t.Errorf("Run accepted %+v", config)
		}
	}
}

func TestRunDrains(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	g := newGate()
	mux := new(pawl.Mux)
	pawl.Handle(mux, g.handle, pawl.KindOptions{Max: 1})
	if _, err := client.InsertMany(t.Context(), notes(5)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- client.Run(ctx, mux, pawl.RunnerConfig{Max: 5}) }()
	first := within(t, "the first job", g.running)
	pgtest.Wait(t, "the others to be claimed", func() bool {
		return value[int](t, pool, "select count(*) from pawl.ready") == 0
	})
	cancel()
	pgtest.Wait(t, "what has not started to be given back", func() bool {
		return value[int](t, pool, "select count(*) from pawl.ready") == 4
	})
	close(g.leave)
	if err := within(t, "Run to return", ended); err != nil {
		t.Errorf("Run: %v", err)
	}
	await(t, client, first.ID, pawlstate.Completed)
	for _, attempt := range values[int](t, pool, "select attempt from pawl.job") {
		if attempt != 0 {
			t.Error("an attempt was used by a job that had not started")
		}
	}
	if n := value[int](t, pool, "select count(*) from pawl.worker where gone_at is null"); n != 0 {
		t.Error("the worker is still registered")
	}
	if n := len(claim(t, client, 10)); n != 4 {
		t.Errorf("%d jobs can be claimed, want 4", n)
	}
}

func TestRunEndsContextsAfterTheDrainTimeout(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	g := newGate()
	mux := new(pawl.Mux)
	pawl.Handle(mux, g.handle)
	id := insert(t, client, pawl.JobSpec{Args: Note{1}, MaxAttempts: 1})
	stop := start(t, client, mux, pawl.RunnerConfig{DrainTimeout: 20 * time.Millisecond})
	within(t, "the job", g.running)
	if err := stop(); err != nil {
		t.Errorf("Run: %v; a handler that heeds its context ended in time", err)
	}
	job := await(t, client, id, pawlstate.Ready)
	if job.Attempt != 0 || len(job.Errors) != 0 {
		t.Errorf("it was given back with attempt %d, errors %v", job.Attempt, job.Errors)
	}
}

func TestRunLeavesAHandlerThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	running, leave, cause := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		close(running)
		<-leave
		cause <- context.Cause(ctx)
		return nil
	})
	id := insert(t, client, Note{1})
	stop := start(t, client, mux, pawl.RunnerConfig{DrainTimeout: 10 * time.Millisecond})
	within(t, "the job", running)
	err := stop()
	if err == nil || !strings.Contains(err.Error(), "drain timeout") {
		t.Errorf("Run returned %v, want it to say that a handler did not end", err)
	}
	again := claim(t, client, 1)
	if again[0].ID != id || again[0].Attempt != 1 {
		t.Errorf("claimed %+v", again[0])
	}
	close(leave)
	if err := within(t, "the handler", cause); !errors.Is(err, pawl.ErrShutdown) {
		t.Errorf("the cause was %v, want ErrShutdown", err)
	}
	if err := client.Complete(t.Context(), again); err != nil {
		t.Errorf("its new holder: %v", err)
	}
}

// most runs n jobs in handlers that count how many run at once.
type most struct{ now, peak atomic.Int32 }

func (m *most) enter() (leave func()) {
	n := m.now.Add(1)
	for {
		p := m.peak.Load()
		if n <= p || m.peak.CompareAndSwap(p, n) {
			return func() { m.now.Add(-1) }
		}
	}
}

func TestMaxOfAKind(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	var m most
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		defer m.enter()()
		_, err := pool.Exec(ctx, "select pg_sleep(0.005)")
		return err
	}, pawl.KindOptions{Max: 2})
	if _, err := client.InsertMany(t.Context(), notes(40)); err != nil {
		t.Fatal(err)
	}
	start(t, client, mux, pawl.RunnerConfig{Max: 20})
	pgtest.Wait(t, "all to be done", func() bool { return live(t, pool) == 0 })
	if p := m.peak.Load(); p != 2 {
		t.Errorf("%d ran at once, want 2", p)
	}
}

func TestMaxOfARunner(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	var m most
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		defer m.enter()()
		_, err := pool.Exec(ctx, "select pg_sleep(0.005)")
		return err
	})
	if _, err := client.InsertMany(t.Context(), notes(60)); err != nil {
		t.Fatal(err)
	}
	start(t, client, mux, pawl.RunnerConfig{Max: 3, Min: 3})
	pgtest.Wait(t, "all to be done", func() bool { return live(t, pool) == 0 })
	if p := m.peak.Load(); p > 3 {
		t.Errorf("%d ran at once, want at most 3", p)
	}
}

// A queue's own maximum holds whatever lanes its jobs are in.
func TestMaxOfAQueue(t *testing.T) {
	for name, place := range map[string]func(i int) pawl.JobSpec{
		"one lane":   func(i int) pawl.JobSpec { return pawl.JobSpec{} },
		"priorities": func(i int) pawl.JobSpec { return pawl.JobSpec{Priority: i % 5} },
		"channels":   func(i int) pawl.JobSpec { return pawl.JobSpec{Channel: fmt.Sprint(i % 5)} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			var small, large most
			mux := new(pawl.Mux)
			pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
				m := &large
				if job.Queue == "small" {
					m = &small
				}
				defer m.enter()()
				_, err := pool.Exec(ctx, "select pg_sleep(0.002)")
				return err
			})
			jobs := notes(80)
			for i := range jobs {
				args := jobs[i].Args
				jobs[i] = place(i / 2)
				jobs[i].Args, jobs[i].Queue = args, []string{"small", "large"}[i%2]
			}
			foreign := insert(t, client, pawl.JobSpec{Args: Note{0}, Queue: "foreign"})
			if _, err := client.InsertMany(t.Context(), jobs); err != nil {
				t.Fatal(err)
			}
			start(t, client, mux, pawl.RunnerConfig{Max: 16, Queues: map[string]pawl.RunnerQueue{"small": {Max: 2, Weight: 3}, "large": {}}})
			pgtest.Wait(t, "all to be done", func() bool { return live(t, pool) == 2 })
			if p := small.peak.Load(); p > 2 {
				t.Errorf("%d of the queue ran at once, want at most 2", p)
			}
			await(t, client, foreign, pawlstate.Ready)
		})
	}
}

func TestTransactionalCompletion(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	exec(t, pool, "create table effect (n int)")
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "insert into effect values ($1)", job.Args.N); err != nil {
				return err
			}
			if err := client.With(tx).Complete(ctx, job); err != nil {
				return err
			}
			if job.Args.N%3 == 1 && job.Attempt == 1 {
				return errBoom // And nothing of it must remain.
			}
			return nil
		})
		if err == nil && job.Args.N%3 == 2 {
			return errBoom // Too late: it is completed.
		}
		return err
	}, pawl.KindOptions{Backoff: pawl.Backoff{Base: time.Millisecond, Growth: 1}})
	const n = 60
	results, err := client.InsertMany(t.Context(), notes(n))
	if err != nil {
		t.Fatal(err)
	}
	start(t, client, mux, pawl.RunnerConfig{})
	for _, r := range results {
		await(t, client, r.ID, pawlstate.Completed)
	}
	if got := values[int](t, pool, "select n from effect order by n"); len(got) != n {
		t.Errorf("%d effects of %d jobs", len(got), n)
	}
}

// A job completed in a transaction whose holder had lost it: the transaction is told to roll back.
func TestTransactionalCompletionAfterTheLease(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	insert(t, client, Note{1})
	stale := claim(t, client, 1)
	expire(t, pool)
	for _, in := range []*pawl.Client{client.With(begin(t, pool)), client.WithSQL(stdTx(t, pool))} {
		if err := in.Complete(t.Context(), stale); !errors.Is(err, pawl.ErrLeaseLost) {
			t.Errorf("got %v, want ErrLeaseLost", err)
		}
	}
}

func TestAnIdleRunnerIsWoken(t *testing.T) {
	t.Parallel()
	client, pool := install(t, listens)
	g := newGate()
	close(g.leave)
	mux := new(pawl.Mux)
	pawl.Handle(mux, g.handle)
	start(t, client, mux, pawl.RunnerConfig{PollInterval: hour, NoMaintenance: true})
	for _, doing := range []struct {
		what string
		do   func()
	}{
		{"Insert", func() { insert(t, client, Note{1}) }},
		{"another lane", func() { insert(t, client, pawl.JobSpec{Args: Note{1}, Priority: 7, Queue: "new", Channel: "c"}) }},
		{"a transaction", func() {
			tx := begin(t, pool)
			insert(t, client.With(tx), Note{1})
			commit(t, tx)
		}},
		{"a delay", func() { insert(t, client, pawl.JobSpec{Args: Note{1}, Delay: 50 * time.Millisecond}) }},
		{"a resume", func() {
			exec(t, pool, "insert into pawl.queue (name, paused) values ('held', true)")
			insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "held"})
			if err := client.ResumeQueue(t.Context(), "held"); err != nil {
				t.Fatal(err)
			}
		}},
		{"a release", func() {
			exec(t, pool, "update pawl.queue set paused = true")
			insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "held"})
			exec(t, pool, "update pawl.queue set paused = false")
			jobs, err := client.Claim(t.Context(), "held", 1, 0)
			if err != nil {
				t.Fatal(err)
			}
			if len(jobs) == 1 { // Else the runner, woken by the insert, was quicker.
				if err := client.Release(t.Context(), jobs, 0); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"many in one of several queues", func() { // More than the share of the queue in a claim.
			if _, err := client.InsertMany(t.Context(), notes(2000)); err != nil {
				t.Fatal(err)
			}
			for range 1999 {
				within(t, "all of the jobs", g.running)
			}
		}},
	} {
		asleep(t, pool, 1)
		doing.do()
		within(t, "a job after "+doing.what, g.running)
	}
}

// The runner has gone to sleep by the time the handler fails: it must know when to try again all the same.
func TestARetryOfTheRunnersOwnIsNotSleptThrough(t *testing.T) {
	t.Parallel()
	client, pool := install(t, listens)
	for _, outcome := range []error{pawl.RetryAfter(0, errBoom), pawl.RetryAfter(20*time.Millisecond, errBoom), pawl.Snooze(20 * time.Millisecond)} {
		running, leave := make(chan struct{}, 10), make(chan struct{})
		mux := new(pawl.Mux)
		first := true
		pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
			running <- struct{}{}
			if !first {
				return nil
			}
			first = false
			<-leave
			return outcome
		})
		insert(t, client, Note{1})
		stop := start(t, client, mux, pawl.RunnerConfig{PollInterval: hour, NoMaintenance: true})
		within(t, "the first run", running)
		asleep(t, pool, 1)
		close(leave)
		within(t, "the second run after "+outcome.Error(), running)
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestCancelEndsTheHandler(t *testing.T) {
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
	within(t, "the job", g.running)
	if n, err := client.Cancel(t.Context(), id); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if err := within(t, "the handler's context to end", causes); !errors.Is(err, pawl.ErrCancelled) {
		t.Errorf("the cause was %v, want ErrCancelled", err)
	}
	await(t, client, id, pawlstate.Cancelled)
}

func TestALostHeartbeat(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	var mu sync.Mutex
	var causes []error
	held := make(chan struct{}, 10)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		mu.Lock()
		again := len(causes) > 0
		mu.Unlock()
		if again {
			return nil
		}
		held <- struct{}{}
		<-ctx.Done()
		mu.Lock()
		causes = append(causes, context.Cause(ctx))
		mu.Unlock()
		return nil
	})
	id := insert(t, client, Note{1})
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: 300 * time.Millisecond, NoMaintenance: true})
	within(t, "the job", held)
	exec(t, pool, "delete from pawl.worker")
	pgtest.Wait(t, "the runner to know", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(causes) > 0
	})
	if !errors.Is(causes[0], pawl.ErrLeaseLost) {
		t.Errorf("the cause was %v, want ErrLeaseLost", causes[0])
	}
	// Again and again: what the runner claims while it does not know yet is lost a second time.
	pgtest.Wait(t, "the job to run again", func() bool {
		exec(t, pool, "select * from pawl.rescue(100, true, true)")
		return live(t, pool) == 0
	})
	if job := await(t, client, id, pawlstate.Completed); job.Attempt != 1 {
		t.Errorf("attempt %d, want 1: a rescue uses none", job.Attempt)
	}
}

// Between a heartbeat's question and its answer many jobs finish. They are not lost, and not to be searched for in the archive, one
// after the other: that once took longer than the heartbeat may be silent.
func TestFinishedJobsAreNotTakenForLost(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	exec(t, pool, `create sequence pawl.searched;
		create or replace function pawl.find_finished(ids bigint[], epochs integer[]) returns setof bigint language sql as 'select nextval(''pawl.searched'') limit 0'`)
	exec(t, pool, `create or replace function pawl.find_missing(ids bigint[], epochs integer[]) returns bigint[] language sql as
		'select pg_sleep(0.2); select coalesce(array_agg(u.id), ''{}'') from unnest(ids, epochs) u (id, epoch) where not exists (select from pawl.job j where (j.id, j.epoch) = (u.id, u.epoch))'`)
	mux := new(pawl.Mux)
	var done atomic.Int64
	pawl.Handle(mux, func(ctx context.Context, _ *pawl.Job[Note]) error {
		select { // Long enough that a heartbeat finds it held.
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
	pgtest.Wait(t, "all jobs", func() bool { return live(t, pool) == 0 })
	if done.Load() != n {
		t.Errorf("%d jobs ran, want %d", done.Load(), n)
	}
	if value[bool](t, pool, "select is_called from pawl.searched") {
		t.Error("jobs that finished were searched for in the archive")
	}
}

// The server goes away while jobs are inserted and run, twice, once without notice.
func TestTheServerRestarts(t *testing.T) {
	t.Parallel()
	// Durable: without that a server stopped without notice forgets what it has confirmed.
	server, err := localpg.Start(t.Context(), localpg.Config{Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	url := pgtest.Reach(t, server)
	if err := migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	client, pool := connect(t, url)
	var ran atomic.Int64
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		ran.Add(1)
		return nil
	})
	for range 3 {
		if _, err := client.InsertMany(t.Context(), notes(3000)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var inserts sync.WaitGroup
	var mu sync.Mutex
	var accepted []pawl.ID
	for range 2 {
		inserts.Go(func() {
			for ctx.Err() == nil {
				if result, err := client.Insert(ctx, Note{1}); err == nil {
					mu.Lock()
					accepted = append(accepted, result.ID)
					mu.Unlock()
				}
			}
		})
	}
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: time.Second})
	for i, mode := range []string{localpg.Immediate, localpg.Fast} {
		before := ran.Load()
		pgtest.Wait(t, "jobs to run", func() bool { return ran.Load() > before+int64(500*(i+1)) })
		if err := server.Restart(t.Context(), mode); err != nil {
			t.Fatal(err)
		}
	}
	before := ran.Load()
	pgtest.Wait(t, "jobs to run again", func() bool { return ran.Load() > before })
	cancel()
	inserts.Wait()
	pgtest.Wait(t, "all to be done", func() bool {
		var n int
		err := pool.QueryRow(t.Context(), "select count(*) from pawl.job").Scan(&n)
		return err == nil && n == 0
	})
	ids := make([]int64, len(accepted))
	for i, id := range accepted {
		ids[i] = int64(id)
	}
	if n := value[int](t, pool, "select count(*) from unnest($1::bigint[]) u (id) where not exists (select from pawl.archive a where a.id = u.id)", ids); n != 0 {
		t.Errorf("%d of %d accepted jobs are lost", n, len(ids))
		exec(t, pool, "set enable_bitmapscan = off")
		for range 10 {
			t.Log(values[string](t, pool, "select row(u.id, (select row(a.id, a.state) from pawl.archive a where a.id + 0 = u.id), (select max(id) from pawl.archive), (select max(id) from pawl.job))::text from unnest($1::bigint[]) u (id) where not exists (select from pawl.archive a where a.id = u.id)", ids))
		}
	}
	if n := value[int](t, pool, "select count(*) - count(distinct id) from pawl.archive"); n != 0 {
		t.Errorf("%d jobs were completed twice", n)
	}
	if n := value[int](t, pool, "select count(*) from pawl.dead"); n != 0 {
		t.Errorf("%d jobs are dead", n)
	}
}

// A failover to a server that was behind brings back what was confirmed: here, a lease whose jobs the worker has completed. It lives,
// and knows nothing of them: they must not be held for as long as it does.
func TestALeaseItsWorkerDoesNotKnow(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error { return nil })
	id := insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "elsewhere"})
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: 200 * time.Millisecond, Queues: map[string]pawl.RunnerQueue{"default": {}}})
	pgtest.Wait(t, "the worker", func() bool { return value[int](t, pool, "select count(*) from pawl.worker") == 1 })
	exec(t, pool, `with ticket as (delete from pawl.ready returning job_id, epoch),
		job as (update pawl.job set queue = 'default')
		insert into pawl.lease (id, worker_id, jobs, epochs)
		select gen_random_uuid(), (select id from pawl.worker), array[job_id], array[epoch] from ticket`)
	await(t, client, id, pawlstate.Completed)
}

// A process is killed while it holds jobs.
func TestAKilledProcess(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	const n = 8
	results, err := client.InsertMany(t.Context(), notes(n))
	if err != nil {
		t.Fatal(err)
	}
	cmd, _ := childProcess(t, pool)
	pgtest.Wait(t, "the child to hold the jobs", func() bool {
		return value[int](t, pool, "select coalesce(max(running), 0) from pawl.worker where gone_at is null") == n
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error { return nil })
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: 500 * time.Millisecond})
	for _, r := range results {
		if job := await(t, client, r.ID, pawlstate.Completed); job.Attempt != 1 {
			t.Errorf("attempt %d, want 1: a rescue uses none", job.Attempt)
		}
	}
}

// A process is frozen while it holds two jobs and thaws when they run elsewhere. One handler's context ends; the other had returned
// before it could know, and what it answered does not count.
func TestAFrozenProcess(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	waits, returns := insert(t, client, Note{1}), insert(t, client, Note{returnsSoon})
	cmd, lines := childProcess(t, pool)
	pgtest.Wait(t, "the child to hold the jobs", func() bool {
		return value[int](t, pool, "select coalesce(max(running), 0) from pawl.worker where gone_at is null") == 2
	})
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	g, mux := newGate(), new(pawl.Mux)
	pawl.Handle(mux, g.handle)
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: 500 * time.Millisecond, Name: "other"})
	within(t, "the jobs to run elsewhere", g.running)
	within(t, "both", g.running)
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for !told["cause"] || !told["refused"] {
		line := within(t, fmt.Sprintf("the child to say what it lost; it said %v", told), lines)
		told["cause"] = told["cause"] || strings.Contains(line, "handler ended: "+pawl.ErrLeaseLost.Error())
		told["refused"] = told["refused"] || strings.Contains(line, "outcome not delivered") && strings.Contains(line, pawl.ErrLeaseLost.Error())
	}
	for _, id := range []pawl.ID{waits, returns} {
		if job := await(t, client, id, pawlstate.Running); job.Attempt != 1 {
			t.Errorf("attempt %d, want 1", job.Attempt)
		}
	}
	cmd.Process.Kill()
	close(g.leave)
	for _, id := range []pawl.ID{waits, returns} {
		if job := await(t, client, id, pawlstate.Completed); job.Worker != "other" {
			t.Errorf("job %d was completed by %s", id, job.Worker)
		}
	}
	if n := value[int](t, pool, "select count(*) from pawl.archive"); n != 2 {
		t.Errorf("%d archived, want 2", n)
	}
}

// A job that kills its process is found and put away, and its neighbours, rescued with it, all complete.
func TestAPoisonousJob(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	jobs := make([]pawl.JobSpec, 100)
	for i := range jobs {
		jobs[i].Args = Note{1000 + i}
	}
	jobs[50].Args = Note{kills}
	results, err := client.InsertMany(t.Context(), jobs)
	if err != nil {
		t.Fatal(err)
	}
	const most = 3
	killed := 0
	for live(t, pool) > 0 {
		cmd, lines := childProcess(t, pool)
		ended := make(chan struct{})
		go func() {
			for range lines {
			}
			close(ended)
		}()
		pgtest.Wait(t, "the process to end, or to have done all there is", func() bool {
			select {
			case <-ended:
				return true
			default:
				return live(t, pool) == 0
			}
		})
		cmd.Process.Kill()
		<-ended
		cmd.Wait()
		if live(t, pool) > 0 {
			if killed++; killed > most {
				t.Fatalf("%d processes were killed, want at most %d; %d jobs are live", killed, most, live(t, pool))
			}
		}
	}
	for i, r := range results {
		if i == 50 {
			await(t, client, r.ID, pawlstate.Dead)
			if reason := value[string](t, pool, "select reason from pawl.dead"); reason != "poison" {
				t.Errorf("it is dead of %s, want poison", reason)
			}
		} else if job := await(t, client, r.ID, pawlstate.Completed); job.Attempt != 1 {
			t.Errorf("job %d: attempt %d, want 1", r.ID, job.Attempt)
		}
	}
}

// childProcess starts the test binary as a worker. lines is what it says, closed at its end.
func childProcess(t *testing.T, pool *pgxpool.Pool) (*osexec.Cmd, <-chan string) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := osexec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+pool.Config().ConnString())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := make(chan string, 10_000)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(out)
		for scanner.Scan() {
			lines <- scanner.Text()
		}
	}()
	return cmd, lines
}

// childEnv makes the test binary a worker on the database it names.
const childEnv = "PAWL_TEST_CHILD_URL"

const (
	returnsSoon = 500  // A handler that does not look at its context.
	kills       = 666  // Kills its process.
	obeys       = 1000 // From here on the handler just returns.
)

func child(url string) int {
	pool, err := pgxpool.New(context.Background(), url)
	if err != nil {
		return 1
	}
	client, err := pawl.New(pool, pawl.Config{Logger: slog.New(slog.NewTextHandler(os.Stdout, nil))})
	if err != nil {
		return 1
	}
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		switch n := job.Args.N; {
		case n >= obeys:
			<-time.After(20 * time.Millisecond)
			fmt.Println("done", n)
		case n == kills:
			<-time.After(10 * time.Millisecond)
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		case n == returnsSoon:
			<-time.After(3 * time.Second) // Passes while the process is frozen.
		default:
			<-ctx.Done()
			fmt.Println("handler ended:", context.Cause(ctx))
			select {}
		}
		return nil
	})
	client.Run(context.Background(), mux, pawl.RunnerConfig{Heartbeat: 200 * time.Millisecond})
	return 1
}
