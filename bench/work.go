package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl"
)

func (b *bench) work(ctx context.Context) (*Result, error) {
	if err := b.fill(ctx, int64(b.Jobs)); err != nil {
		return nil, err
	}
	return b.burn(ctx, "work")
}

// burn measures the time from the start of the runners until all ready jobs are committed as completed.
func (b *bench) burn(ctx context.Context, name string) (*Result, error) {
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	var started atomic.Int64
	done := make(chan struct{})
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[task]) error {
		if started.Add(1) == int64(b.Jobs) {
			close(done)
		}
		return nil
	})
	config := b.runnerConfig(true)
	before, err := b.usage(ctx)
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	progress := b.progress(name, time.Second, started.Load)
	began := time.Now()
	ended := b.runners(running, mux, config)
	var runErr error
	select {
	case <-done:
		stop()
		runErr = <-ended // Run returns when its results are committed.
	case runErr = <-ended:
		runErr = errors.Join(errors.New("the runners ended early"), runErr)
	}
	took := time.Since(began)
	rates := progress()
	if runErr != nil {
		return nil, runErr
	}
	var left int64
	if err := b.pool.QueryRow(ctx, "select count(*) from pawl.job").Scan(&left); err != nil {
		return nil, err
	}
	if left > 0 {
		return nil, fmt.Errorf("%d jobs are left", left)
	}
	r := b.result(config)
	r.PerSecond = rates
	return r, b.spent(ctx, r, int64(b.Jobs), took, before)
}

// runners starts the configured number of runners. The channel receives their joined error when all have ended.
func (b *bench) runners(ctx context.Context, mux *pawl.Mux, config pawl.RunnerConfig) <-chan error {
	errs := make([]error, b.Runners)
	ended := make(chan error, 1)
	var wg sync.WaitGroup
	if b.Queues <= 1 {
		config.Queues = map[string]pawl.RunnerQueue{"default": {}}
	}
	for i := range errs {
		wg.Go(func() { errs[i] = b.client.Run(ctx, mux, config) })
	}
	go func() {
		wg.Wait()
		ended <- errors.Join(errs...)
	}()
	return ended
}

// bare measures the ceiling of work: the same SQL functions, called in one loop on one connection with 500 jobs at a
// time. Completed jobs go to the archive.
func (b *bench) bare(ctx context.Context) (*Result, error) {
	if err := b.fill(ctx, int64(b.Jobs)); err != nil {
		return nil, err
	}
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	conn, err := b.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	before, err := b.usage(ctx)
	if err != nil {
		return nil, err
	}
	const batch = 500
	var (
		mark   int64
		jobs   int64
		zeros  = make([]int64, batch)
		nulls  = make([]*string, batch)
		ids    = make([]int64, 0, batch)
		epochs = make([]int32, 0, batch)
	)
	began := time.Now()
	for jobs < int64(b.Jobs) {
		lease := fmt.Sprintf("00000000-0000-4000-8000-%012d", jobs)
		rows, err := conn.Query(ctx, `select pos, id, epoch, args from pawl.claim($1::uuid, null, '1 minute', $2,
				array['default'], array[0], array[''], array[$3::bigint], array[9223372036854775807], array[$2::int])`,
			pgx.QueryExecModeCacheDescribe, lease, batch, mark)
		if err != nil {
			return nil, err
		}
		ids, epochs = ids[:0], epochs[:0]
		for rows.Next() {
			var pos, id int64
			var epoch int32
			var args []byte
			if err := rows.Scan(&pos, &id, &epoch, &args); err != nil {
				return nil, err
			}
			mark = max(mark, pos)
			ids, epochs = append(ids, id), append(epochs, epoch)
		}
		if err := rows.Err(); err != nil {
			return nil, err
		}
		if len(ids) == 0 {
			return nil, fmt.Errorf("nothing left to claim after %d jobs", jobs)
		}
		n := len(ids)
		if _, err := conn.Exec(ctx, "select pawl.complete($1, $2, $3, $3, $4, 'bare', '{}', array[$5::uuid])",
			pgx.QueryExecModeCacheDescribe, ids, epochs, zeros[:n], nulls[:n], lease); err != nil {
			return nil, err
		}
		jobs += int64(n)
	}
	took := time.Since(began)
	r := b.result(pawl.RunnerConfig{})
	r.Runners, r.MinRunning, r.MaxRunning = 1, batch, batch
	return r, b.spent(ctx, r, jobs, took, before)
}

