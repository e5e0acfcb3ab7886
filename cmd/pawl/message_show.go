package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/lookup"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/view"
)

func messageShowCommand(p *program.Program) *cobra.Command {
	var archived bool
	command := &cobra.Command{
		Use:   "show QUEUE ID",
		Short: "Show a message, or with --archive a finished one",
		Long: `Show prints a live message, or with --archive a finished one. vt is the time since or from which
the message can be read. If a reader holds the message, vt is the time at which the hold ends. vt is empty if a
worker runs the job, because it holds the job for as long as it lives. pawl job show prints the other fields of
the job.`,
		Args: cobra.ExactArgs(2),
		RunE: func(command *cobra.Command, args []string) error {
			ctx := command.Context()
			client, err := p.Open(ctx)
			if err != nil {
				return err
			}
			job, err := lookup.Message(ctx, client, args[0], args[1])
			switch {
			case err != nil:
				return err
			case archived && job.FinishedAt.IsZero():
				return fmt.Errorf("message %d among the finished messages of queue %q: %w: it is %s",
					job.ID, args[0], pawl.ErrNotFound, job.State)
			case archived:
				return p.Print(view.FinishedMessageOf(job))
			case !job.FinishedAt.IsZero():
				return fmt.Errorf("message %d among the live messages of queue %q: %w: it is %s, see --archive",
					job.ID, args[0], pawl.ErrNotFound, job.State)
			}
			claimed, err := client.Claimed(ctx, job.ID)
			if err != nil {
				return err
			}
			if len(claimed) > 0 {
				job = claimed[0]
			}
			return p.Print(view.MessageOf(job))
		},
	}
	command.Flags().BoolVar(&archived, "archive", false, "show a finished message: completed, cancelled or dead")
	return command
}
