// Package top shows the state of an installation, once or continuously on a terminal.
package top

import (
	"context"
	"slices"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

// Snapshot is the state of an installation at one moment.
type Snapshot struct {
	At           time.Time     `json:"at"`
	LiveWorkers  int           `json:"live_workers"`
	StaleWorkers int           `json:"stale_workers"`
	Dead         int64         `json:"dead"`
	Archived     int64         `json:"archived_estimate"`
	XminAge      time.Duration `json:"xmin_age"`
	Queues       []Queue       `json:"queues"`
	Workers      []Worker      `json:"workers"`
	Running      []Job         `json:"running"`
}

// Queue holds the figures of a queue.
type Queue struct {
	Queue     string        `json:"queue"`
	Ready     int64         `json:"ready"`
	Running   int64         `json:"running"`
	Scheduled int64         `json:"scheduled"`
	Waiting   int64         `json:"waiting"`
	Reserved  int64         `json:"reserved"`
	Dead      int64         `json:"dead"`
	Estimated bool          `json:"estimated"`
	In        float64       `json:"in_per_second"`
	Out       float64       `json:"out_per_second"`
	Failed    float64       `json:"failed_per_second"`
	Oldest    time.Duration `json:"oldest_ready"`
	Lag       time.Duration `json:"lag"`
}

// idle returns 0 if jobs arrive, run or finish, 1 if jobs are ready, else 2.
func (q *Queue) idle() int {
	switch {
	case q.Running > 0 || q.In+q.Out+q.Failed > 0:
		return 0
	case q.Ready > 0:
		return 1
	}
	return 2
}

// Worker is a live worker.
type Worker struct {
	ID      int64         `json:"id"`
	Name    string        `json:"name"`
	State   string        `json:"state"`
	Stale   bool          `json:"stale"`
	Running int           `json:"running"`
	Queues  []string      `json:"queues"`
	Age     time.Duration `json:"age"`
	Silent  time.Duration `json:"silent"`
}

// Job is a running job.
type Job struct {
	ID      pawl.ID       `json:"id"`
	Queue   string        `json:"queue"`
	Channel string        `json:"channel"`
	Kind    string        `json:"kind"`
	Attempt int           `json:"attempt"`
	Age     time.Duration `json:"age"` // Since the job was inserted.
	Percent int           `json:"percent"`
	Message string        `json:"message"`
}

const maxJobs = 100 // Running jobs in a snapshot.

// Take returns a snapshot.
func Take(ctx context.Context, client *pawl.Client) (Snapshot, error) {
	stats, err := client.Stats(ctx)
	if err != nil {
		return Snapshot{}, err
	}
	snapshot := Snapshot{
		At: stats.At, LiveWorkers: stats.Workers, StaleWorkers: stats.StaleWorkers, Dead: stats.Dead,
		Archived: stats.Archived, XminAge: stats.XminAge, Queues: []Queue{}, Workers: []Worker{}, Running: []Job{},
	}
	for _, q := range stats.Queues {
		snapshot.Queues = append(snapshot.Queues, Queue{
			Queue: q.Queue, Ready: q.Ready, Running: q.Running, Scheduled: q.Scheduled, Waiting: q.Waiting,
			Reserved: q.Reserved, Dead: q.Dead, Estimated: q.Estimated, In: q.In, Out: q.Out, Failed: q.Failed,
			Oldest: q.OldestReady, Lag: q.Lag,
		})
	}
	// Busy queues come first, because a small terminal does not show all.
	slices.SortStableFunc(snapshot.Queues, func(a, b Queue) int { return a.idle() - b.idle() })
	workers, err := client.Workers(ctx)
	if err != nil {
		return Snapshot{}, err
	}
	for _, w := range workers {
		if w.State != "stopped" && w.State != "lost" {
			worker := Worker{w.ID, w.Name, w.State, w.Stale, w.Running, w.Queues, w.Age, w.Silent}
			snapshot.Workers = append(snapshot.Workers, worker)
		}
	}
	jobs, err := client.List(ctx, pawl.Filter{States: []pawlstate.State{pawlstate.Running}, Limit: maxJobs})
	if err != nil {
		return Snapshot{}, err
	}
	for _, job := range jobs {
		snapshot.Running = append(snapshot.Running, Job{
			job.ID, job.Queue, job.Channel, job.Kind, job.Attempt, stats.At.Sub(job.CreatedAt), job.Percent,
			job.Message,
		})
	}
	return snapshot, nil
}
