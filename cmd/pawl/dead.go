package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/selection"
	"github.com/pawlhq/pawl/cmd/pawl/internal/view"
	"github.com/pawlhq/pawl/pawlstate"
)

func deadCommand(p *program.Program) *cobra.Command {
	command := &cobra.Command{
		Use:   "dead",
		Short: "Show, retry and purge dead jobs",
		Long: `A job is dead if it has used all its attempts, its handler gave it up, its args cannot be decoded,
or three workers crashed while they ran it. Dead jobs are kept for the retention of their queue (pawl queue set
--retain-dead), by default 30 days.`,
		GroupID: groupJobs,
	}
	dead := finishedJobs{noun: "dead", states: selection.Dead, rows: deadJobsOf}
	command.AddCommand(dead.listCommand(p), dead.showCommand(p), deadRetryCommand(p, dead), dead.purgeCommand(p))
	return command
}

// deadJob is a row of dead list.
type deadJob struct {
	ID         pawl.ID         `json:"id"`
	State      pawlstate.State `json:"state" table:"-"`
	Queue      string          `json:"queue"`
	Channel    string          `json:"channel"`
	Kind       string          `json:"kind"`
	Reason     string          `json:"reason"`
	Priority   int             `json:"priority" table:"-"`
	Attempt    int             `json:"attempt"`
	CreatedAt  time.Time       `json:"created_at" table:"-"`
	RunAt      time.Time       `json:"run_at" table:"-"`
	FinishedAt time.Time       `json:"finished_at"`
	LastError  string          `json:"last_error"` // The first line of the last error.
	view.Job                   // The other fields.
}

func deadJobsOf(jobs pawl.Jobs) (any, error) {
	rows := make([]deadJob, len(jobs))
	for i, job := range jobs {
		text, _, _ := strings.Cut(view.LastError(job), "\n")
		rows[i] = deadJob{
			ID: job.ID, State: job.State, Queue: job.Queue, Channel: job.Channel, Kind: job.Kind, Reason: job.Reason,
			Priority: job.Priority, Attempt: job.Attempt, CreatedAt: job.CreatedAt, RunAt: job.RunAt,
			FinishedAt: job.FinishedAt, LastError: text, Job: view.JobOf(job),
		}
	}
	return rows, nil
}

func deadRetryCommand(p *program.Program, dead finishedJobs) *cobra.Command {
	var filter selection.Filter
	command := &cobra.Command{
		Use:   "retry [ID...]",
		Short: "Let dead jobs run again, by ID or by filter",
		Long: `Retry lets dead jobs run now. The jobs keep their attempts and errors. A job without attempts left
gets one more. A job stays dead if another live job has its unique key.`,
		RunE: func(command *cobra.Command, args []string) error {
			ctx := command.Context()
			client, err := p.Open(ctx)
			if err != nil {
				return err
			}
			if err := selection.RequireStates(ctx, client, args, dead.states); err != nil {
				return err
			}
			n, err := filter.Apply(command, p, client, args, selection.Change{
				Verb: "retry", Noun: "dead job", States: dead.states,
				Do: func(ctx context.Context, which pawl.Selector) (int64, error) { return client.Retry(ctx, which) },
			})
			if left := int64(len(args)) - n; err == nil && left > 0 {
				fmt.Fprintf(p.Stderr, "note: %s stayed dead: another job has the unique key\n", output.Count(left, "job"))
			}
			return p.PrintCount(n, struct {
				Retried int64 `json:"retried"`
			}{n}, err)
		},
	}
	filter.AddFlags(command, dead.unusedFlags("cursor")...)
	return command
}
