package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/lookup"
	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
	"github.com/pawlhq/pawl/cmd/pawl/internal/pgqrs"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/queuepolicy"
)

func queueCommand(p *program.Program) *cobra.Command {
	command := &cobra.Command{
		Use:   "queue",
		Short: "Show queues, pause them, set their policies",
		Long: `A queue exists from the first insert of a job into it; you do not have to create it. These
commands store a policy for a queue in the database, and every worker follows it.`,
		GroupID: groupJobs,
	}
	command.AddCommand(
		queueListCommand(p), queueShowCommand(p), queueCreateCommand(p), queueSetCommand(p), queuePauseCommand(p),
		queueResumeCommand(p), queuePurgeCommand(p), queueDeleteCommand(p), queueMetricsCommand(p),
		queueChannelsCommand(p), queueResumeChannelCommand(p),
	)
	command.AddCommand(pgqrs.QueueCommands(p)...)
	return command
}

// queueRow is a queue and its figures as commands print them.
type queueRow struct {
	Name      string      `json:"name"`
	Paused    bool        `json:"paused"`
	Ready     int64       `json:"ready"`
	Running   int64       `json:"running"`
	Scheduled int64       `json:"scheduled"`
	Waiting   int64       `json:"waiting"`
	Reserved  int64       `json:"reserved" table:"-"`
	Dead      int64       `json:"dead"`
	Archived  int64       `json:"archived"`
	Estimated output.Mark `json:"estimated" table:",omitempty"`
	CreatedAt time.Time   `json:"created_at" table:"-"`
}

func queueRowOf(q lookup.Queue) queueRow {
	s := q.Stats
	return queueRow{
		Name: q.Name, Paused: q.Paused, Ready: s.Ready, Running: s.Running, Scheduled: s.Scheduled, Waiting: s.Waiting,
		Reserved: s.Reserved, Dead: s.Dead, Archived: s.Archived, Estimated: output.Mark(s.Estimated || s.ArchivedEstimated),
		CreatedAt: q.CreatedAt,
	}
}

// shownQueue is a queue with its policy.
type shownQueue struct {
	queueRow
	queuepolicy.Row
}

func printQueue(ctx context.Context, p *program.Program, client *pawl.Client, name string) error {
	q, err := lookup.QueueByName(ctx, client, name)
	if err != nil {
		return err
	}
	return p.Print(shownQueue{queueRowOf(q), queuepolicy.RowOf(q.Queue)})
}

func queueListCommand(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the queues, with their jobs by state",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			queues, _, err := lookup.Queues(command.Context(), client)
			if err != nil {
				return err
			}
			rows := make([]queueRow, len(queues))
			for i, q := range queues {
				rows[i] = queueRowOf(q)
			}
			return p.Print(rows)
		},
	}
}

func queueShowCommand(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Show a queue, its jobs by state and its policy",
		Long: `Show prints the figures of a queue and the fields of its policy that are set. pawl queue set
--help shows the defaults of the other fields.`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			return printQueue(command.Context(), p, client, args[0])
		},
	}
}
