package pawl_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// A book collects a log as lines of JSON.
type book struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// jobs returns what the lines with a message say about their jobs.
func (b *book) jobs(t testing.TB, message string) (jobs []map[string]any) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for line := range bytes.Lines(b.text.Bytes()) {
		var said struct {
			Msg string
			Job map[string]any
		}
		if err := json.Unmarshal(line, &said); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if said.Msg == message {
			jobs = append(jobs, said.Job)
		}
	}
	return jobs
}

// Every line about a job has the same fields, and so has a line of a handler that logs "job", job.
func TestLogLinesNameTheirJob(t *testing.T) {
	t.Parallel()
	b := &book{}
	logger := slog.New(slog.NewJSONHandler(b, nil))
	client, _ := install(t, func(c *pawl.Config) { c.Logger = logger })
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error {
		logger.Info("at work", "job", job)
		return pawl.RetryAfter(time.Hour, errBoom)
	})
	ids := []pawl.ID{
		insert(t, client, pawl.JobSpec{Args: Note{1}, Queue: "mail", Channel: "acme"}),
		insert(t, client, pawl.JobSpec{Args: pawl.Raw("nobody", nil), Queue: "mail", Channel: "acme"}),
	}
	stop := start(t, client, mux, pawl.RunnerConfig{Name: "me",
		OnFailure: func(context.Context, *pawl.JobInfo, error, bool) { panic("boom") }})
	for message, want := range map[string]struct {
		id   pawl.ID
		kind string
	}{
		"at work": {ids[0], "note"}, "pawl: job failed": {ids[0], "note"}, "pawl: OnFailure panicked": {ids[0], "note"},
		"pawl: no handler for this kind; the job is released for a minute": {ids[1], "nobody"},
	} {
		pgtest.Wait(t, message, func() bool { return len(b.jobs(t, message)) > 0 })
		job := b.jobs(t, message)[0]
		if len(job) != 6 || job["id"] != float64(want.id) || job["kind"] != want.kind || job["queue"] != "mail" ||
			job["channel"] != "acme" || job["attempt"] != 1.0 || job["worker"] != "me" {
			t.Errorf("%s: the job is %v", message, job)
		}
	}
	must(t, stop())
	logger.Info("none", "job", pawl.JobFromContext(t.Context()))
	if job := b.jobs(t, "none"); len(job) != 1 || job[0] != nil {
		t.Errorf("no job is %v", job)
	}
}

func TestOutcomeOf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err    error
		state  pawlstate.State
		failed bool
	}{
		{nil, pawlstate.Completed, false}, {pawl.ErrSkip, pawlstate.Completed, false},
		{errBoom, pawlstate.Scheduled, true}, {pawl.RetryAfter(0, errBoom), pawlstate.Scheduled, true},
		{pawl.Snooze(time.Second), pawlstate.Scheduled, false},
		{pawl.Cancel(nil), pawlstate.Cancelled, false},
		{fmt.Errorf("wrapped: %w", pawl.Cancel(errBoom)), pawlstate.Cancelled, false},
		{pawl.Dead(errBoom), pawlstate.Dead, true},
	} {
		if state, failed := pawl.OutcomeOf(test.err); state != test.state || failed != test.failed {
			t.Errorf("the outcome of %v is %s, failed %t, want %s, %t", test.err, state, failed, test.state, test.failed)
		}
	}
}

func TestOnClaimIsCalledForEachClaim(t *testing.T) {
	t.Parallel()
	type said struct {
		jobs []pawl.ID
		took time.Duration
		err  error
	}
	heard := make(chan said, 10)
	tell := true
	client, pool := install(t, func(c *pawl.Config) {
		c.OnClaim = func(ctx context.Context, jobs pawl.Jobs, took time.Duration, err error) {
			s := said{took: took, err: err}
			for _, job := range jobs {
				s.jobs = append(s.jobs, job.ID)
			}
			heard <- s
			if tell {
				panic("boom")
			}
		}
	})
	if jobs, err := client.Claim(t.Context(), "default", 1, 0); err != nil || len(jobs) != 0 {
		t.Fatal(jobs, err)
	}
	id := insert(t, client, Note{1})
	claim(t, client, 1)
	if s := receive(t, "the claim", heard); len(s.jobs) != 1 || s.jobs[0] != id || s.took <= 0 || s.took > time.Minute ||
		s.err != nil {
		t.Errorf("heard of %+v, want job %d alone: the claim before found nothing", s, id)
	}
	exec(t, pool, "alter table pawl.lease rename to other")
	insert(t, client, Note{1})
	if _, err := client.Claim(t.Context(), "default", 1, 0); err == nil {
		t.Error("claimed without leases")
	}
	exec(t, pool, "alter table pawl.other rename to lease")
	if s := receive(t, "the failed claim", heard); len(s.jobs) != 0 || s.err == nil {
		t.Errorf("heard of %+v, want an error", s)
	}
	tell = false
	mux := new(pawl.Mux)
	done := make(chan pawl.ID, 1)
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error { done <- job.ID; return nil })
	start(t, client, mux, pawl.RunnerConfig{})
	ran := receive(t, "the job", done)
	if s := receive(t, "the runner's claim", heard); len(s.jobs) != 1 || s.jobs[0] != ran {
		t.Errorf("heard of %+v, want job %d", s, ran)
	}
}
