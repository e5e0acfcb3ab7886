package bench

import (
	"context"
	"errors"
	"time"

	"github.com/pawlhq/pawl"
)

func runFlow(ctx context.Context, m *measurement) error { return m.flow(ctx, noop) }

// flow inserts and works jobs at once for the duration. There is a backlog at
// the start, so jobs are never scarce.
func (m *measurement) flow(ctx context.Context, work workFunc) error {
	client, done, err := m.inserter(ctx)
	if err != nil {
		return err
	}
	defer done()
	rs, err := m.newRunners(ctx, work)
	if err != nil {
		return err
	}
	defer rs.close()
	look, err := m.db.connect(ctx)
	if err != nil {
		return err
	}
	defer look.Close(context.WithoutCancel(ctx))
	defer m.display.watch("worked", rs.succeeded.Load)()

	preloaded := m.inserted.Load()
	before, err := m.db.usage(ctx)
	if err != nil {
		return err
	}
	rs.run(ctx)
	inserting, stopInsert := context.WithCancel(ctx)
	defer stopInsert()
	inserted := make(chan error, 1)
	go func() {
		inserted <- m.keepBacklog(inserting, client, rs)
		stopInsert() // Of a wait cut short, the inserter's own error is the cause.
	}()

	first := rs.countAt(inserting, m.Window)
	counts := rs.countSeconds(inserting, m.Duration)
	late := rs.countAt(inserting, m.Duration-m.Window)
	f, l, c := <-first, <-late, <-counts
	put := m.inserted.Load()
	last := rs.succeeded.Load()
	after, err := m.db.usage(ctx)
	if err != nil {
		return errors.Join(<-inserted, err)
	}
	// What is completed in the database: handlers run ahead of that. The
	// archive alone, for it has no dead rows to walk over.
	elapsed := time.Since(rs.start)
	var completed int64
	err = look.QueryRow(ctx, "select count(*) from pawl.archive").Scan(&completed)
	stopInsert()
	if err := errors.Join(<-inserted, rs.broken(), err, rs.stop()); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}

	m.result.finish(completed, elapsed, before, after)
	m.result.FlowFigures = &FlowFigures{Inserted: put - preloaded, Backlog: backlog, BacklogAtEnd: put - last, Rates: rates(c)}
	if w := m.result.WindowFigures; w != nil {
		w.FirstJobsPerSecond = float64(f) / m.Window.Seconds()
		w.LastJobsPerSecond = float64(last-l) / m.Window.Seconds()
	}
	return nil
}

// countAt sends the number of worked jobs at a time after the start, or sooner
// if ctx ends.
func (rs *runners) countAt(ctx context.Context, at time.Duration) <-chan int64 {
	count := make(chan int64, 1)
	go func() {
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(rs.start.Add(at))):
		}
		count <- rs.succeeded.Load()
	}()
	return count
}

// countSeconds sends the number of worked jobs after each whole second, all at
// the end.
func (rs *runners) countSeconds(ctx context.Context, duration time.Duration) <-chan []int64 {
	counts := make(chan []int64, 1)
	go func() {
		var c []int64
		for at := time.Second; at <= duration && ctx.Err() == nil; at += time.Second {
			c = append(c, <-rs.countAt(ctx, at))
		}
		<-rs.countAt(ctx, duration)
		counts <- c
	}()
	return counts
}

// keepBacklog inserts a batch whenever there is room for one below the
// backlog's bound, until ctx ends.
func (m *measurement) keepBacklog(ctx context.Context, client *pawl.Client, rs *runners) error {
	const size = backlog / 4
	specs := make([]pawl.JobSpec, size)
	for ctx.Err() == nil {
		if err := rs.broken(); err != nil {
			return err
		}
		if m.inserted.Load()-rs.succeeded.Load()+size > backlog {
			time.Sleep(time.Millisecond)
			continue
		}
		// Not with ctx: a batch cut off midway would be an error, and its jobs
		// not counted.
		if err := m.insertBatch(context.WithoutCancel(ctx), client, specs, size); err != nil {
			return err
		}
	}
	return nil
}
