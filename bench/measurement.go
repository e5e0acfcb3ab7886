package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pawlhq/pawl"
)

// measurement is one run of one scenario.
type measurement struct {
	Config
	db      *database
	result  *Result
	display *display

	// inserted counts the jobs put in, and numbers them.
	inserted atomic.Int64
}

func measure(ctx context.Context, config Config, db *database, s scenario) (*Result, error) {
	m := &measurement{Config: config, db: db, display: &display{out: config.Progress, scenario: s.name}}
	m.setConcurrency(s.name)
	m.result = &Result{
		System: "pawl", Profile: m.profile(), Scenario: s.name, ArgsBytes: m.ArgsBytes, Runners: m.Runners,
		PawlVersion: version(), Settings: db.settings,
	}
	m.result.Min, m.result.Max = m.effective()

	if err := m.fresh(ctx, s.preload(config)); err != nil {
		return nil, err
	}
	before, err := db.transactions(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.run(ctx, m); err != nil {
		return nil, err
	}
	after, err := db.transactions(ctx)
	if err != nil {
		return nil, err
	}
	m.result.Transactions = after - before
	if m.result.DeadTuples, err = db.deadTuples(ctx); err != nil {
		return nil, err
	}
	return m.result, m.verify(ctx)
}

// setConcurrency settles what Min and Max are when not given.
func (m *measurement) setConcurrency(scenario string) {
	given := m.Min != 0 || m.Max != 0
	// What latency and rescue measure is what a user sees who set nothing.
	if !given && !m.Defaults && scenario != "latency" && scenario != "rescue" {
		m.Min, m.Max = tunedMin, tunedMax
	}
}

func (m *measurement) profile() string {
	if m.Min == 0 && m.Max == 0 {
		return "defaults"
	}
	return "tuned"
}

// effective is what RunnerConfig makes of Min and Max.
func (m *measurement) effective() (low, high int) {
	low, high = m.Min, m.Max
	if high == 0 {
		high = max(low, defaultMax)
	}
	if low == 0 {
		low = (high + 1) / 2
	}
	return low, high
}

// fresh makes the schema anew and puts in n jobs.
func (m *measurement) fresh(ctx context.Context, n int) error {
	m.inserted.Store(0)
	if err := m.db.fresh(ctx); err != nil {
		return fmt.Errorf("make the schema: %w", err)
	}
	if n > 0 {
		if err := m.preload(ctx, n); err != nil {
			return fmt.Errorf("preload: %w", err)
		}
	}
	if err := m.db.settle(ctx); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return nil
}

// verify fails if the run broke anything. It comes after all that is measured.
func (m *measurement) verify(ctx context.Context) error {
	client, pool, err := m.db.client(ctx, 2)
	if err != nil {
		return err
	}
	defer pool.Close()
	findings, err := client.Verify(ctx)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if len(findings) > 0 {
		problems := make([]string, len(findings))
		for i, f := range findings {
			problems[i] = f.Problem
		}
		return fmt.Errorf("the run broke an invariant: %s", strings.Join(problems, "; "))
	}
	var live, finished int64
	if live, finished, err = m.db.count(ctx); err != nil {
		return err
	}
	if want := m.inserted.Load() + m.db.filler; live+finished != want {
		return fmt.Errorf("%d jobs live and %d finished, but %d were inserted", live, finished, want)
	}
	return nil
}

// An inserter is a client with a pool of its own, as a web process beside the
// runners would have.
func (m *measurement) inserter(ctx context.Context) (*pawl.Client, func(), error) {
	client, pool, err := m.db.client(ctx, inserterConns)
	if err != nil {
		return nil, nil, err
	}
	return client, pool.Close, nil
}

// Most connections of the pools.
const (
	inserterConns = 20
	runnerConns   = 10
)

// insertBatch inserts the next n jobs, using specs as room for them.
func (m *measurement) insertBatch(ctx context.Context, client *pawl.Client, specs []pawl.JobSpec, n int) error {
	first := m.inserted.Load()
	specs = specs[:n]
	for i := range specs {
		specs[i].Args = newArgs(first+int64(i), m.ArgsBytes)
	}
	if _, err := client.InsertMany(ctx, specs); err != nil {
		return err
	}
	m.inserted.Add(int64(n))
	return nil
}

// insertAll inserts n jobs, batch by batch.
func (m *measurement) insertAll(ctx context.Context, client *pawl.Client, n int) error {
	specs := make([]pawl.JobSpec, batch)
	for n > 0 {
		k := min(n, batch)
		if err := m.insertBatch(ctx, client, specs, k); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

func (m *measurement) preload(ctx context.Context, n int) error {
	client, done, err := m.inserter(ctx)
	if err != nil {
		return err
	}
	defer done()
	return m.insertAll(ctx, client, n)
}

// percentile is by nearest rank: a value that was in fact measured.
func percentile(sorted []time.Duration, p int) float64 {
	rank := (len(sorted)*p + 99) / 100
	return milliseconds(sorted[max(rank, 1)-1])
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// until calls look every millisecond until it says yes. It gives up when the
// progress it reports stays the same for long.
func until(ctx context.Context, what string, look func() (progress int64, done bool, err error)) error {
	const long = 30 * time.Second
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	seen, since := int64(-1), time.Now()
	for {
		now, done, err := look()
		if err != nil || done {
			return err
		}
		if now != seen {
			seen, since = now, time.Now()
		}
		if time.Since(since) > long {
			return fmt.Errorf("%s: no progress for %v after %d jobs", what, long, now)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// together runs n calls of do at once and returns the first error; the others
// are cancelled by it.
func together(ctx context.Context, n int, do func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan error, n)
	for range n {
		go func() { ended <- do(ctx) }()
	}
	var first error
	for range n {
		if err := <-ended; err != nil && first == nil {
			first = err
			cancel(err)
		}
	}
	return first
}

var errStopped = errors.New("a runner stopped by itself")

// rates turns counts taken each second into jobs per second.
func rates(counts []int64) []int64 {
	out := slices.Clone(counts)
	for i := len(out) - 1; i > 0; i-- {
		out[i] -= out[i-1]
	}
	return out
}
