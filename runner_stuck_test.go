package pawl_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// A deaf handler does not return when its context ends, but when leave is called.
type deaf struct {
	running chan *pawl.JobInfo
	gone    chan struct{}
	leave   func()
}

func newDeaf(t *testing.T) *deaf {
	d := &deaf{running: make(chan *pawl.JobInfo, 1000), gone: make(chan struct{})}
	d.leave = sync.OnceFunc(func() { close(d.gone) })
	t.Cleanup(d.leave)
	return d
}

func (d *deaf) handle(_ context.Context, job *pawl.Job[Note]) error {
	d.running <- job.JobInfo
	<-d.gone
	return nil
}

// stuckNote is what OnStuck was called with.
type stuckNote struct {
	job   *pawl.JobInfo
	cause error
	stack string
}

// soonStuck is a runner that finds stuck handlers soon, and tells of them.
func soonStuck() (pawl.RunnerConfig, chan stuckNote) {
	told := make(chan stuckNote, 100)
	return pawl.RunnerConfig{
		StuckAfter: 50 * time.Millisecond, Heartbeat: 200 * time.Millisecond, DrainTimeout: time.Minute,
		OnStuck: func(_ context.Context, job *pawl.JobInfo, cause error, stack string) {
			told <- stuckNote{job, cause, stack}
		},
	}, told
}

// stuckAndStopped stops a runner whose stuck handlers Run is to name.
func stuckAndStopped(t *testing.T, stop func() error, id pawl.ID) {
	t.Helper()
	says := fmt.Sprintf("stuck and were left behind: job %d (note)", id)
	if err := stop(); err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("Run returned %v, want that it left job %d (note) behind", err, id)
	}
}

func TestAStuckHandlersAttemptFails(t *testing.T) {
	t.Parallel()
	b := &book{}
	client, pool := install(t, func(c *pawl.Config) { c.Logger = slog.New(slog.NewJSONHandler(b, nil)) })
	d := newDeaf(t)
	mux := new(pawl.Mux)
	failures := make(chan error, 1)
	config, told := soonStuck()
	config.OnFailure = func(_ context.Context, _ *pawl.JobInfo, err error, _ bool) { failures <- err }
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		// Labels of the handler's own do not hide its goroutine.
		pprof.Do(ctx, pprof.Labels("mine", "too"), func(ctx context.Context) { _ = d.handle(ctx, job) })
		return nil
	}, pawl.KindOptions{Timeout: 20 * time.Millisecond})
	id := insert(t, client, pawl.JobSpec{Args: Note{1}, MaxAttempts: 1})
	stop := start(t, client, mux, config)
	job := await(t, client, id, pawlstate.Dead)
	e := job.Errors[0]
	if !strings.Contains(e.Error, pawl.ErrTimeout.Error()) || !strings.Contains(e.Stack, "deaf).handle") {
		t.Errorf("the attempt failed with %+v; want ErrTimeout and the handler's stack", e)
	}
	if err := receive(t, "OnFailure", failures); !errors.Is(err, pawl.ErrTimeout) {
		t.Errorf("OnFailure got %v", err)
	}
	s := receive(t, "OnStuck", told)
	if s.job.ID != id || !errors.Is(s.cause, pawl.ErrTimeout) || !strings.Contains(s.stack, "deaf).handle") {
		t.Errorf("OnStuck got job %d, %v and the stack\n%s", s.job.ID, s.cause, s.stack)
	}
	if jobs := b.jobs(t, "pawl: handler is stuck: it did not return after its context ended"); len(jobs) != 1 ||
		jobs[0]["id"] != float64(id) {
		t.Errorf("the log names %v, want job %d once", jobs, id)
	}
	if c := client.Counters()[0]; c.Stuck != 1 || c.Failed != 1 || c.Dead != 1 || c.Completed != 0 {
		t.Errorf("counted %+v", c)
	}
	awaitNoLease(t, pool)
	pgtest.Wait(t, "the heartbeat to report it", func() bool {
		w := theWorker(t, client)
		return len(w.Stuck) == 1 && w.Stuck[0] == "note" && w.Running == 0
	})
	d.leave()
	pgtest.Wait(t, "the late answer to be logged", func() bool {
		return len(b.jobs(t, "pawl: a stuck handler has returned; its result is discarded")) == 1
	})
	pgtest.Wait(t, "the heartbeat to report its end", func() bool { return len(theWorker(t, client).Stuck) == 0 })
	must(t, stop())
	if job := await(t, client, id, pawlstate.Dead); len(job.Errors) != 1 {
		t.Errorf("the late answer changed the job: %+v", job)
	}
}

