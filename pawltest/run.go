package pawltest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/hook"
)

// WorkOptions are for Work; the zero value works.
type WorkOptions struct {
	Context context.Context         // The handler's gets its values and its end. If nil, the test's.
	Prepare func(job *pawl.JobInfo) // Changes the job before it runs: its Attempt, its Checkpoint.
}

// Work runs the handler of args' kind and returns what it answered, a panic as *pawl.PanicError. args may be a JobSpec. They go
// through their JSON, and middleware, timeout and all of KindOptions are as in a runner, but there is no database: Progress and
// Checkpoint keep nothing, a Step is done, and a handler that completes its job by hand is for [RunOne], as is a Client.Semaphore and
// the question what becomes of the job. A handler of chunks gets a chunk of one.
func Work(t testing.TB, mux *pawl.Mux, args pawl.Args, options ...WorkOptions) error {
	t.Helper()
	var o WorkOptions
	if len(options) > 0 {
		o = options[0]
	}
	if o.Context == nil {
		o.Context = t.Context()
	}
	answer, mistake := hook.Work(o.Context, mux, args, func(job any) {
		if o.Prepare != nil {
			o.Prepare(job.(*pawl.JobInfo))
		}
	})
	if mistake != nil {
		t.Fatalf("pawltest: Work: %v", mistake)
	}
	return answer
}

// RunOne runs exactly one ready job, the first one in the order of queues by name and of a runner within, and returns it as it is
// then: completed, scheduled for a retry, dead. It ends the test if none is ready, telling what there is, or if the job's kind has no
// handler; that job stays ready.
func RunOne(t testing.TB, client *pawl.Client, mux *pawl.Mux) *pawl.JobInfo {
	t.Helper()
	due(t, client, "", "RunOne")
	job := runOne(t, client, mux, "", "RunOne")
	if job == nil {
		t.Fatalf("pawltest: RunOne: no job can be run (a ready one neither if its queue is paused or at a limit, or a transaction has it locked); %s", there(t.Context(), client, ""))
	}
	return job
}

const mostAttempts = 10_000 // By then handlers make work faster than they do it.

// Drain runs ready jobs of queue until there is none, those that become ready by it included, and says how many attempts that
// were. What is scheduled for later when it starts, or by what it runs, stays: see [Advance]. It ends the test after 10,000 attempts.
func Drain(t testing.TB, client *pawl.Client, mux *pawl.Mux, queue string) int {
	t.Helper()
	if queue == "" {
		t.Fatal(`pawltest: Drain: name a queue; that of jobs inserted without one is "default"`)
	}
	due(t, client, queue, "Drain")
	for n := 0; ; n++ {
		if n == mostAttempts {
			t.Fatalf("pawltest: Drain: queue %q is not empty after %d attempts: its handlers give back or insert as much as they finish; %s",
				queue, n, there(t.Context(), client, queue))
		}
		if runOne(t, client, mux, queue, "Drain") == nil {
			return n
		}
	}
}

func due(t testing.TB, client *pawl.Client, queue, verb string) {
	t.Helper()
	if err := hook.Due(t.Context(), client, queue); err != nil {
		t.Fatalf("pawltest: %s: %v", verb, err)
	}
}

func runOne(t testing.TB, client *pawl.Client, mux *pawl.Mux, queue, verb string) *pawl.JobInfo {
	t.Helper()
	job, err := hook.RunOne(t.Context(), client, mux, queue)
	if err != nil {
		t.Fatalf("pawltest: %s: %v", verb, err)
	}
	if job == nil {
		return nil
	}
	return job.(*pawl.JobInfo)
}

// Advance lets d pass for all jobs of the client's schema: what is due within d, first runs and retries, is due when it returns, in
// its order, and the rest is due by so much earlier. Reservations, the times for which unique keys are kept, and the leases of Claim
// run out likewise, and rates of queues refill. Crons do not tick, and the database's clock is as it was.
func Advance(t testing.TB, client *pawl.Client, d time.Duration) {
	t.Helper()
	if d <= 0 {
		t.Fatalf("pawltest: Advance by %v: want a positive duration", d)
	}
	if err := hook.Advance(t.Context(), client, d); err != nil {
		t.Fatalf("pawltest: Advance: %v", err)
	}
}

// Permit makes a KindOptions.Permit that gives the answers in turn, the last one for ever, and nil if there are none. nil lets the job run; an
// error or an outcome, such as pawl.Snooze(time.Minute), becomes of the job what it says.
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
