package main

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/lookup"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

// workerHealth is a row of worker health: all workers, or the workers of a queue.
type workerHealth struct {
	Queue     string `json:"queue_name" table:"queue"`
	Total     int    `json:"total_workers" table:"total"`
	Ready     int    `json:"ready_workers" table:"ready"`
	Suspended int    `json:"suspended_workers" table:"suspended"`
	Stopped   int    `json:"stopped_workers" table:"stopped"`
	Stale     int    `json:"stale_workers" table:"stale"`
	Failing   int    `json:"failing_workers" table:"failing"`
}

func workerHealthCommand(p *program.Program) *cobra.Command {
	var queue string
	var timeout time.Duration
	var grouped bool
	command := &cobra.Command{
		Use:   "health",
		Short: "Show how many workers are ready and how many are silent, in total or by queue",
		Long: `Health counts workers that are ready, suspended, gone, stale, and failing. A stale worker is alive
and has been silent for too long: for longer than its own limit (three heartbeats), or than --timeout. A failing
worker is alive and reports a problem, which pawl worker list shows. With --group-by-queue there is a row for each
queue, even if no worker runs it. A worker that runs all queues counts in each row.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx := command.Context()
			client, err := p.Open(ctx)
			if err != nil {
				return err
			}
			workers, err := client.Workers(ctx)
			if err != nil {
				return err
			}
			if command.Flags().Changed("timeout") || command.Flags().Changed("max-age") {
				for i := range workers {
					workers[i].Stale = workers[i].Silent > timeout
				}
			}
			names := []string{queue}
			if grouped && queue == "" {
				if names, err = queuesWithWorkers(ctx, client, workers); err != nil {
					return err
				}
			}
			rows := []workerHealth{}
			for _, name := range names {
				c := countWorkers(workers, name)
				rows = append(rows, workerHealth{
					cmp.Or(name, "Global"), c.total, c.ready, c.suspended, c.stopped + c.lost, c.stale, c.failing,
				})
			}
			return p.Print(rows)
		},
	}
	flags := command.Flags()
	flags.StringVarP(&queue, "queue", "q", "", "only workers that run this queue")
	flags.Var((*flagvalue.Duration)(&timeout), "timeout",
		"a worker is stale after this much silence; if not given, after its own limit")
	flags.BoolVar(&grouped, "group-by-queue", false, "a row for each queue")
	flags.Var((*flagvalue.Duration)(&timeout), "max-age", "the same as --timeout")
	flags.Lookup("max-age").Hidden = true
	return command
}

// queuesWithWorkers returns the names of all queues, including those that only workers name.
func queuesWithWorkers(ctx context.Context, client *pawl.Client, workers []pawl.Worker) ([]string, error) {
	queues, _, err := lookup.Queues(ctx, client)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, q := range queues {
		names = append(names, q.Name)
	}
	for _, w := range workers {
		names = append(names, w.Queues...)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
