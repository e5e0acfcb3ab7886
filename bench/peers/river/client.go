package main

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// profile is the set of River settings that decide how fast River works jobs. A
// zero duration means River's default.
type profile struct {
	name              string
	maxWorkers        int
	fetchCooldown     time.Duration
	fetchPollInterval time.Duration
}

var profiles = map[string]profile{
	// The example in River's documentation; everything else by default.
	"default": {name: "default", maxWorkers: 100},
	// The settings of River's own `river bench`.
	"bench": {
		name:              "bench",
		maxWorkers:        2_000,
		fetchCooldown:     2 * time.Millisecond,
		fetchPollInterval: 20 * time.Millisecond,
	},
}

func (p profile) config() *river.Config {
	return &river.Config{
		FetchCooldown:     p.fetchCooldown,
		FetchPollInterval: p.fetchPollInterval,
		Logger:            quiet,
	}
}

// quiet discards River's log. Writing it to a terminal would cost River time, and
// the retry scenario fails jobs on purpose.
var quiet = slog.New(slog.DiscardHandler)

type riverClient = river.Client[pgx.Tx]

// inserter is an insert-only client with a pool of its own, as a web process
// beside the workers would have.
type inserter struct {
	*riverClient
	pool *pgxpool.Pool
}

func (b *bench) newInserter(ctx context.Context) (*inserter, error) {
	pool, err := b.pool(ctx, b.opts.conns)
	if err != nil {
		return nil, err
	}
	// The fetch cooldown also limits how often inserts notify the workers, so
	// the inserting side needs the profile as well.
	client, err := river.NewClient(riverpgxv5.New(pool), b.opts.profile.config())
	if err != nil {
		pool.Close()
		return nil, err
	}
	return &inserter{client, pool}, nil
}

func (in *inserter) close() { in.pool.Close() }

// runners are the working clients of a scenario.
type runners struct {
	clients []*riverClient
	pools   []*pgxpool.Pool
	cancels []func()

	// start is the clock's zero, set before the first client starts.
	start time.Time
	// completed counts jobs that are completed in the database, and last is
	// when the newest of them was seen, in nanoseconds since start.
	completed atomic.Int64
	last      atomic.Int64
}

// newRunners opens, but does not start, the working clients; work is called
// for each attempt of a job.
func (b *bench) newRunners(ctx context.Context, work workFunc) (*runners, error) {
	rs := &runners{}
	for range b.opts.runners {
		if err := b.addRunner(ctx, rs, work); err != nil {
			rs.close()
			return nil, err
		}
	}
	return rs, nil
}

func (b *bench) addRunner(ctx context.Context, rs *runners, work workFunc) error {
	pool, err := b.pool(ctx, b.opts.runnerConns)
	if err != nil {
		return err
	}
	rs.pools = append(rs.pools, pool)

	workers := river.NewWorkers()
	river.AddWorker(workers, &worker{work: work})
	cfg := b.opts.profile.config()
	cfg.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: b.opts.profile.maxWorkers}}
	cfg.Workers = workers
	client, err := river.NewClient(riverpgxv5.New(pool), cfg)
	if err != nil {
		return err
	}
	rs.clients = append(rs.clients, client)

	// River sends events after the completer's batch is committed. A counter in
	// the worker would count too early. The channel is large, because River drops
	// events if the reader is slow.
	events, cancel := client.SubscribeConfig(&river.SubscribeConfig{
		ChanSize: 100_000,
		Kinds:    []river.EventKind{river.EventKindJobCompleted},
	})
	rs.cancels = append(rs.cancels, cancel)
	go func() {
		for range events {
			rs.last.Store(int64(time.Since(rs.start)))
			rs.completed.Add(1)
		}
	}()
	return nil
}

func (rs *runners) run(ctx context.Context) error {
	rs.start = time.Now()
	for _, c := range rs.clients {
		// The method stop stops the clients. Cancelling this context would stop
		// them before the final counts are read.
		if err := c.Start(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// stop waits for the jobs at work and for their completion in the database.
func (rs *runners) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var errs []error
	for _, c := range rs.clients {
		errs = append(errs, c.Stop(ctx))
	}
	return errors.Join(errs...)
}

// close also stops clients that still run after an error. Otherwise a pool's Close
// would wait for their connections forever.
func (rs *runners) close() {
	_ = rs.stop()
	for _, cancel := range rs.cancels {
		cancel()
	}
	for _, p := range rs.pools {
		p.Close()
	}
}
