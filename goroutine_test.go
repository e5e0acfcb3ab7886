package pawl_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// Not parallel: goroutines cannot be told apart by test.
func TestNoGoroutineIsLeft(t *testing.T) {
	url := pgtest.Database(t)
	before := goleak.IgnoreCurrent()
	defer goleak.VerifyNone(t, before)
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	client, err := pawl.New(pool, pawl.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		if job.Args.N == 2 {
			cancel()
		}
		return nil
	})
	insert(t, client, Note{1})
	insert(t, client, Note{2})
	if err := client.Wait(t.Context(), "default"); err != nil {
		t.Error(err)
	}
	if err := client.Run(ctx, mux, pawl.RunnerConfig{}); err != nil {
		t.Error(err)
	}
	if err := client.Wait(ctx, "default"); err == nil {
		t.Error("Wait on an empty queue returned nil with its context ended")
	}
}
