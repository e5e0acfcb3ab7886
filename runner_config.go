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
	// now dead or cancelled. Its context ends after 10 seconds. If OnFailure does not return by then, it is not called
	// for a minute.
	OnFailure func(ctx context.Context, job *JobInfo, err error, final bool)

	// StuckAfter is how long a handler may continue after its context has ended, because of its timeout, a cancel or a
	// lost lease. It defaults to 5 s. After it the handler is stuck. Its stack is logged, and its attempt ends without
	// it: after a timeout the attempt has failed with ErrTimeout, and the job may run again elsewhere. When the handler
	// returns, its result is discarded. If handlers take longer to end with their contexts, set a longer time. See also
	// KindOptions.ReplaceStuck.
	StuckAfter time.Duration

	// OnStuck, if not nil, is called once for each job whose handler is stuck. cause is why its context ended, and stack
	// is the stack of its goroutine. The end of the attempt was stored, unless that took more than 5 seconds. A stuck
	// handler can only be ended with its process: OnStuck may end the context of Run, and the process ends when Run has
	// returned. The context of OnStuck ends as that of OnFailure does.
	OnStuck func(ctx context.Context, job *JobInfo, cause error, stack string)
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
	defaultStuckAfter   = 5 * time.Second
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
	rc.StuckAfter = cmp.Or(rc.StuckAfter, defaultStuckAfter)
	if rc.Heartbeat < 100*time.Millisecond || rc.PollInterval < time.Millisecond ||
		rc.DrainTimeout < 0 || rc.StuckAfter < 0 {
		return fmt.Errorf("pawl: run: RunnerConfig has Heartbeat %v, PollInterval %v, DrainTimeout %v and StuckAfter %v: "+
			"want at least 100 ms, at least 1 ms, and none that is negative",
			rc.Heartbeat, rc.PollInterval, rc.DrainTimeout, rc.StuckAfter)
	}
	if rc.Name == "" {
		host, _ := os.Hostname()
		rc.Name = fmt.Sprintf("%s:%d", host, os.Getpid())
	}
	return nil
}
