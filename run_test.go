package pawl_test

import (
	"context"
	"sync"
	"testing"

	"github.com/pawlhq/pawl"
)

// start runs mux until stop is called or the test ends. stop returns the error of Run.
func start(t testing.TB, client *pawl.Client, mux *pawl.Mux, config pawl.RunnerConfig) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- client.Run(ctx, mux, config) }()
	said := false
	once := sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := once(); err != nil && !said {
			t.Errorf("Run: %v", err)
		}
	})
	return func() error { said = true; return once() }
}

// A gate is a handler that reports that it runs, and returns when leave is closed or its context ends.
type gate struct {
	running chan *pawl.JobInfo
	leave   chan struct{}
}

func (g *gate) handle(ctx context.Context, job *pawl.Job[Note]) error {
	g.running <- job.JobInfo
	select {
	case <-g.leave:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func newGate() *gate { return &gate{make(chan *pawl.JobInfo, 1000), make(chan struct{})} }
