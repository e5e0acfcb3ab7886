package bench

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/pawlhq/pawl"
)

// runWork burns the preloaded jobs down, from the runners' start until the
// last job is completed in the database.
func runWork(ctx context.Context, m *measurement) error {
	return m.burnDown(ctx, 0, nil)
}

// burnDown works the jobs inserted by the client, whose ids are above after.
func (m *measurement) burnDown(ctx context.Context, above int64, queues map[string]pawl.RunnerQueue) error {
	rs, err := m.newRunners(ctx, noop)
	if err != nil {
		return err
	}
	defer rs.close()
	rs.config.Queues = queues
	look, err := m.db.connect(ctx)
	if err != nil {
		return err
	}
	defer look.Close(context.WithoutCancel(ctx))
	defer m.display.watch("worked", rs.succeeded.Load)()

	before, err := m.db.usage(ctx)
	if err != nil {
		return err
	}
	rs.run(ctx)
	want := m.inserted.Load()
	if err := rs.completed(ctx, look, want, above); err != nil {
		return err
	}
	elapsed := time.Since(rs.start)
	after, err := m.db.usage(ctx)
	if err != nil {
		return err
	}
	m.result.finish(want, elapsed, before, after)
	if err := rs.stop(); err != nil {
		return err
	}
	return m.checkGone(ctx, look, above)
}

// completed waits until the handlers of n jobs have returned and no lease of
// such a job is left. A lease goes with the statement that completes its last
// job, so then all are; and of leases there are few, while looking through the
// jobs' own table would take its part of the time measured.
func (rs *runners) completed(ctx context.Context, look *pgx.Conn, n, above int64) error {
	return until(ctx, "work", func() (int64, bool, error) {
		now := rs.succeeded.Load()
		if err := rs.broken(); err != nil || now < n {
			return now, false, err
		}
		var left bool
		err := look.QueryRow(ctx, "select exists (select from pawl.lease l, unnest(l.jobs) as u (id) where u.id > $1)", above).Scan(&left)
		return now, !left, err
	})
}
