package pgqrs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/lookup"
	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

// reclaimed is the row that reclaim prints.
type reclaimed struct {
	Workers  int64 `json:"workers"`
	Messages int64 `json:"reclaimed_messages"`
}

// AdminReclaim returns the command pawl admin reclaim.
func AdminReclaim(p *program.Program) *cobra.Command {
	var queue string
	var age time.Duration
	command := &cobra.Command{
		Use:   "reclaim",
		Short: "Release the jobs of silent workers",
		Long: `Reclaim releases the jobs of workers that have been silent for too long. Every worker and every
claim does this on its own; the command is for installations without a live worker. A worker that is alive
although it was silent loses its jobs, and its results are discarded.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			byAge := command.Flags().Changed("older-than")
			if byAge && age < 0 {
				return exit.Usagef("--older-than is negative")
			}
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			row, err := reclaim(command.Context(), client, func(w pawl.Worker) bool {
				silent := w.Stale || !w.GoneAt.IsZero()
				if byAge && w.GoneAt.IsZero() {
					silent = w.Silent > age
				}
				return silent && lookup.RunsQueue(w, queue)
			})
			if err != nil {
				return err
			}
			return p.Print(row)
		},
	}
	command.Flags().StringVarP(&queue, "queue", "q", "", "only workers that run this queue")
	command.Flags().Var((*flagvalue.Duration)(&age), "older-than",
		"workers that have been silent for longer than this; if not given, for longer than their own limit")
	return command
}

func reclaim(ctx context.Context, client *pawl.Client, silent func(pawl.Worker) bool) (row reclaimed, err error) {
	workers, err := client.Workers(ctx)
	if err != nil {
		return row, err
	}
	for _, w := range workers {
		if !silent(w) {
			continue
		}
		n, err := client.ReleaseWorker(ctx, w.ID)
		if errors.Is(err, pawl.ErrNotFound) {
			continue
		}
		if err != nil {
			return row, fmt.Errorf("after %s: %w", output.Count(row.Messages, "message"), err)
		}
		if n > 0 {
			row.Workers++
			row.Messages += n
		}
	}
	return row, nil
}
