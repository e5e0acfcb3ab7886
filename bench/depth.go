package bench

import (
	"context"
	"fmt"

	"github.com/pawlhq/pawl"
)

// runDepth is work on top of a great many other rows, and without them: half
// of the ready ones wait in the same queue behind a lower priority, half in a
// queue these runners do not serve; as many are scheduled far ahead, and as
// many are in the archive.
func runDepth(ctx context.Context, m *measurement) error {
	// Both runs name the queue, so that the depth is all they differ in.
	queues := map[string]pawl.RunnerQueue{"default": {}}
	if err := m.fresh(ctx, m.Jobs); err != nil {
		return err
	}
	if err := m.burnDown(ctx, 0, queues); err != nil {
		return err
	}
	shallow := m.result.JobsPerSecond

	if err := m.db.fresh(ctx); err != nil {
		return err
	}
	above, err := m.fill(ctx)
	if err != nil {
		return fmt.Errorf("load the depth: %w", err)
	}
	m.inserted.Store(0)
	if err := m.preload(ctx, m.Jobs); err != nil {
		return fmt.Errorf("preload: %w", err)
	}
	if err := m.db.settle(ctx); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	if err := m.burnDown(ctx, above, queues); err != nil {
		return err
	}
	m.result.DepthFigures = &DepthFigures{Depth: m.Depth, ShallowJobsPerSecond: shallow, Ratio: m.result.JobsPerSecond / shallow}
	return nil
}

// fill loads the rows by SQL and returns the highest id used.
func (m *measurement) fill(ctx context.Context) (above int64, err error) {
	conn, err := m.db.connect(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// An id drawn in bulk is no risk here: nobody claims yet.
	args := fmt.Sprintf(`jsonb_build_object('id', -1, 'data', left(repeat(md5(n::text), %d), %d))`, m.ArgsBytes/32+1, m.ArgsBytes-22)
	for _, s := range []struct{ what, text string }{
		{"ready", `
			with j as (
				insert into pawl.job (id, created_at, epoch, priority, queue, channel, kind, args)
				select nextval('pawl.pos'), now(), 1, case when n % 2 = 0 then 100 else 0 end,
					case when n % 2 = 0 then 'default' else 'other' end, '', 'bench', ` + args + `
				from generate_series(1, $1::bigint) n
				returning id, priority, queue)
			insert into pawl.ready (pos, job_id, epoch, priority, queue, channel)
			select id, id, 1, priority, queue, '' from j`},
		{"scheduled", `
			with j as (
				insert into pawl.job (id, created_at, run_at, epoch, priority, queue, channel, kind, args)
				select nextval('pawl.pos'), now(), now() + interval '30 days' + n * interval '1 second', 1, 0, 'default', '', 'bench', ` + args + `
				from generate_series(1, $1::bigint) n
				returning id, run_at)
			insert into pawl.scheduled (run_at, job_id, epoch, queue)
			select run_at, id, 1, 'default' from j`},
		{"archived", `
			insert into pawl.archive (id, finished_at, expires_at, created_at, waited_ms, ran_ms, epoch, priority, attempt, max_attempts,
				state, queue, channel, kind, worker, args)
			select nextval('pawl.pos'), now(), now() + interval '1 day', now(), 0, 0, 1, 0, 1, 20, 'completed', 'default', '', 'bench', 'bench-1', ` + args + `
			from generate_series(1, $1::bigint) n`},
	} {
		// In parts, to bound what the statements keep in memory and to be interruptible.
		const part = 500_000
		for left := m.Depth; left > 0; left -= part {
			if _, err := conn.Exec(ctx, s.text, min(left, part)); err != nil {
				return 0, fmt.Errorf("%s: %w", s.what, err)
			}
			if m.Progress != nil {
				fmt.Fprintf(m.Progress, "%-18s loading %s rows: %s to go\n", m.display.scenario, s.what, grouped(float64(max(left-part, 0))))
			}
		}
	}
	m.db.filler = 3 * int64(m.Depth)
	err = conn.QueryRow(ctx, "select last_value from pawl.pos").Scan(&above)
	return above, err
}
