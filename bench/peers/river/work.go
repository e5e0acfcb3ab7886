package main

import (
	"context"
	"errors"
	"time"
)

// runWork burns the preloaded jobs down, from the clients' start until the
// last job is completed in the database.
func runWork(ctx context.Context, b *bench, res *result) error {
	rs, err := b.newRunners(ctx, noop)
	if err != nil {
		return err
	}
	defer rs.close()

	before, err := b.usage(ctx)
	if err != nil {
		return err
	}
	if err := rs.run(ctx); err != nil {
		return err
	}
	err = rs.wait(ctx, b.inserted.Load())
	after, usageErr := b.usage(ctx)
	if err := errors.Join(err, usageErr, rs.stop()); err != nil {
		return err
	}

	done, err := b.checkCompleted(ctx)
	if err != nil {
		return err
	}
	if !done {
		return errors.New("some jobs are not completed in the database")
	}
	res.finish(rs.completed.Load(), time.Duration(rs.last.Load()), before, after)
	return nil
}

// wait returns when n jobs are completed, or with an error when there has been
// no progress for long.
func (rs *runners) wait(ctx context.Context, n int64) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	seen, since := int64(-1), time.Now()
	for {
		now := rs.completed.Load()
		if now >= n {
			return nil
		}
		if now != seen {
			seen, since = now, time.Now()
		}
		if time.Since(since) > 30*time.Second {
			return errors.New("no job completed for 30 s")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
