package pawl_test

import (
	"context"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
)

func TestASleepingRunnerIsWoken(t *testing.T) {
	t.Parallel()
	client, pool := install(t, withListen)
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
		{"another lane", func() {
			insert(t, client, pawl.JobSpec{Args: Note{1}, Priority: 7, Queue: "new", Channel: "c"})
		}},
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
			if len(jobs) == 1 { // Otherwise the insert woke the runner, and the runner was quicker.
				if err := client.Release(t.Context(), jobs, 0); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"many in one of several queues", func() { // These are more than the share of the queue in a claim.
			if _, err := client.InsertMany(t.Context(), notes(2000)); err != nil {
				t.Fatal(err)
			}
			for range 1999 {
				receive(t, "all of the jobs", g.running)
			}
		}},
	} {
		awaitSleepers(t, pool, 1)
		doing.do()
		receive(t, "a job after "+doing.what, g.running)
	}
}

// The runner is asleep when the handler returns. It must still know when the next attempt is due.
func TestASleepingRunnerRunsTheNextAttemptInTime(t *testing.T) {
	t.Parallel()
	client, pool := install(t, withListen)
	for _, outcome := range []error{
		pawl.RetryAfter(0, errBoom), pawl.RetryAfter(20*time.Millisecond, errBoom), pawl.Snooze(20 * time.Millisecond),
	} {
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
		receive(t, "the first run", running)
		awaitSleepers(t, pool, 1)
		close(leave)
		receive(t, "the second run after "+outcome.Error(), running)
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}
