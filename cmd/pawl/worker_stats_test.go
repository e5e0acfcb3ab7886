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
	for queue, want := range map[string]workerCounts{
		"": {
			total: 6, ready: 2, suspended: 1, stopping: 1, stopped: 1, lost: 1, stale: 1, running: 9,
			oldestAge: 3 * time.Hour, newestHeartbeat: time.Second,
		},
		"a": {
			total: 3, ready: 2, lost: 1, stale: 1, running: 8, oldestAge: 2 * time.Hour, newestHeartbeat: time.Second,
		},
		"c": {total: 2, ready: 1, lost: 1, running: 6, oldestAge: 2 * time.Hour, newestHeartbeat: time.Second},
	} {
		if got := countWorkers(workers, queue); got != want {
			t.Errorf("queue %q: counted\n%+v, want\n%+v", queue, got, want)
		}
	}
	if got := countWorkers(nil, ""); got != (workerCounts{}) {
		t.Errorf("no workers are counted as %+v", got)
	}
}
