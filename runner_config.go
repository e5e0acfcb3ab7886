package pawl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// RunnerConfig configures Run. Its zero value works.
type RunnerConfig struct {
	// Queues are the queues to run, and the runner's shares of them. If nil, the runner runs all queues, also those
	// that are made later.
	Queues map[string]RunnerQueue

	// Max is the number of jobs that run at once, at most. It defaults to 32. The runner claims up to Max jobs when
	// fewer than Min run. Min defaults to half of Max. A runner holds claimed jobs in memory: for long-running jobs,
	// set a small Max.
	Min, Max int

	// Name identifies the worker. It defaults to host:pid.
	Name string

	// Heartbeat is the time between two heartbeats. It defaults to 3 s, and is at least 100 ms. A worker that is
	// silent for three heartbeats is stale, and its jobs run elsewhere.
	Heartbeat time.Duration

	// PollInterval is the longest time between two claims of an idle runner. It defaults to 1 s.
	PollInterval time.Duration

	// DrainTimeout is how long running handlers may go on after ctx has ended. Then their contexts end with
	// ErrShutdown. It defaults to 30 s.
	DrainTimeout time.Duration

	// NoMaintenance leaves rescue, cron and retention to other processes: see Maintain.
	NoMaintenance bool

	// OnFailure, if not nil, is called after each attempt that did not succeed. If final is true, the job has no
	// other attempt.
	OnFailure func(ctx context.Context, job *JobInfo, err error, final bool)
}

// RunnerQueue is a runner's share of a queue.
type RunnerQueue struct {
	// Weight is the queue's share of claims, relative to the other queues. It defaults to 1.
	Weight int

	// Max is the number of jobs of the queue that run at once in this runner, at most. If zero, only RunnerConfig.Max
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
