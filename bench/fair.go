package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pawlhq/pawl"
)

// fair measures work whose jobs are spread over channels, and over queues if there are several.
func (b *bench) fair(ctx context.Context) (*Result, error) {
	err := b.spread(ctx, func(spec *pawl.JobSpec, i int) {
		if b.Channels > 1 {
			spec.Channel = fmt.Sprint(i % b.Channels)
		}
		if b.Queues > 1 {
			spec.Queue = fmt.Sprint("queue ", i%b.Queues)
		}
	})
	if err != nil {
		return nil, err
	}
	r, err := b.burn(ctx, "fair")
	if r != nil {
		r.Channels, r.Queues = b.Channels, b.Queues
	}
	return r, err
}

// ordered measures work in ordered channels. Each channel runs one job at a time.
func (b *bench) ordered(ctx context.Context) (*Result, error) {
	err := b.spread(ctx, func(spec *pawl.JobSpec, i int) { spec.Channel, spec.Ordered = fmt.Sprint(i%b.Channels), true })
	if err != nil {
		return nil, err
	}
	r, err := b.burn(ctx, "ordered")
	if r != nil {
		r.Channels = b.Channels
	}
	return r, err
}

func (b *bench) limited(ctx context.Context) (*Result, error) {
	return b.underPolicy(ctx, "limited", pawl.Queue{Name: "default", MaxRunning: 2000})
}

func (b *bench) rated(ctx context.Context) (*Result, error) {
	return b.underPolicy(ctx, "rated", pawl.Queue{Name: "default", Rate: pawl.Rate{N: 1_000_000}})
}

func (b *bench) underPolicy(ctx context.Context, name string, queue pawl.Queue) (*Result, error) {
	if err := b.client.PutQueue(ctx, queue); err != nil {
		return nil, err
	}
	if err := b.fill(ctx, int64(b.Jobs)); err != nil {
		return nil, err
	}
	return b.burn(ctx, name)
}

// spread inserts b.Jobs jobs and calls change with each of them first.
func (b *bench) spread(ctx context.Context, change func(*pawl.JobSpec, int)) error {
	for i := 0; i < b.Jobs; i += 10_000 {
		jobs := b.specs(int64(i), int64(min(10_000, b.Jobs-i)))
		for k := range jobs {
			change(&jobs[k], i+k)
		}
		if _, err := b.client.InsertMany(ctx, jobs); err != nil {
			return err
		}
	}
	return nil
}

// crowd inserts a job into a new channel every 100 ms while runners work on the backlog of another channel. It measures
// the time from each insert to the handler's start.
func (b *bench) crowd(ctx context.Context) (*Result, error) {
	if err := b.spread(ctx, func(spec *pawl.JobSpec, _ int) { spec.Channel = "crowd" }); err != nil {
		return nil, err
	}
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	config := b.runnerConfig(true)
	var worked atomic.Int64
	started := make(chan time.Time, 1)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[task]) error {
		if job.Channel != "crowd" {
			started <- time.Now()
			return nil
		}
		worked.Add(1)
		return nil
	})
	before, err := b.usage(ctx)
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := b.runners(running, mux, config)
	began := time.Now()
	var waits []float64
	for i := 0; worked.Load() < int64(b.Jobs)*9/10; i++ {
		pause := time.NewTimer(100 * time.Millisecond)
		select {
		case <-pause.C:
		case err := <-ended:
			return nil, errors.Join(errors.New("the runners ended early"), err)
		}
		called := time.Now()
		single := pawl.JobSpec{Args: b.task(int64(i)), Channel: fmt.Sprint("single ", i)}
		if _, err := b.client.Insert(ctx, single); err != nil {
			return nil, err
		}
		select {
		case at := <-started:
			waits = append(waits, float64(at.Sub(called))/float64(time.Millisecond))
		case <-time.After(30 * time.Second):
			return nil, errors.New("a channel's first job has waited for 30 s")
		}
	}
	took := time.Since(began)
	r := b.result(config)
	if err := b.spent(ctx, r, worked.Load(), took, before); err != nil {
		return nil, err
	}
	stop()
	if err := <-ended; err != nil {
		return nil, err
	}
	slices.Sort(waits)
	r.setPercentiles(waits)
	return r, nil
}
