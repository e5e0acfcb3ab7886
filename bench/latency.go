package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// margin is how long jobs go in at the same rate before the measured ones and
// after them: connections are then open and statements prepared, and how a
// queue falls asleep at the end of a run is not measured.
const margin = time.Second

// runLatency inserts single jobs at a steady rate, and takes for each the time
// from the call of Insert to the start of its handler.
func runLatency(ctx context.Context, m *measurement) error {
	first := int(margin.Seconds() * float64(m.Rate))
	end := first + max(1, int(m.Duration.Seconds()*float64(m.Rate)))
	total := end + first

	// Both by job id, in nanoseconds since base; the handler is in this same
	// process, so one monotonic clock serves both ends.
	base := time.Now()
	called := make([]atomic.Int64, total)
	started := make([]atomic.Int64, total)
	var working atomic.Int64

	client, done, err := m.inserter(ctx)
	if err != nil {
		return err
	}
	defer done()
	rs, err := m.newRunners(ctx, func(id int64, _ int) error {
		if started[id].CompareAndSwap(0, int64(time.Since(base))) {
			working.Add(1)
		}
		return nil
	})
	if err != nil {
		return err
	}
	defer rs.close()
	defer m.display.watch("worked", rs.succeeded.Load)()
	rs.run(ctx)

	var before, after usage
	var calls sync.WaitGroup
	inserting, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	start := time.Now()
	for id := range total {
		switch id {
		case first:
			before, err = m.db.usage(ctx)
		case end:
			after, err = m.db.usage(ctx)
		}
		if err != nil {
			fail(err)
		}
		// By the schedule, in a goroutine each: a slow insert must not put off
		// those after it, or the worst moments would be sampled least.
		time.Sleep(time.Until(start.Add(time.Duration(id) * time.Second / time.Duration(m.Rate))))
		if inserting.Err() != nil {
			break
		}
		calls.Go(func() {
			args := newArgs(int64(id), m.ArgsBytes)
			called[id].Store(int64(time.Since(base)))
			if _, err := client.Insert(inserting, args); err != nil {
				fail(err)
			}
		})
	}
	calls.Wait()
	if inserting.Err() != nil {
		return context.Cause(inserting)
	}
	m.inserted.Store(int64(total))
	err = until(ctx, "start of the last jobs", func() (int64, bool, error) {
		n := working.Load()
		return n, n == int64(total), rs.broken()
	})
	if err != nil {
		return err
	}
	if err := rs.stop(); err != nil {
		return err
	}

	took := make([]time.Duration, 0, end-first)
	for id := first; id < end; id++ {
		took = append(took, time.Duration(started[id].Load()-called[id].Load()))
	}
	slices.Sort(took)
	m.result.LatencyFigures = &LatencyFigures{
		Rate:  m.Rate,
		P50MS: percentile(took, 50),
		P90MS: percentile(took, 90),
		P99MS: percentile(took, 99),
		MaxMS: milliseconds(took[len(took)-1]),
	}
	if again := rs.succeeded.Load() - int64(total); again != 0 {
		return fmt.Errorf("%d jobs ran more than once", again)
	}
	m.result.finish(int64(len(took)), after.at.Sub(before.at), before, after)
	return nil
}
