package main

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
)

func runInsert(ctx context.Context, b *bench, res *result) error {
	return b.timeInsert(ctx, res, func(in *inserter) error {
		return b.insertAll(ctx, in, b.opts.jobs)
	})
}

// callers is how many goroutines insert at once in insert-concurrent, like
// requests being served; they share the pool's few connections.
const callers = 1_000

func runInsertConcurrent(ctx context.Context, b *bench, res *result) error {
	return b.timeInsert(ctx, res, func(in *inserter) error {
		g, ctx := errgroup.WithContext(ctx)
		for range callers {
			g.Go(func() error {
				for {
					id := b.inserted.Add(1) - 1
					if id >= int64(b.opts.jobs) {
						return nil
					}
					if _, err := in.Insert(ctx, newArgs(id, b.opts.argsBytes), nil); err != nil {
						return err
					}
				}
			})
		}
		return g.Wait()
	})
}

func (b *bench) timeInsert(ctx context.Context, res *result, insert func(*inserter) error) error {
	in, err := b.newInserter(ctx)
	if err != nil {
		return err
	}
	defer in.close()

	before, err := b.usage(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := insert(in); err != nil {
		return err
	}
	elapsed := time.Since(start)
	after, err := b.usage(ctx)
	if err != nil {
		return err
	}
	res.finish(int64(b.opts.jobs), elapsed, before, after)
	return nil
}
