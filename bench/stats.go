package bench

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// stats calls Client.Stats repeatedly. There are b.Depth archived jobs, and b.Jobs ready jobs in ten queues with
// b.Channels channels each.
func (b *bench) stats(ctx context.Context) (*Result, error) {
	const queues = 10
	if b.Progress != nil {
		fmt.Fprintf(b.Progress, "stats: loading %d archived and %d ready jobs …\r", b.Depth, b.Jobs)
	}
	args := fmt.Sprintf("jsonb_build_object('n', i, 'pad', repeat('x', %d))", max(b.ArgsBytes-20, 0))
	for _, load := range []struct {
		text string
		n    int
	}{
		// The archive has a partition for each day, so the jobs expire over five days.
		{`insert into pawl.archive (id, epoch, finished_at, expires_at, created_at, waited_ms, ran_ms,
				priority, attempt, state, queue, channel, kind, worker, args)
			select nextval('pawl.pos'), 1, now(), now() + interval '1 day' + i * (interval '5 days' / $1::int), now(), 1, 1,
				0, 1, 'completed', 'queue' || i % $2::int,
			       i / $2::int % $3::int, 'task', 'w', ` + args + `
				from generate_series(1, $1::int) i`, b.Depth},
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
	if _, err := b.pool.Exec(ctx, "analyze pawl.archive"); err != nil {
		return nil, err
	}
	call := func() (time.Duration, error) {
		began := time.Now()
		s, err := b.client.Stats(ctx)
		took := time.Since(began)
		if err == nil && len(s.Queues) != queues {
			err = fmt.Errorf("stats of %d queues, want %d", len(s.Queues), queues)
		}
		return took, err
	}
	for range 100 { // The first calls on each connection plan the queries and read the pages.
		if _, err := call(); err != nil {
			return nil, err
		}
	}
	before, err := b.usage(ctx)
	if err != nil {
		return nil, err
	}
	var times []float64
	began := time.Now()
	for time.Since(began) < b.Duration {
		took, err := call()
		if err != nil {
			return nil, err
		}
		times = append(times, float64(took)/float64(time.Millisecond))
	}
	r := b.result(b.runnerConfig(false))
	if err := b.spent(ctx, r, int64(len(times)), time.Since(began), before); err != nil {
		return nil, err
	}
	r.Channels = b.Channels
	slices.Sort(times)
	at := func(share float64) *float64 { return &times[min(int(share*float64(len(times))), len(times)-1)] }
	r.P50, r.P90, r.P99, r.Max = at(0.5), at(0.9), at(0.99), at(1)
	return r, nil
}
