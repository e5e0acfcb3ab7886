package pawltest

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

// WorkOptions are options of Work. The zero value is ready to use.
type WorkOptions struct {
	// Context is the parent of the handler's context. It defaults to the test's context.
	Context context.Context
	// Prepare, if not nil, changes the job before it runs, for instance its Attempt or its Checkpoint.
	Prepare func(job *pawl.JobInfo)
}

// Work runs the handler of args without a database and returns the handler's error. If the handler panics, Work
// returns a [*pawl.PanicError]. args may be a [pawl.JobSpec]. They are marshalled to JSON and back. Middleware and
// KindOptions apply as in a runner.
//
// Progress and Checkpoint store nothing, and a Step always runs. For a handler that completes its job by hand or
// takes a Client.Semaphore, and to learn what state the job gets, use [RunOne].
func Work(t testing.TB, mux *pawl.Mux, args pawl.Args, options ...WorkOptions) error {
	t.Helper()
	var o WorkOptions
	if len(options) > 0 {
		o = options[0]
	}
	if o.Context == nil {
		o.Context = t.Context()
	}
	job, err := jobOf(t.Context(), args)
	if err != nil {
		t.Fatalf("pawltest: Work: %v", err)
	}
	requireHandler(t, mux, job.Kind, "Work")
	if o.Prepare != nil {
		o.Prepare(job)
	}
	return mux.Work(o.Context, job)
}

// errFilled ends the insert of jobOf before anything is inserted.
var errFilled = errors.New("pawltest: the job has its defaults")

// jobOf returns the job that a runner would have if args were inserted by a client without settings, and claimed.
func jobOf(ctx context.Context, args pawl.Args) (*pawl.JobInfo, error) {
	var spec pawl.JobSpec
	client, err := pawl.New(nil, pawl.Config{
		InsertMiddleware: []func(context.Context, []pawl.JobSpec, func(context.Context) error) error{
			func(_ context.Context, jobs []pawl.JobSpec, _ func(context.Context) error) error {
				spec = jobs[0]
				return errFilled
			},
		},
	})
	if err != nil {
		return nil, err
	}
	if _, err := client.Insert(ctx, args); !errors.Is(err, errFilled) {
		return nil, err
	}
	if err := client.Validate(spec); err != nil {
		return nil, err
	}
	now := time.Now()
	job := &pawl.JobInfo{
		ID: 1, Kind: spec.Kind(), Queue: spec.Queue, Channel: spec.Channel, Fingerprint: spec.Fingerprint,
		Worker: "pawltest", Data: spec.Data, Headers: spec.Headers, Priority: spec.Priority, Attempt: spec.Attempt + 1,
		MaxAttempts: spec.MaxAttempts, Ordered: spec.Ordered, UniqueKey: spec.Unique.Key, Errors: spec.Errors,
		State:     pawlstate.Running,
		CreatedAt: now, RunAt: spec.RunAt, StartedAt: now,
	}
	if job.Queue == "" {
		job.Queue = "default"
	}
	if job.MaxAttempts == 0 {
		job.MaxAttempts = 20
	}
	switch args := spec.Args.(type) {
	case pawl.RawArgs:
		job.Args = args.JSON
	case *pawl.RawArgs:
		job.Args = args.JSON
	default:
		job.Args, err = json.Marshal(args)
	}
	return job, err
}

// requireHandler ends the test if the mux has no handler for a kind.
func requireHandler(t testing.TB, mux *pawl.Mux, kind, verb string) {
	t.Helper()
	if kinds := mux.Kinds(); !slices.Contains(kinds, kind) && !slices.Contains(kinds, "*") {
		t.Fatalf("pawltest: %s: no handler for kind %q: register one with Handle; the mux has %q", verb, kind, kinds)
	}
}

// RunOne runs one ready job and returns it in its new state, such as completed, scheduled for a retry, or dead. It
// takes the queues in the order of their names, and the jobs of a queue in a runner's order. If no job is ready,
// RunOne ends the test and lists the jobs that exist. If the job's kind has no handler, it ends the test and the job
// stays ready.
func RunOne(t testing.TB, client *pawl.Client, mux *pawl.Mux) *pawl.JobInfo {
	t.Helper()
	queues, err := client.Queues(t.Context())
	if err != nil {
		t.Fatalf("pawltest: RunOne: %v", err)
	}
	for _, queue := range queues {
		if job := runOne(t, client, mux, queue.Name, "RunOne"); job != nil {
			return job
		}
	}
	t.Fatalf("pawltest: RunOne: no job can be run (a ready job cannot if its queue is paused or at a limit, "+
		"or if a transaction has locked it); %s",
		there(t.Context(), client, ""))
	return nil
}

const mostAttempts = 10_000 // More attempts mean that handlers insert jobs without end.

