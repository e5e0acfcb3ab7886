package bench

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl"
)

// backlog is the largest number of unfinished jobs in a flow.
const backlog = 20_000

func (b *bench) flow(ctx context.Context) (*Result, error) { return b.stream(ctx, "flow", 0) }

// retry measures flow while a fifth of the jobs fail at their first attempt and are retried after a second.
func (b *bench) retry(ctx context.Context) (*Result, error) { return b.stream(ctx, "retry", 5) }

// pinned measures flow while a snapshot is open, so that vacuum cannot remove newer dead rows.
func (b *bench) pinned(ctx context.Context) (*Result, error) {
	return b.under(ctx, "pinned", pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, "select count(*) from pawl.queue")
}

// pinnedWriter measures flow while a transaction with a transaction number is open. Claim marks cannot advance past it.
func (b *bench) pinnedWriter(ctx context.Context) (*Result, error) {
	return b.under(ctx, "pinned-writer", pgx.TxOptions{}, "select pg_current_xact_id()")
}

func (b *bench) under(ctx context.Context, name string, options pgx.TxOptions, first string) (*Result, error) {
	tx, err := b.pool.BeginTx(ctx, options)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if _, err := tx.Exec(ctx, first); err != nil {
		return nil, err
	}
	return b.stream(ctx, name, 0)
}

// stream inserts jobs while runners work on them. If failing is not 0, one job in failing fails at its first
// attempt.
func (b *bench) stream(ctx context.Context, name string, failing int64) (*Result, error) {
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	var inserted, worked atomic.Int64
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[task]) error {
		if job.Args.Fail && job.Attempt == 1 {
			return pawl.RetryAfter(time.Second, errors.New("fails once"))
		}
		worked.Add(1)
		return nil
	})
	config := b.runnerConfig(true)
	before, err := b.usage(ctx)
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := b.runners(running, mux, config)
	inserting := make(chan error, 1)
	go func() {
		for running.Err() == nil {
			if inserted.Load()-worked.Load() > backlog {
				tick(running)
				continue
			}
			jobs := b.specs(inserted.Load(), 1000)
			for i := range jobs {
				if t := jobs[i].Args.(task); failing > 0 && t.N%failing == 0 {
					t.Fail = true
					jobs[i].Args = t
				}
			}
			if _, err := b.client.InsertMany(running, jobs); err != nil {
				if running.Err() == nil {
					inserting <- err
				}
				break
			}
			inserted.Add(1000)
		}
		close(inserting)
	}()
	progress := b.progress(name, time.Second, worked.Load)
	began := time.Now()
	timer := time.NewTimer(b.Duration)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	case err := <-inserting:
		return nil, err
	case err := <-ended:
		return nil, errors.Join(errors.New("the runners ended early"), err)
	}
	jobs, took := worked.Load(), time.Since(began)
	rates := progress()
	r := b.result(config)
	r.PerSecond = rates
	if err := b.spent(ctx, r, jobs, took, before); err != nil {
		return nil, err
	}
	stop()
	if err := errors.Join(<-ended, <-inserting); err != nil {
		return nil, err
	}
	if window := min(int(b.Window/time.Second), len(rates)/2); window > 0 {
		first, last := mean(rates[:window]), mean(rates[len(rates)-window:])
		r.FirstWindow, r.LastWindow = &first, &last
	}
	return r, nil
}

func mean(rates []float64) (sum float64) {
	for _, rate := range rates {
		sum += rate
	}
	return sum / float64(len(rates))
}

// tick waits for a moment.
func tick(ctx context.Context) {
	timer := time.NewTimer(time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// latency inserts single jobs at Config.Rate and measures the time from the call of Insert to the handler's start. It
// leaves out the first and the last second.
func (b *bench) latency(ctx context.Context) (*Result, error) {
	config := b.runnerConfig(false)
	n := b.Rate * int(b.Duration/time.Second)
	n = max(n, b.Rate)
	margin := b.Rate
	called, started := make([]time.Time, n+2*margin), make([]atomic.Int64, n+2*margin)
	var count atomic.Int64
	done := make(chan struct{})
	mux := new(pawl.Mux)
	epoch := time.Now()
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[task]) error {
		started[job.Args.N].Store(int64(time.Since(epoch)))
		if count.Add(1) == int64(len(started)) {
			close(done)
		}
		return nil
	})
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := b.runners(running, mux, config)
	before, err := b.usage(ctx)
	if err != nil {
		return nil, err
	}
	errs := make(chan error, len(called))
	began := time.Now()
	pace := time.NewTicker(time.Second / time.Duration(b.Rate))
	defer pace.Stop()
	for i := range called {
		select {
		case <-pace.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		called[i] = time.Now()
		go func() {
			_, err := b.client.Insert(ctx, b.task(int64(i)))
			if err != nil {
				errs <- err
			}
		}()
	}
	select {
	case <-done:
	case err := <-errs:
		return nil, err
	case err := <-ended:
		return nil, errors.Join(errors.New("the runners ended early"), err)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	took := time.Since(began)
	r := b.result(config)
	if err := b.spent(ctx, r, int64(len(called)), took, before); err != nil {
		return nil, err
	}
	stop()
	if err := <-ended; err != nil {
		return nil, err
	}
	waits := make([]float64, 0, n)
	for i := margin; i < margin+n; i++ {
		at := epoch.Add(time.Duration(started[i].Load()))
		waits = append(waits, float64(at.Sub(called[i]))/float64(time.Millisecond))
	}
	slices.Sort(waits)
	r.setPercentiles(waits)
	return r, nil
}
