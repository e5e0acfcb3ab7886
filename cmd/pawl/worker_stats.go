package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/lookup"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

// workerStats is the row that worker stats prints.
type workerStats struct {
	Total        int            `json:"total_workers"`
	Ready        int            `json:"ready_workers"`
	Suspended    int            `json:"suspended_workers"`
	ShuttingDown int            `json:"shutting_down_workers"`
	Stopped      int            `json:"stopped_workers"`
	Lost         int            `json:"lost_workers"`
	Stale        int            `json:"stale_workers"`
	Running      int            `json:"running"`
	Stuck        int            `json:"stuck"`
	Average      float64        `json:"average_messages_per_worker"`
	Oldest       *time.Duration `json:"oldest_worker_age"` // Nil if no worker is alive.
	Newest       *time.Duration `json:"newest_heartbeat_age"`
}

func workerStatsCommand(p *program.Program) *cobra.Command {
	var queue string
	command := &cobra.Command{
		Use:   "stats [QUEUE]",
		Short: "Show the figures of all workers, or of the workers that run a queue",
		Long: `Stats counts workers by state, including those that have gone within the last day. The average is
the number of running jobs per live worker, at their last heartbeats. It includes all jobs of a worker that runs
several queues. The ages are those of live workers.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) == 1 {
				if queue != "" && queue != args[0] {
					return exit.Usagef("%s and --queue %s exclude each other", args[0], queue)
				}
				queue = args[0]
			}
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			workers, err := client.Workers(command.Context())
			if err != nil {
				return err
			}
			c := countWorkers(workers, queue)
			row := workerStats{
				Total: c.total, Ready: c.ready, Suspended: c.suspended, ShuttingDown: c.stopping, Stopped: c.stopped,
				Lost: c.lost, Stale: c.stale, Running: c.running, Stuck: c.stuck,
			}
			if live := c.ready + c.suspended + c.stopping; live > 0 {
				row.Average = roundRate(float64(c.running) / float64(live))
				row.Oldest, row.Newest = &c.oldestAge, &c.newestHeartbeat
			}
			return p.Print(row)
		},
	}
	command.Flags().StringVarP(&queue, "queue", "q", "", "the same as QUEUE")
	return command
}

// workerCounts holds figures of workers. Workers that have gone count only in total, stopped and lost.
type workerCounts struct {
	total, ready, suspended, stopping, stopped, lost int

	stale           int           // Live workers that have been silent for too long.
	running         int           // Jobs.
	stuck           int           // Handlers.
	failing         int           // Live workers that report a problem.
	oldestAge       time.Duration // The age of the oldest worker.
	newestHeartbeat time.Duration // The time since the last heartbeat of any worker.
}

// countWorkers counts the workers that run a queue, or all workers if the queue is "". The running jobs of a worker may
// be of other queues.
func countWorkers(workers []pawl.Worker, queue string) workerCounts {
	var c workerCounts
	live := 0
	for _, w := range workers {
		if !lookup.RunsQueue(w, queue) {
			continue
		}
		c.total++
		switch w.State {
		case "ready":
			c.ready++
		case "suspended":
			c.suspended++
		case "stopping":
			c.stopping++
		case "stopped":
			c.stopped++
			continue
		case "lost":
			c.lost++
			continue
		}
		if w.Stale {
			c.stale++
		}
		c.running += w.Running
		c.stuck += len(w.Stuck)
		if w.Problem != "" {
			c.failing++
		}
		c.oldestAge = max(c.oldestAge, w.Age)
		if live++; live == 1 || w.Silent < c.newestHeartbeat {
			c.newestHeartbeat = w.Silent
		}
	}
	return c
}
