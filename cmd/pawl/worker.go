package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/lookup"
	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
	"github.com/pawlhq/pawl/cmd/pawl/internal/pgqrs"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

func workerCommand(p *program.Program) *cobra.Command {
	command := &cobra.Command{
		Use:   "worker",
		Short: "Show workers, suspend and stop them",
		Long: `A worker is a process that runs jobs: a Go program, or pawl consume. The database remembers
workers for a day after they have gone.`,
		GroupID: groupRun,
	}
	command.AddCommand(
		workerListCommand(p), workerShowCommand(p), workerStatsCommand(p), workerHealthCommand(p),
		workerSuspendCommand(p), workerResumeCommand(p), workerStopCommand(p), workerReleaseCommand(p),
		workerPurgeCommand(p),
		pgqrs.Alias(workerStopCommand(p), "shutdown"), pgqrs.Alias(workerReleaseCommand(p), "release-messages"),
	)
	command.AddCommand(pgqrs.WorkerCommands(p, version().Version)...)
	return command
}

func workerSuspendCommand(p *program.Program) *cobra.Command {
	return workersCommand(p, &cobra.Command{
		Use:   "suspend ID...",
		Short: "Let workers claim no jobs until they are resumed; running jobs continue",
	}, (*pawl.Client).SuspendWorker)
}

func workerResumeCommand(p *program.Program) *cobra.Command {
	return workersCommand(p, &cobra.Command{
		Use:   "resume ID...",
		Short: "Let suspended workers claim jobs again",
	}, (*pawl.Client).ResumeWorker)
}

func workerStopCommand(p *program.Program) *cobra.Command {
	return workersCommand(p, &cobra.Command{
		Use:   "stop ID...",
		Short: "Let workers finish their running jobs and exit; this cannot be undone",
		Long: `Stop tells workers to claim no more jobs, to finish their running jobs, and to exit, as SIGTERM
does. Workers are notified at once, or behind a pooler at their next heartbeat. When its drain timeout ends, a
worker releases the jobs that still run.`,
	}, (*pawl.Client).StopWorker)
}

// changedWorker is the row that suspend, resume and stop print.
type changedWorker struct {
	ID    int64  `json:"id"`
	State string `json:"state"`
}

// workersCommand completes a command that changes the state of workers one by one.
func workersCommand(
	p *program.Program, command *cobra.Command, change func(*pawl.Client, context.Context, int64) error,
) *cobra.Command {
	command.Args = cobra.MinimumNArgs(1)
	command.RunE = func(command *cobra.Command, args []string) error {
		ctx := command.Context()
		var ids []int64
		for _, text := range args {
			id, err := flagvalue.ParseWorkerID(text)
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
		client, err := p.Open(ctx)
		if err != nil {
			return err
		}
		rows := []changedWorker{}
		var failed error
		for _, id := range ids {
			err := change(client, ctx, id)
			if err == nil {
				var worker pawl.Worker
				worker, err = lookup.Worker(ctx, client, id)
				rows = append(rows, changedWorker{id, worker.State})
			}
			failed = errors.Join(failed, err)
		}
		if len(rows) > 0 {
			failed = errors.Join(failed, p.Print(rows))
		}
		return failed
	}
	return command
}

func workerReleaseCommand(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "release ID",
		Short: "Release a worker's jobs, so that they run again before all others",
		Long: `Release releases the jobs that a worker runs. This uses no attempt. The handlers are told to end,
and their results are discarded. A live worker that is not suspended may claim the jobs again.`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			id, err := flagvalue.ParseWorkerID(args[0])
			if err != nil {
				return err
			}
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			n, err := client.ReleaseWorker(command.Context(), id)
			if err != nil {
				return err
			}
			return p.Print(struct {
				ID       int64 `json:"id"`
				Released int64 `json:"released"`
			}{id, n})
		},
	}
}

func workerPurgeCommand(p *program.Program) *cobra.Command {
	var age time.Duration
	command := &cobra.Command{
		Use:   "purge",
		Short: "Delete workers that have gone, which otherwise happens after a day",
		Long: "Purge deletes workers that have been gone for longer than --older-than. It keeps a worker whose jobs are\n" +
			"not rescued yet.",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx := command.Context()
			client, err := p.Open(ctx)
			if err != nil {
				return err
			}
			n, err := countGone(ctx, client, age)
			if err != nil {
				return err
			}
			if n > 0 {
				if err := p.Confirm(ctx, "delete %s", output.Count(n, "gone worker")); err != nil {
					return err
				}
			}
			purged, err := client.PurgeWorkers(ctx, age)
			if err != nil {
				return err
			}
			return p.Print(struct {
				Purged int64 `json:"purged"`
			}{purged})
		},
	}
	command.Flags().Var((*flagvalue.Duration)(&age), "older-than",
		"only workers that have been gone for longer than this, such as 7d")
	return command
}

// countGone counts the workers that have been gone for longer than an age.
func countGone(ctx context.Context, client *pawl.Client, age time.Duration) (n int64, err error) {
	workers, err := client.Workers(ctx)
	if err != nil {
		return 0, err
	}
	stats, err := client.Stats(ctx)
	if err != nil {
		return 0, err
	}
	for _, w := range workers {
		if !w.GoneAt.IsZero() && stats.At.Sub(w.GoneAt) > age {
			n++
		}
	}
	return n, nil
}
