package pawl_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// most counts how many handlers run at once, at most.
type most struct{ now, peak atomic.Int32 }

func (m *most) enter() (leave func()) {
	n := m.now.Add(1)
	for {
		p := m.peak.Load()
		if n <= p || m.peak.CompareAndSwap(p, n) {
			return func() { m.now.Add(-1) }
		}
	}
}

func TestAKindsMaxLimitsItsHandlers(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	var m most
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		defer m.enter()()
		_, err := pool.Exec(ctx, "select pg_sleep(0.005)")
		return err
	}, pawl.KindOptions{Max: 2})
	if _, err := client.InsertMany(t.Context(), notes(40)); err != nil {
		t.Fatal(err)
	}
	start(t, client, mux, pawl.RunnerConfig{Max: 20})
	pgtest.Wait(t, "all to be done", func() bool { return liveRows(t, pool) == 0 })
	if p := m.peak.Load(); p != 2 {
		t.Errorf("%d ran at once, want 2", p)
	}
}

func TestARunnersMaxLimitsItsHandlers(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	var m most
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
		defer m.enter()()
		_, err := pool.Exec(ctx, "select pg_sleep(0.005)")
		return err
	})
	if _, err := client.InsertMany(t.Context(), notes(60)); err != nil {
		t.Fatal(err)
	}
	start(t, client, mux, pawl.RunnerConfig{Max: 3, Min: 3})
	pgtest.Wait(t, "all to be done", func() bool { return liveRows(t, pool) == 0 })
	if p := m.peak.Load(); p > 3 {
		t.Errorf("%d ran at once, want at most 3", p)
	}
}

func TestAQueuesMaxLimitsItsHandlersOverAllLanes(t *testing.T) {
	for name, place := range map[string]func(i int) pawl.JobSpec{
		"one lane":   func(i int) pawl.JobSpec { return pawl.JobSpec{} },
		"priorities": func(i int) pawl.JobSpec { return pawl.JobSpec{Priority: i % 5} },
		"channels":   func(i int) pawl.JobSpec { return pawl.JobSpec{Channel: fmt.Sprint(i % 5)} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			var small, large most
			mux := new(pawl.Mux)
			pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
				m := &large
				if job.Queue == "small" {
					m = &small
				}
				defer m.enter()()
				_, err := pool.Exec(ctx, "select pg_sleep(0.002)")
				return err
			})
			jobs := notes(80)
			for i := range jobs {
				args := jobs[i].Args
				jobs[i] = place(i / 2)
				jobs[i].Args, jobs[i].Queue = args, []string{"small", "large"}[i%2]
			}
			foreign := insert(t, client, pawl.JobSpec{Args: Note{0}, Queue: "foreign"})
			if _, err := client.InsertMany(t.Context(), jobs); err != nil {
				t.Fatal(err)
			}
			queues := map[string]pawl.RunnerQueue{"small": {Max: 2, Weight: 3}, "large": {}}
			start(t, client, mux, pawl.RunnerConfig{Max: 16, Queues: queues})
			pgtest.Wait(t, "all to be done", func() bool { return liveRows(t, pool) == 2 })
			if p := small.peak.Load(); p > 2 {
				t.Errorf("%d of the queue ran at once, want at most 2", p)
			}
			await(t, client, foreign, pawlstate.Ready)
		})
	}
}
