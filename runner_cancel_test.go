package pawl_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

func TestACancelEndsTheHandlersContextAtOnce(t *testing.T) {
	t.Parallel()
	for name, result := range map[string]error{"nil": nil, "an error": errBoom, "snooze": pawl.Snooze(time.Hour)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t, withListen)
			running, causes := make(chan struct{}), make(chan error, 1)
			mux := new(pawl.Mux)
			pawl.Handle(mux, func(ctx context.Context, _ *pawl.Job[Note]) error {
				close(running)
				<-ctx.Done()
				causes <- context.Cause(ctx)
				return result
			})
			id := insert(t, client, Note{1})
			stop := start(t, client, mux, pawl.RunnerConfig{Heartbeat: rareBeat})
			receive(t, "the job", running)
			awaitListeners(t, pool, 1)
			began := time.Now()
			wantCount(t, 1)(client.Cancel(t.Context(), pawl.Filter{Kind: "note"}))
			if err := receive(t, "the handler's context to end", causes); !errors.Is(err, pawl.ErrCancelled) {
				t.Errorf("the cause was %v, want ErrCancelled", err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %v, want less than 5 s", took)
			}
			must(t, stop())
			await(t, client, id, pawlstate.Cancelled)
		})
	}
}

// Behind a pooler the runner does not listen.
func TestWithoutListenACancelComesWithTheNextHeartbeat(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	exec(t, pool, "create or replace function pawl.poke_heartbeats() returns void language sql as ''")
	g := newGate()
	causes := make(chan error, 1)
	mux := new(pawl.Mux)
	mux.Use(func(ctx context.Context, _ *pawl.JobInfo, next func(context.Context) error) error {
		err := next(ctx)
		causes <- err
		return err
	})
	pawl.Handle(mux, g.handle)
	id := insert(t, client, Note{1})
	start(t, client, mux, pawl.RunnerConfig{Heartbeat: 200 * time.Millisecond})
	receive(t, "the job", g.running)
	wantCount(t, 1)(client.Cancel(t.Context(), id))
	if err := receive(t, "the handler's context to end", causes); !errors.Is(err, pawl.ErrCancelled) {
		t.Errorf("the cause was %v, want ErrCancelled", err)
	}
	w := theWorker(t, client)
	must(t, client.StopWorker(t.Context(), w.ID))
	pgtest.Wait(t, "the worker to stop", func() bool { return theWorker(t, client).State == "stopped" })
}

func TestADeleteEndsTheHandlersContextWhileRunDrains(t *testing.T) {
	t.Parallel()
	client, pool := install(t, withListen)
	running, causes := make(chan struct{}), make(chan error, 1)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, _ *pawl.Job[Note]) error {
		close(running)
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return nil
	})
	id := insert(t, client, Note{1})
	stop := start(t, client, mux, pawl.RunnerConfig{Heartbeat: rareBeat, DrainTimeout: time.Minute})
	receive(t, "the job", running)
	awaitListeners(t, pool, 1)
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	wantCount(t, 1)(client.Delete(t.Context(), id))
	if err := receive(t, "the handler's context to end", causes); !errors.Is(err, pawl.ErrLeaseLost) {
		t.Errorf("the cause was %v, want ErrLeaseLost", err)
	}
	must(t, receive(t, "Run to return", stopped))
}
