package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/selection"
	"github.com/pawlhq/pawl/pawlstate"
)

func messageCountCommand(p *program.Program) *cobra.Command {
	var archived bool
	command := &cobra.Command{
		Use:   "count QUEUE",
		Short: "Count the messages that can be read now, or with --archive finished ones",
		Long: `Count counts exactly, which reads every counted message. It does not count messages that a reader
holds, that are delayed, or that wait for others.`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			var n int64
			if archived {
				n, err = client.Count(command.Context(), pawl.Filter{Queue: args[0], States: selection.Finished})
			} else {
				n, err = countReadable(command.Context(), client, args[0])
			}
			if err != nil {
				return err
			}
			return p.Print(struct {
				Queue string `json:"queue_name"`
				Count int64  `json:"count"`
			}{args[0], n})
		},
	}
	command.Flags().BoolVar(&archived, "archive", false,
		"count finished messages instead: completed, cancelled and dead ones that are kept")
	return command
}

// countReadable counts ready jobs, and scheduled jobs whose time has come: the next claim promotes them.
func countReadable(ctx context.Context, client *pawl.Client, queue string) (int64, error) {
	ready, err := client.Count(ctx, pawl.Filter{Queue: queue, States: []pawlstate.State{pawlstate.Ready}})
	if err != nil {
		return 0, err
	}
	stats, err := client.Stats(ctx)
	if err != nil {
		return 0, err
	}
	due, err := client.Count(ctx, pawl.Filter{
		Queue: queue, States: []pawlstate.State{pawlstate.Scheduled}, RunBefore: stats.At,
	})
	return ready + due, err
}
