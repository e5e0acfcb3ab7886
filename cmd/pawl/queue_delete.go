package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/lookup"
	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/selection"
)

func queuePurgeCommand(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "purge NAME",
		Short: "Delete a queue's live jobs, including running ones",
		Long: `Purge deletes the live jobs of a queue without a trace. It keeps jobs that are inserted while it
runs, finished jobs (see pawl archive purge and pawl dead purge), and the queue's policy.`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			ctx, name := command.Context(), args[0]
			client, err := p.Open(ctx)
			if err != nil {
				return err
			}
			n, err := client.Count(ctx, pawl.Filter{Queue: name, States: selection.Live})
			if err != nil {
				return err
			}
			if n > 0 {
				err := p.Confirm(ctx, "delete %s of queue %s", output.Count(n, "live job"), output.Printable(name))
				if err != nil {
					return err
				}
			}
			deleted, err := client.PurgeQueue(ctx, name)
			if err != nil {
				return err
			}
			return p.Print(struct {
				Name    string `json:"name"`
				Deleted int64  `json:"deleted"`
			}{name, deleted})
		},
	}
}

func queueDeleteCommand(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a queue's policy",
		Long: `Delete deletes a queue's policy, its pause and the marks of its halted channels. It fails while
the queue has live jobs (see pawl queue purge), or while a live worker runs the queue by name. Finished jobs
stay until their retention ends.`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			ctx, name := command.Context(), args[0]
			client, err := p.Open(ctx)
			if err != nil {
				return err
			}
			q, err := lookup.QueueByName(ctx, client, name)
			switch {
			case err != nil:
				return err
			case q.CreatedAt.IsZero() && q.Stats.Live() == 0:
				return fmt.Errorf("queue %q: %w: it has no policy; it is listed as long as finished jobs of it are kept",
					name, pawl.ErrNotFound)
			case !q.CreatedAt.IsZero():
				if err := p.Confirm(ctx, "delete the policy of queue %s", output.Printable(name)); err != nil {
					return err
				}
			}
			if err := client.DeleteQueue(ctx, name); err != nil {
				return err
			}
			return p.Print(struct {
				Name    string `json:"name"`
				Deleted bool   `json:"deleted"`
			}{name, true})
		},
	}
}
