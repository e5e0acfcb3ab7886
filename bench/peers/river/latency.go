package main

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// margin is how long jobs are inserted at the same rate before and after the
// measured ones. The time before opens connections, prepares statements and
// elects a leader. The time after is needed because River notifies its workers
// only of the first insert within a fetch cooldown. It finds the other jobs
// with the next notification or the next poll. Without the time after, the last
// measured jobs would wait for the poll.
const margin = time.Second

// runLatency inserts single jobs at a steady rate, and takes for each the time
// from the call of Insert to the start of its worker.
func runLatency(ctx context.Context, b *bench, res *result) error {
	rate := b.opts.rate
	first := int(margin.Seconds() * float64(rate))
	end := first + max(1, int(b.opts.duration.Seconds()*float64(rate)))
	total := end + first

	// Both by job id, in nanoseconds since base; the worker is in this same
	// process, so one monotonic clock serves both ends.
	base := time.Now()
	called := make([]atomic.Int64, total)
	started := make([]atomic.Int64, total)
	var working atomic.Int64

	in, err := b.newInserter(ctx)
	if err != nil {
		return err
	}
	defer in.close()
	rs, err := b.newRunners(ctx, func(id int64, _ int) error {
		if started[id].CompareAndSwap(0, int64(time.Since(base))) {
			working.Add(1)
		}
		return nil
	})
	if err != nil {
		return err
	}
	defer rs.close()
	if err := rs.run(ctx); err != nil {
		return err
	}

	var before, after usage
	g, insertCtx := errgroup.WithContext(ctx)
	start := time.Now()
	for id := range total {
		switch id {
		case first:
			before, err = b.usage(ctx)
		case end:
			after, err = b.usage(ctx)
		}
		if err != nil {
			return err
		}
		// By the schedule, in a goroutine each: a slow insert must not put off
		// those after it, or the worst moments would be sampled least.
		time.Sleep(time.Until(start.Add(time.Duration(id) * time.Second / time.Duration(rate))))
		if insertCtx.Err() != nil {
			break
		}
		g.Go(func() error {
			args := newArgs(int64(id), b.opts.argsBytes)
			called[id].Store(int64(time.Since(base)))
			_, err := in.Insert(insertCtx, args, nil)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := awaitCount(&working, int64(total)); err != nil {
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
	res.latencyStats = &latencyStats{
		Rate:  rate,
		P50MS: percentile(took, 50),
		P90MS: percentile(took, 90),
		P99MS: percentile(took, 99),
		MaxMS: milliseconds(took[len(took)-1]),
	}
	res.finish(int64(len(took)), after.at.Sub(before.at), before, after)
	return nil
}

// awaitCount waits until the count of started jobs is total, for at most 30 s.
func awaitCount(started *atomic.Int64, total int64) error {
	for deadline := time.Now().Add(30 * time.Second); started.Load() < total; {
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d jobs not started 30 s after the last insert", total-started.Load(), total)
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// percentile is by nearest rank: a value that was in fact measured.
func percentile(sorted []time.Duration, p int) float64 {
	rank := (len(sorted)*p + 99) / 100
	return milliseconds(sorted[max(rank, 1)-1])
}
