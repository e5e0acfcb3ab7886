package pawl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// RunnerConfig configures [Client.Run]. The zero value is ready to use.
type RunnerConfig struct {
	// Queues maps the names of the queues to run to the runner's share of each. If nil, the runner runs all queues,
	// including queues that are created later.
	Queues map[string]RunnerQueue

	// Max is the largest number of jobs that run at once. It defaults to 32. When fewer than Min jobs run, the runner
	// claims more, up to Max. Min defaults to half of Max. A runner keeps claimed jobs in memory: for long-running jobs,
	// set a small Max.
	Min, Max int

	// Name identifies the worker. It defaults to host:pid.
	Name string

	// Heartbeat is the time between two heartbeats, at least 100 ms. It defaults to 3 s. If a worker misses three
	// heartbeats, it is stale: its jobs are rescued and run on other workers.
	Heartbeat time.Duration

	// PollInterval is the longest time between two claims of an idle runner. It defaults to 1 s.
	PollInterval time.Duration

	// DrainTimeout is how long running handlers may continue after Run's context has ended. After it, their contexts end
	// with ErrShutdown. It defaults to 30 s.
	DrainTimeout time.Duration

	// NoMaintenance turns maintenance off in this runner, so that other processes have to do it: see Client.Maintain.
	NoMaintenance bool

	// OnFailure, if not nil, is called after each attempt that did not complete its job. If final is true, the job is
	// now dead or cancelled.
	OnFailure func(ctx context.Context, job *JobInfo, err error, final bool)
}

// A RunnerQueue is a runner's share of a queue.
type RunnerQueue struct {
	// Weight is the queue's share of the slots, relative to the other queues that have ready jobs. It defaults to 1. If
	// the others have none, the queue may use all slots.
	Weight int

	// Max is the largest number of jobs of the queue that run at once in this runner. If zero, only RunnerConfig.Max
	// limits them.
	Max int
}

const (
	defaultMax          = 32
	defaultHeartbeat    = 3 * time.Second
	defaultPollInterval = time.Second
	defaultDrainTimeout = 30 * time.Second
)

// fill checks the configuration and sets defaults.
func (rc *RunnerConfig) fill() error {
	if rc.Max == 0 {
		rc.Max = max(defaultMax, rc.Min)
	}
	rc.Min = cmp.Or(rc.Min, (rc.Max+1)/2)
	if rc.Min < 1 || rc.Max < rc.Min {
		return fmt.Errorf("pawl: run: RunnerConfig has Min %d and Max %d: want 1 ≤ Min ≤ Max", rc.Min, rc.Max)
	}
	if rc.Queues != nil && len(rc.Queues) == 0 {
		return errors.New("pawl: run: RunnerConfig.Queues is empty: name a queue, or leave it nil for all queues")
	}
	for name, q := range rc.Queues {
		if name == "" || q.Weight < 0 || q.Max < 0 {
			return fmt.Errorf("pawl: run: RunnerConfig.Queues[%q]: want a name, and no negative Weight or Max", name)
		}
	}
	rc.Heartbeat = cmp.Or(rc.Heartbeat, defaultHeartbeat)
	rc.PollInterval = cmp.Or(rc.PollInterval, defaultPollInterval)
	rc.DrainTimeout = cmp.Or(rc.DrainTimeout, defaultDrainTimeout)
	if rc.Heartbeat < 100*time.Millisecond || rc.PollInterval < time.Millisecond || rc.DrainTimeout < 0 {
		return fmt.Errorf("pawl: run: RunnerConfig has Heartbeat %v, PollInterval %v and DrainTimeout %v: "+
			"want at least 100 ms, at least 1 ms, and none that is negative",
			rc.Heartbeat, rc.PollInterval, rc.DrainTimeout)
	}
	if rc.Name == "" {
		host, _ := os.Hostname()
		rc.Name = fmt.Sprintf("%s:%d", host, os.Getpid())
	}
	return nil
}
