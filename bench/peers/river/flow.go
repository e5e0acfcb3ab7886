package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"
)

func runFlow(ctx context.Context, b *bench, res *result) error {
	return b.flow(ctx, res, noop)
}

// runPinned is flow beside a snapshot that keeps vacuum from removing any row
// version of the whole run, as a long report or a backup does.
func runPinned(ctx context.Context, b *bench, res *result) error {
	reader, err := b.connect(ctx)
	if err != nil {
		return err
	}
	defer reader.Close(context.WithoutCancel(ctx))
	for _, s := range []string{
		"SET idle_in_transaction_session_timeout = 0",
		"BEGIN ISOLATION LEVEL REPEATABLE READ",
		// The snapshot is taken by the first query.
		"SELECT id FROM river_job LIMIT 1",
	} {
		if _, err := reader.Exec(ctx, s); err != nil {
			return err
		}
	}

	res.windowStats = &windowStats{WindowSeconds: b.opts.window.Seconds()}
	if err := b.flow(ctx, res, noop); err != nil {
		return err
	}
	_, err = reader.Exec(ctx, "ROLLBACK")
	return err
}

var errFirstAttempt = errors.New("first attempt fails on purpose")

// runRetry is flow with every fifth job failing once. River's default retry
// policy has the second attempt come after about a second, so it is kept.
func runRetry(ctx context.Context, b *bench, res *result) error {
	var failed atomic.Int64
	err := b.flow(ctx, res, func(id int64, attempt int) error {
		if attempt == 1 && id%5 == 0 {
			failed.Add(1)
			return errFirstAttempt
		}
		return nil
	})
	if err == nil {
		res.FailedAttempts = failed.Load()
	}
	return err
}

// flow inserts and works jobs at once for the duration. The table holds the
// preloaded backlog at the start, so jobs are never scarce.
func (b *bench) flow(ctx context.Context, res *result, work workFunc) error {
	in, err := b.newInserter(ctx)
	if err != nil {
		return err
	}
	defer in.close()
	rs, err := b.newRunners(ctx, work)
	if err != nil {
		return err
	}
	defer rs.close()

	preloaded := b.inserted.Load()
	before, err := b.usage(ctx)
	if err != nil {
		return err
	}
	if err := rs.run(ctx); err != nil {
		return err
	}

	insertCtx, stopInsert := context.WithCancel(ctx)
	defer stopInsert()
	inserting := make(chan error, 1)
	go func() { inserting <- b.keepBacklog(insertCtx, in, rs) }()

	// If the wait was cut short, the inserter's error is the cause.
	window := b.opts.window
	first, err1 := rs.countAt(insertCtx, window)
	late, err2 := rs.countAt(insertCtx, b.opts.duration-window)
	last, err3 := rs.countAt(insertCtx, b.opts.duration)
	elapsed := time.Since(rs.start)
	inserted := b.inserted.Load()
	after, err4 := b.usage(ctx)
	stopInsert()
	err = errors.Join(<-inserting, err1, err2, err3, err4, rs.stop())
	if err != nil {
		return err
	}

	res.finish(last, elapsed, before, after)
	res.flowStats = &flowStats{
		Inserted:     inserted - preloaded,
		Backlog:      b.opts.backlog,
		BacklogAtEnd: inserted - last,
	}
	if w := res.windowStats; w != nil {
		w.FirstJobsPerSecond = float64(first) / window.Seconds()
		w.LastJobsPerSecond = float64(last-late) / window.Seconds()
	}
	return nil
}

// countAt returns the number of completed jobs at a time after the start.
func (rs *runners) countAt(ctx context.Context, at time.Duration) (int64, error) {
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(time.Until(rs.start.Add(at))):
		return rs.completed.Load(), nil
	}
}

// keepBacklog inserts a batch whenever there is room for one below the
// backlog's bound, until ctx is cancelled.
func (b *bench) keepBacklog(ctx context.Context, in *inserter, rs *runners) error {
	batch := min(b.opts.batch, max(b.opts.backlog/4, 1))
	params := make([]river.InsertManyParams, batch)
	for ctx.Err() == nil {
		unfinished := b.inserted.Load() - rs.completed.Load()
		if unfinished+int64(batch) > int64(b.opts.backlog) {
			time.Sleep(time.Millisecond)
			continue
		}
		// This insert ignores the end of ctx. A cancelled batch would be an
		// error, and River would have to replace the connection.
		if err := b.insertBatch(context.WithoutCancel(ctx), in, params, batch); err != nil {
			return err
		}
	}
	return nil
}
