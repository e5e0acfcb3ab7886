package bench

import (
	"context"
	"fmt"
	"time"
)

// stats calls Client.Stats repeatedly. There are b.Depth archived jobs, and b.Jobs ready jobs in ten queues with
// b.Channels channels each.
func (b *bench) stats(ctx context.Context) (*Result, error) {
	const queues = 10
	if b.Progress != nil {
		fmt.Fprintf(b.Progress, "stats: loading %d archived and %d ready jobs …\r", b.Depth, b.Jobs)
	}
	args := b.argsText()
	for _, load := range []struct {
		text string
		n    int
	}{
		// The archive has a partition for each day, so the jobs expire over five days.
		{fmt.Sprintf(archiveRows, `select nextval('pawl.pos') as id, i / 500 as batch, 'queue' || i % $2::int as queue,
				(i / $2::int % $3::int)::text as channel,
				now() + interval '1 day' + i * (interval '5 days' / $1::int) as expires_at, `+args+` as args
			from generate_series(1, $1::int) i`), b.Depth},
		{`with j as (insert into pawl.job (id, created_at, epoch, priority, queue, channel, kind, args)
			select nextval('pawl.pos'), now(), 1, 0, 'queue' || i % $2::int, i / $2::int % $3::int, 'task', ` + args + `
				from generate_series(1, $1::int) i returning id, queue, channel)
			insert into pawl.ready (pos, job_id, epoch, priority, queue, channel)
				select id, id, 1, 0, queue, channel from j`, b.Jobs},
	} {
		if load.n == 0 {
			continue
		}
		if _, err := b.pool.Exec(ctx, load.text, load.n, queues, b.Channels); err != nil {
			return nil, err
		}
	}
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	if _, err := b.pool.Exec(ctx, "analyze pawl.archive_chunk"); err != nil {
		return nil, err
	}
	call := func() error {
		s, err := b.client.Stats(ctx)
		if err == nil && len(s.Queues) != queues {
			err = fmt.Errorf("stats of %d queues, want %d", len(s.Queues), queues)
		}
		return err
	}
	// The first calls on each connection plan the queries and read the pages.
	if _, err := b.repeatCall(time.Second, call); err != nil {
		return nil, err
	}
	before, err := b.usage(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	times, err := b.repeatCall(b.Duration, call)
	if err != nil {
		return nil, err
	}
	r := b.result(b.runnerConfig(false))
	if err := b.spent(ctx, r, int64(len(times)), time.Since(began), before); err != nil {
		return nil, err
	}
	r.Channels = b.Channels
	r.setPercentiles(times)
	return r, nil
}