// depth measures work in alternation without and with millions of other rows: ready jobs at a lower priority of the
// same queue, scheduled jobs and archived jobs. The ratio compares the medians of three
// runs each.
func (b *bench) depth(ctx context.Context) (*Result, error) {
	medians := [2]*Result{}
	for deep := range 2 {
		if deep == 1 {
			if err := b.deepen(ctx); err != nil {
				return nil, err
			}
		}
		var runs []*Result
		for range 3 {
			if err := b.fill(ctx, int64(b.Jobs)); err != nil {
				return nil, err
			}
			r, err := b.burnTop(ctx, deep == 1)
			if err != nil {
				return nil, err
			}
			runs = append(runs, r)
		}
		medians[deep] = median(runs)
	}
	ratio := medians[1].JobsPerSecond / medians[0].JobsPerSecond
	medians[1].Ratio = &ratio
	return medians[1], nil
}

func median(runs []*Result) *Result {
	for i := range runs {
		below, same := 0, 0
		for k := range runs {
			if runs[k].JobsPerSecond < runs[i].JobsPerSecond {
				below++
			} else if runs[k].JobsPerSecond == runs[i].JobsPerSecond {
				same++
			}
		}
		if below <= len(runs)/2 && below+same > len(runs)/2 {
			return runs[i]
		}
	}
	return runs[0]
}

// burnTop measures work on the jobs with priority 0. It stops before runners reach the jobs with priority 100.
func (b *bench) burnTop(ctx context.Context, deep bool) (*Result, error) {
	if !deep {
		return b.burn(ctx, "depth: none")
	}
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	var top, below atomic.Int64
	done := make(chan struct{})
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[task]) error {
		if top.Add(1) == int64(b.Jobs) {
			close(done)
		}
		return nil
	})
	count := func(context.Context, *pawl.Job[pawl.RawArgs]) error { below.Add(1); return nil }
	pawl.Handle(mux, count, pawl.KindOptions{Kind: "deep"})
	config := b.runnerConfig(true)
	before, err := b.usage(ctx)
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	progress := b.progress("depth: deep", time.Second, top.Load)
	began := time.Now()
	ended := b.runners(running, mux, config)
	select {
	case <-done:
	case err := <-ended:
		return nil, errors.Join(errors.New("the runners ended early"), err)
	}
	stop()
	if err := <-ended; err != nil {
		return nil, err
	}
	took := time.Since(began)
	rates := progress()
	r := b.result(config)
	r.PerSecond = rates
	return r, b.spent(ctx, r, top.Load()+below.Load(), took, before)
}

func (b *bench) deepen(ctx context.Context) error {
	args := b.argsText()
	for _, text := range []string{
		`with j as (insert into pawl.job (id, created_at, epoch, priority, queue, channel, kind, args)
			select nextval('pawl.pos'), now(), 1, 100, 'default', '', 'deep', ` + args + `
				from generate_series(1, $1::int) i returning id)
			insert into pawl.ready (pos, job_id, epoch, priority, queue, channel) select id, id, 1, 100, 'default', '' from j`,
		`with j as (insert into pawl.job (id, created_at, run_at, epoch, priority, queue, channel, kind, args)
			select nextval('pawl.pos'), now(), now() + interval '1 day' + i * interval '1 ms',
				1, 0, 'default', '', 'deep', ` + args + `
				from generate_series(1, $1::int) i returning id, run_at)
			insert into pawl.scheduled (run_at, job_id, epoch, queue) select run_at, id, 1, 'default' from j`,
	} {
		if b.Progress != nil {
			fmt.Fprintf(b.Progress, "depth: loading %d rows …\r", b.Depth)
		}
		if _, err := b.pool.Exec(ctx, text, b.Depth); err != nil {
			return err
		}
	}
	if err := b.fillArchive(ctx); err != nil {
		return err
	}
	return b.prepare(ctx)
}
