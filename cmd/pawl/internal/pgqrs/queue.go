package pgqrs

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/lookup"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/selection"
	"github.com/pawlhq/pawl/cmd/pawl/internal/view"
)

// QueueCommands returns the commands below pawl queue.
func QueueCommands(p *program.Program) []*cobra.Command {
	return []*cobra.Command{queueGet(p), queueMessages(p), queueArchiveDLQ(p)}
}

func queueGet(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:    "get NAME",
		Short:  "Show whether a queue exists",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			q, err := lookup.QueueByName(command.Context(), client, args[0])
			if err != nil {
				return err
			}
			return p.Print(struct {
				Name      string    `json:"queue_name"`
				CreatedAt time.Time `json:"created_at"`
				Paused    bool      `json:"paused"`
			}{q.Name, q.CreatedAt, q.Paused})
		},
	}
}

func queueMessages(p *program.Program) *cobra.Command {
	var filter selection.Filter
	command := &cobra.Command{
		Use:    "messages NAME",
		Short:  "List a queue's live messages, newest first",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			ctx := command.Context()
			client, err := p.Open(ctx)
			if err != nil {
				return err
			}
			filter.Queue = args[0]
			if filter.States = filter.StatesWithin(selection.Live); len(filter.States) == 0 {
				return exit.Usagef("--state: this command lists only live messages: %s", selection.JoinStates(selection.Live))
			}
			return filter.ListAs(ctx, p, client, func(jobs pawl.Jobs) (any, error) {
				return lookup.Messages(ctx, client, jobs)
			})
		},
	}
	filter.AddFlags(command, "queue")
	return command
}

func queueArchiveDLQ(p *program.Program) *cobra.Command {
	var filter selection.Filter
	command := &cobra.Command{
		Use:    "archive-dlq [NAME]",
		Short:  "List dead messages, which need no move to a dead letter queue",
		Hidden: true,
		Long: `There is nothing to move: a message is dead as soon as its last attempt has failed, and is not
read again. This command lists the dead messages. pawl dead retry lets them run again, pawl dead purge deletes
them.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) == 1 {
				filter.Queue = args[0]
			}
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			filter.States = selection.Dead
			return filter.ListAs(command.Context(), p, client, view.FinishedMessagesOf)
		},
	}
	filter.AddFlags(command, "queue", "state")
	return command
}
