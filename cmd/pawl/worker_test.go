package main

import (
	"testing"
	"time"

	"github.com/pawlhq/pawl"
)

func TestCountWorkers(t *testing.T) {
	t.Parallel()
	workers := []pawl.Worker{
		{State: "ready", Running: 6, Age: 2 * time.Hour, Silent: time.Second},
		{Queues: []string{"a", "b"}, State: "ready", Running: 2, Age: time.Hour, Silent: 30 * time.Second, Stale: true},
		{Queues: []string{"b"}, State: "suspended", Running: 1, Age: 3 * time.Hour, Silent: 2 * time.Second},
		{Queues: []string{"b"}, State: "stopping", Age: time.Minute, Silent: 3 * time.Second},
		{Queues: []string{"b"}, State: "stopped", Age: 9 * time.Hour, Silent: time.Hour},
		{State: "lost", Running: 5, Age: 9 * time.Hour},
	}
	for _, want := range []workerCounts{
		{
			Total: 6, Ready: 2, Suspended: 1, Stopping: 1, Stopped: 1, Lost: 1, Stale: 1, Running: 9, AverageRunning: 2.25,
			OldestAge: 3 * time.Hour, NewestHeartbeat: time.Second,
		},
		{
			Queue: "a", Total: 3, Ready: 2, Lost: 1, Stale: 1, Running: 8, AverageRunning: 4,
			OldestAge: 2 * time.Hour, NewestHeartbeat: time.Second,
		},
		{
			Queue: "c", Total: 2, Ready: 1, Lost: 1, Running: 6, AverageRunning: 6,
			OldestAge: 2 * time.Hour, NewestHeartbeat: time.Second,
		},
	} {
		if got := countWorkers(workers, want.Queue); got != want {
			t.Errorf("queue %q: counted\n%+v, want\n%+v", want.Queue, got, want)
		}
	}
	if got := countWorkers(nil, ""); got != (workerCounts{}) {
		t.Errorf("no workers are counted as %+v", got)
	}
}
