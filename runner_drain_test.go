package pawl_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

func TestADrainingRunReleasesJobsThatHaveNotStarted(t *testing.T) {
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
	first := receive(t, "the first job", g.running)
	pgtest.Wait(t, "the others to be claimed", func() bool {
		return value[int](t, pool, "select count(*) from pawl.ready") == 0
	})
	cancel()
	pgtest.Wait(t, "the jobs that have not started to be released", func() bool {
		return value[int](t, pool, "select count(*) from pawl.ready") == 4
	})
	close(g.leave)
	if err := receive(t, "Run to return", ended); err != nil {
		t.Errorf("Run: %v", err)
	}
	await(t, client, first.ID, pawlstate.Completed)
	for _, attempt := range values[int](t, pool, "select attempt from pawl.job") {
		if attempt != 0 {
			t.Error("a job that had not started used an attempt")
		}
	}
	if n := value[int](t, pool, "select count(*) from pawl.worker where gone_at is null"); n != 0 {
		t.Error("the worker is still registered")
	}
	if n := len(claim(t, client, 10)); n != 4 {
		t.Errorf("%d jobs can be claimed, want 4", n)
	}
}

func TestContextsEndAfterTheDrainTimeout(t *testing.T) {
	t.Parallel()
	client, _ := install(t)
	g := newGate()
	mux := new(pawl.Mux)
	pawl.Handle(mux, g.handle)
	id := insert(t, client, pawl.JobSpec{Args: Note{1}, MaxAttempts: 1})
	stop := start(t, client, mux, pawl.RunnerConfig{DrainTimeout: 20 * time.Millisecond})
	receive(t, "the job", g.running)
	if err := stop(); err != nil {
		t.Errorf("Run: %v, want nil: the handler returned when its context ended", err)
	}
	job := await(t, client, id, pawlstate.Ready)
	if job.Attempt != 0 || len(job.Errors) != 0 {
		t.Errorf("the job was released with attempt %d and errors %v, want neither", job.Attempt, job.Errors)
	}
}

func TestRunReturnsAlthoughAHandlerDoesNot(t *testing.T) {
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
	receive(t, "the job", running)
	err := stop()
	if err == nil || !strings.Contains(err.Error(), "drain timeout") {
		t.Errorf("Run returned %v, want an error that a handler did not return", err)
	}
	again := claim(t, client, 1)
	if again[0].ID != id || again[0].Attempt != 1 {
		t.Errorf("claimed %+v", again[0])
	}
	close(leave)
	if err := receive(t, "the handler", cause); !errors.Is(err, pawl.ErrShutdown) {
		t.Errorf("the cause was %v, want ErrShutdown", err)
	}
	if err := client.Complete(t.Context(), again); err != nil {
		t.Errorf("the new claim completed the job: %v", err)
	}
}
