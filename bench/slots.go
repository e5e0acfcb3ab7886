package bench

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/pawlhq/pawl"
)

// slow is the kind of the jobs that hold their slots for long.
type slow struct{}

func (slow) Kind() string { return "slow" }

// slots measures how soon jobs of no work are done in a queue beside another queue, whose jobs take 200 ms each. The
// slow jobs are ready first and hold all slots. It also measures how well the slots are used: SlotsUsed is the time
// that the slow jobs took, divided by the time that all slots had until the last one ended.
func (b *bench) slots(ctx context.Context) (*Result, error) {
	const takes = 200 * time.Millisecond
	config := b.runnerConfig(false)
	jobs := make([]pawl.JobSpec, 2*b.Jobs)
	for i := range jobs {
		jobs[i] = pawl.JobSpec{Args: slow{}, Queue: "slow"}
	}
	if _, err := b.client.InsertMany(ctx, jobs); err != nil {
		return nil, err
	}
	var slept, worked atomic.Int64
	busy, fast, all := make(chan struct{}), make(chan struct{}), make(chan struct{})
	mux := new(pawl.Mux)
	r := b.result(config)
	pawl.Handle(mux, func(ctx context.Context, _ *pawl.Job[slow]) error {
		switch slept.Add(1) {
		case int64(r.MaxRunning + 1): // All slots were held.
			close(busy)
		case int64(len(jobs)):
			defer close(all)
		}
		pause := time.NewTimer(takes)
		defer pause.Stop()
		select {
		case <-pause.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	pawl.Handle(mux, func(context.Context, *pawl.Job[task]) error {
		if worked.Add(1) == int64(b.Jobs) {
			close(fast)
		}
		return nil
	})
	before, err := b.usage(ctx)
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	began := time.Now()
	go func() { ended <- b.client.Run(running, mux, config) }()
	until := func(done <-chan struct{}) error {
		select {
		case <-done:
			return nil
		case err := <-ended:
			return errors.Join(errors.New("the runner ended early"), err)
		}
	}
	if err := until(busy); err != nil {
		return nil, err
	}
	if err := b.spread(ctx, func(spec *pawl.JobSpec, _ int) { spec.Queue = "fast" }); err != nil {
		return nil, err
	}
	inserted := time.Now()
	if err := until(fast); err != nil {
		return nil, err
	}
	took := time.Since(inserted)
	if err := b.spent(ctx, r, int64(b.Jobs), took, before); err != nil {
		return nil, err
	}
	if err := until(all); err != nil {
		return nil, err
	}
	used := float64(len(jobs)) * takes.Seconds() / (time.Since(began).Seconds() * float64(r.MaxRunning))
	r.SlotsUsed = &used
	stop()
	return r, <-ended
}