// The job runs again while the handler is stuck, and the late answer of the first attempt changes nothing.
func TestAStuckJobRunsAgain(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	d := newDeaf(t)
	mux := new(pawl.Mux)
	second := make(chan struct{})
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		if job.Attempt == 1 {
			return d.handle(ctx, job)
		}
		d.leave()
		<-second
		return pawl.Dead(errBoom)
	}, pawl.KindOptions{Timeout: 20 * time.Millisecond, Backoff: pawl.Backoff{Base: time.Millisecond}})
	config, _ := soonStuck()
	config.StuckAfter = time.Second
	id := insert(t, client, Note{1})
	stop := start(t, client, mux, config)
	receive(t, "the first attempt", d.running)
	await(t, client, id, pawlstate.Running)
	receive(t, "the first attempt to end", d.gone)
	close(second)
	if job := await(t, client, id, pawlstate.Dead); job.Attempt != 2 || job.Reason != "handler" {
		t.Errorf("the job has %d attempts and the reason %q; want 2, and the second attempt's", job.Attempt, job.Reason)
	}
	must(t, stop())
}

func TestAStuckHandlerKeepsItsPlace(t *testing.T) {
	t.Parallel()
	for name, replace := range map[string]int{"kept": 0, "replaced": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "default", MaxRunning: 1}))
			d := newDeaf(t)
			mux := new(pawl.Mux)
			pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
				if job.Args.N == 1 {
					return d.handle(ctx, job)
				}
				return nil
			}, pawl.KindOptions{Timeout: 20 * time.Millisecond, Max: 1, ReplaceStuck: replace})
			config, told := soonStuck()
			config.Max = 1
			config.Queues = map[string]pawl.RunnerQueue{"default": {Max: 1}}
			id := insert(t, client, pawl.JobSpec{Args: Note{1}, MaxAttempts: 1})
			stop := start(t, client, mux, config)
			receive(t, "OnStuck", told)
			await(t, client, id, pawlstate.Dead)
			next := insert(t, client, Note{2})
			if replace == 0 {
				awaitHeartbeat(t, client, pool)
				await(t, client, next, pawlstate.Ready)
				if n := value[int](t, pool, "select count(*) from pawl.permit"); n != 1 {
					t.Errorf("%d permits, want that of the stuck handler", n)
				}
				d.leave()
			}
			await(t, client, next, pawlstate.Completed)
			pgtest.Wait(t, "no permit to be left", func() bool {
				return value[int](t, pool, "select count(*) from pawl.permit") == 0
			})
			if replace == 0 {
				must(t, stop())
			} else {
				stuckAndStopped(t, stop, id)
			}
		})
	}
}

// After as many stuck handlers as may be replaced, the next ones keep their places.
func TestOnlySoManyStuckHandlersAreReplaced(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	d := newDeaf(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, d.handle, pawl.KindOptions{Timeout: 20 * time.Millisecond, Max: 1, ReplaceStuck: 2})
	config, told := soonStuck()
	for i := range 4 {
		insert(t, client, pawl.JobSpec{Args: Note{i}, MaxAttempts: 1})
	}
	stop := start(t, client, mux, config)
	for range 3 {
		receive(t, "a handler to be stuck", told)
	}
	awaitRunning := len(d.running)
	if awaitRunning != 3 {
		t.Errorf("%d handlers run, want two that are replaced and one that keeps the place", awaitRunning)
	}
	d.leave()
	receive(t, "the first", d.running)
	receive(t, "the second", d.running)
	receive(t, "the third", d.running)
	receive(t, "the fourth, once the place is free", d.running)
	pgtest.Wait(t, "no handler to be stuck", func() bool { return len(theWorker(t, client).Stuck) == 0 })
	must(t, stop())
}

func TestAStuckHandlerOfACancelledJob(t *testing.T) {
	t.Parallel()
	b := &book{}
	client, pool := install(t, func(c *pawl.Config) { c.Logger = slog.New(slog.NewJSONHandler(b, nil)) })
	must(t, client.PutQueue(t.Context(), pawl.Queue{Name: "default", MaxRunning: 5}))
	d := newDeaf(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, d.handle)
	config, told := soonStuck()
	config.OnFailure = func(_ context.Context, _ *pawl.JobInfo, err error, _ bool) { t.Errorf("OnFailure got %v", err) }
	id := insert(t, client, Note{1})
	stop := start(t, client, mux, config)
	receive(t, "the job", d.running)
	wantCount(t, 1)(client.Cancel(t.Context(), id))
	if s := receive(t, "OnStuck", told); s.job.ID != id || !errors.Is(s.cause, pawl.ErrCancelled) {
		t.Errorf("OnStuck got job %d, %v", s.job.ID, s.cause)
	}
	if n := value[int](t, pool, "select count(*) from pawl.permit"); n != 1 {
		t.Errorf("%d permits, want that of the handler: it still runs", n)
	}
	d.leave()
	pgtest.Wait(t, "the permit to be given back", func() bool {
		return value[int](t, pool, "select count(*) from pawl.permit") == 0 &&
			value[int](t, pool, "select count(*) from pawl.lease") == 0
	})
	must(t, stop())
	if job := await(t, client, id, pawlstate.Cancelled); len(job.Errors) != 0 {
		t.Errorf("the job has errors: %v", job.Errors)
	}
	if c := client.Counters()[0]; c.Stuck != 1 || c.Cancelled != 1 || c.Failed+c.Lost != 0 {
		t.Errorf("counted %+v", c)
	}
	if n := len(b.jobs(t, "pawl: the handler of a cancelled job has returned; its result is discarded")); n != 1 {
		t.Errorf("the late answer was logged %d times", n)
	}
}

