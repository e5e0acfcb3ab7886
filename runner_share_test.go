package pawl_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// Jobs that hold their slots for long do not keep the slots from the jobs of others: a queue or channel holds its
// share while others have ready jobs, and all slots otherwise.
func TestSlotsAreSharedWhileOthersHaveReadyJobs(t *testing.T) {
	t.Parallel()
	channel := func(name string) pawl.JobSpec { return pawl.JobSpec{Args: Note{}, Channel: name} }
	queue := func(name string) pawl.JobSpec { return pawl.JobSpec{Args: Note{}, Queue: name} }
	for _, test := range []struct {
		name   string
		spec   func(string) pawl.JobSpec
		queues map[string]pawl.RunnerQueue
	}{
		{"queues", queue, nil},
		{"channels", channel, nil},
		{"chosen queues", queue, map[string]pawl.RunnerQueue{"slow": {}, "fast": {}}},
		{"a queue with a maximum", queue, map[string]pawl.RunnerQueue{"slow": {Max: 8}, "fast": {}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			insertAll := func(name string, n int) {
				specs := make([]pawl.JobSpec, n)
				for i := range specs {
					specs[i] = test.spec(name)
				}
				_, err := client.InsertMany(t.Context(), specs)
				must(t, err)
			}
			var slow, fast atomic.Int32
			leave := make(chan struct{})
			mux := new(pawl.Mux)
			pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error {
				if job.Queue == "fast" || job.Channel == "fast" {
					fast.Add(1)
					return nil
				}
				slow.Add(1)
				defer slow.Add(-1)
				select {
				case <-leave:
				case <-ctx.Done():
				}
				return context.Cause(ctx)
			})
			insertAll("slow", 100)
			start(t, client, mux, pawl.RunnerConfig{Max: 8, Queues: test.queues})
			pgtest.Wait(t, "slow jobs in all slots", func() bool { return slow.Load() == 8 })
			insertAll("fast", 100)
			released := 0
			pgtest.Wait(t, "the fast jobs to be done", func() bool {
				if released < 40 {
					select {
					case leave <- struct{}{}:
						released++
					default:
					}
				}
				return fast.Load() == 100
			})
			close(leave)
			pgtest.Wait(t, "all jobs to be done", func() bool { return liveRows(t, pool) == 0 })
		})
	}
}
