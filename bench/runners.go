package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pawlhq/pawl"
)

// runners are the Run loops of a scenario.
type runners struct {
	config  pawl.RunnerConfig
	mux     *pawl.Mux
	clients []*pawl.Client
	pools   []*pgxpool.Pool

	start   time.Time
	cancel  context.CancelFunc
	ended   chan error
	running int
	failed  chan struct{} // Closed when a Run ended by itself.

	// succeeded counts handlers that returned nil. It runs ahead of the
	// database by what is being completed just now.
	succeeded atomic.Int64
}

type workFunc func(id int64, attempt int) error

func noop(int64, int) error { return nil }

// newRunners opens, but does not start, the runners; work is called for each
// attempt of a job.
func (m *measurement) newRunners(ctx context.Context, work workFunc) (*runners, error) {
	rs := &runners{config: pawl.RunnerConfig{Min: m.Min, Max: m.Max}, mux: pawl.NewMux(), ended: make(chan error, m.Runners), failed: make(chan struct{})}
	pawl.Handle(rs.mux, func(_ context.Context, job *pawl.Job[jobArgs]) error {
		err := work(job.Args.ID, job.Attempt)
		if err == nil {
			rs.succeeded.Add(1)
		}
		return err
	})
	for range m.Runners {
		client, pool, err := m.db.client(ctx, runnerConns)
		if err != nil {
			rs.close()
			return nil, err
		}
		rs.clients, rs.pools = append(rs.clients, client), append(rs.pools, pool)
	}
	return rs, nil
}

func (rs *runners) run(ctx context.Context) {
	// Not cancelled with ctx: runners would leave before the final counts are
	// read. It is stop that ends them.
	ctx, rs.cancel = context.WithCancel(context.WithoutCancel(ctx))
	rs.start, rs.running = time.Now(), len(rs.clients)
	for i, client := range rs.clients {
		config := rs.config
		config.Name = fmt.Sprintf("bench-%d", i+1)
		go func() {
			err := client.Run(ctx, rs.mux, config)
			if ctx.Err() == nil {
				err = errors.Join(errStopped, err)
				close(rs.failed)
			}
			rs.ended <- err
		}()
	}
}

// stop waits for the jobs at work and for their completion in the database.
func (rs *runners) stop() error {
	var errs []error
	if rs.cancel != nil {
		rs.cancel()
	}
	for ; rs.running > 0; rs.running-- {
		errs = append(errs, <-rs.ended)
	}
	return errors.Join(errs...)
}

// close also stops what an error left running: a pool's Close would otherwise
// wait for the runners' connections forever.
func (rs *runners) close() {
	rs.stop()
	for _, pool := range rs.pools {
		pool.Close()
	}
}

// broken is an error once a runner has ended by itself.
func (rs *runners) broken() error {
	select {
	case <-rs.failed:
		return errStopped
	default:
		return nil
	}
}