// A job that was lost is another worker's. Its stuck handler changes nothing of it.
func TestAStuckHandlerOfALostJob(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	d := newDeaf(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, d.handle, pawl.KindOptions{Max: 1})
	config, told := soonStuck()
	id := insert(t, client, Note{1})
	stop := start(t, client, mux, config)
	receive(t, "the job", d.running)
	exec(t, pool, "update pawl.worker set state = 'suspended'")
	if n, err := client.ReleaseWorker(t.Context(), theWorker(t, client).ID); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	if s := receive(t, "OnStuck", told); !errors.Is(s.cause, pawl.ErrLeaseLost) {
		t.Errorf("the cause is %v", s.cause)
	}
	job := await(t, client, id, pawlstate.Ready)
	if job.Attempt != 0 || len(job.Errors) != 0 {
		t.Errorf("the job has used %d attempts, with errors %v", job.Attempt, job.Errors)
	}
	stuckAndStopped(t, stop, id)
}

// All jobs of a chunk have the one handler. They fail together, and share its place.
func TestAStuckChunk(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	d := newDeaf(t)
	mux := new(pawl.Mux)
	pawl.HandleChunk(mux, func(ctx context.Context, jobs []*pawl.Job[Note]) error {
		return d.handle(ctx, jobs[0])
	}, pawl.KindOptions{Timeout: 200 * time.Millisecond, Max: 1, ReplaceStuck: 1})
	config, told := soonStuck()
	jobs := notes(5)
	for i := range jobs {
		jobs[i].MaxAttempts = 1
	}
	results, err := client.InsertMany(t.Context(), jobs)
	must(t, err)
	stop := start(t, client, mux, config)
	for range jobs {
		receive(t, "OnStuck", told)
	}
	for _, r := range results {
		if job := await(t, client, r.ID, pawlstate.Dead); !strings.Contains(job.Errors[0].Stack, "deaf).handle") {
			t.Errorf("the error is %+v", job.Errors[0])
		}
	}
	d.leave()
	next := insert(t, client, Note{6})
	await(t, client, next, pawlstate.Completed)
	must(t, stop())
	awaitNoLease(t, pool)
}

// awaitNoLease waits until the leases of jobs that have ended are deleted.
func awaitNoLease(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	pgtest.Wait(t, "the lease to be deleted", func() bool {
		return value[int](t, pool, "select count(*) from pawl.lease") == 0
	})
}

// A handler returns in the moment in which it is found stuck. Each job has one outcome, and no place is lost.
func TestAHandlerReturnsWhenItIsFoundStuck(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, _ *pawl.Job[Note]) error {
		<-ctx.Done()
		time.Sleep(5 * time.Millisecond)
		return nil
	}, pawl.KindOptions{Timeout: time.Millisecond, Max: 4, ReplaceStuck: 2})
	config, _ := soonStuck()
	config.StuckAfter, config.OnStuck = 5*time.Millisecond, nil
	jobs := notes(400)
	for i := range jobs {
		jobs[i].MaxAttempts = 1
	}
	_, err := client.InsertMany(t.Context(), jobs)
	must(t, err)
	stop := start(t, client, mux, config)
	pgtest.Wait(t, "all jobs to end", func() bool { return liveRows(t, pool) == 0 })
	pgtest.Wait(t, "no handler to be stuck", func() bool { return len(theWorker(t, client).Stuck) == 0 })
	must(t, stop())
	c := client.Counters()[0]
	if c.Completed+c.Dead != 400 || c.Stuck < c.Dead || c.Lost != 0 {
		t.Errorf("counted %+v", c)
	}
	t.Logf("%d completed, %d were stuck", c.Completed, c.Stuck)
}

func TestADrainNamesTheHandlersThatItLeavesBehind(t *testing.T) {
	t.Parallel()
	b := &book{}
	client, _ := install(t, func(c *pawl.Config) { c.Logger = slog.New(slog.NewJSONHandler(b, nil)) })
	d := newDeaf(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, d.handle)
	id := insert(t, client, Note{1})
	stop := start(t, client, mux, pawl.RunnerConfig{DrainTimeout: 10 * time.Millisecond})
	receive(t, "the job", d.running)
	if err := stop(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("released: job %d (note)", id)) {
		t.Errorf("Run returned %v, want that it left job %d behind", err, id)
	}
	if jobs := b.jobs(t, "pawl: handler left behind"); len(jobs) != 1 || jobs[0]["id"] != float64(id) {
		t.Errorf("the log names %v", jobs)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, want := range []string{fmt.Sprintf(`"jobs":"job %d (note)"`, id), "deaf).handle"} {
		if !strings.Contains(b.text.String(), want) {
			t.Errorf("the log does not say %s", want)
		}
	}
}