// Drain runs the ready jobs of a queue until there is none, and returns the number of attempts. It also runs jobs
// that these attempts make ready. It does not run jobs that are scheduled for a later time, even if that time comes
// while Drain runs: see [Advance]. It ends the test after 10,000 attempts.
func Drain(t testing.TB, client *pawl.Client, mux *pawl.Mux, queue string) int {
	t.Helper()
	if queue == "" {
		t.Fatal(`pawltest: Drain: name a queue; that of jobs inserted without one is "default"`)
	}
	later := newSchedule(t, client, queue)
	defer later.restore()
	for n := 0; ; n++ {
		if n == mostAttempts {
			t.Fatalf("pawltest: Drain: queue %q is not empty after %d attempts: "+
				"its handlers give back or insert as much as they finish; %s",
				queue, n, there(t.Context(), client, queue))
		}
		later.holdBack()
		if runOne(t, client, mux, queue, "Drain") == nil {
			return n
		}
	}
}

// runOne claims a job of a queue and runs its handler. It returns nil if there is no job to run.
func runOne(t testing.TB, client *pawl.Client, mux *pawl.Mux, queue, verb string) *pawl.JobInfo {
	t.Helper()
	ctx := t.Context()
	job, err := claim(ctx, client, queue)
	if err != nil {
		t.Fatalf("pawltest: %s: %v", verb, err)
	}
	if job == nil {
		return nil
	}
	unfinished := &pawl.PanicError{Value: "the handler ended its goroutine (runtime.Goexit)"}
	run := attempt{client: client, job: job, result: unfinished}
	defer func() { _ = run.finish(ctx) }() // It stores the result even if the handler ends the test.
	if kinds := mux.Kinds(); !slices.Contains(kinds, job.Kind) && !slices.Contains(kinds, "*") {
		if err := client.Release(ctx, job, 0); err != nil {
			t.Errorf("pawltest: %s: %v", verb, err)
		}
		run.finished = true
		requireHandler(t, mux, job.Kind, verb)
	}
	run.result = mux.Work(ctx, job)
	if err := run.finish(ctx); err != nil {
		t.Fatalf("pawltest: %s: %v", verb, err)
	}
	now, err := client.Get(ctx, job.ID)
	if errors.Is(err, pawl.ErrNotFound) { // Its queue keeps no finished jobs.
		job.State, _ = pawl.OutcomeOf(run.result)
		if job.State == pawlstate.Scheduled { // It was the last attempt.
			job.State = pawlstate.Dead
		}
		return job
	}
	if err != nil {
		t.Fatalf("pawltest: %s: %v", verb, err)
	}
	return now
}

// lease is as long as go test lets a test run.
const lease = 10 * time.Minute

// claim claims a job of a queue, or returns nil. A claim that returns no job may have removed one whose args do not
// decode: then there may be another.
func claim(ctx context.Context, client *pawl.Client, queue string) (*pawl.JobInfo, error) {
	for before := int64(-1); ; {
		jobs, err := client.Claim(ctx, queue, 1, lease)
		if err != nil {
			return nil, err
		}
		if len(jobs) > 0 {
			return jobs[0], nil
		}
		ready, err := client.Count(ctx, pawl.Filter{Queue: queue, States: []pawlstate.State{pawlstate.Ready}})
		if err != nil || ready == 0 || ready == before {
			return nil, err
		}
		before = ready
	}
}

// attempt is a run of a handler whose result is to be stored once.
type attempt struct {
	client   *pawl.Client
	job      *pawl.JobInfo
	result   error
	finished bool
}

func (a *attempt) finish(ctx context.Context) error {
	if a.finished {
		return nil
	}
	a.finished = true
	ctx = context.WithoutCancel(ctx)
	var err error
	if a.result == nil {
		err = a.client.Complete(ctx, a.job)
	} else {
		err = a.client.Fail(ctx, a.job, a.result)
	}
	if errors.Is(err, pawl.ErrLeaseLost) {
		return nil // The handler or another process has finished the job, and RunOne returns it in that state.
	}
	return err
}

// Permit returns a function for KindOptions.Permit that returns the given errors one after the other, and then the
// last one again and again. nil lets the job run. An error or an outcome, such as pawl.Snooze(time.Minute), is
// treated as if the handler had returned it. Without arguments every job runs.
func Permit(answers ...error) func(ctx context.Context, job *pawl.JobInfo) (release func(), err error) {
	var mu sync.Mutex
	return func(context.Context, *pawl.JobInfo) (func(), error) {
		mu.Lock()
		defer mu.Unlock()
		var answer error
		if len(answers) > 0 {
			answer = answers[0]
		}
		if len(answers) > 1 {
			answers = answers[1:]
		}
		if answer != nil {
			return nil, answer
		}
		return func() {}, nil
	}
}
