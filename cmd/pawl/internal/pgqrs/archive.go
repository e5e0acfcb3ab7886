package pgqrs

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/selection"
)

// ArchiveCommands returns the commands below pawl archive.
func ArchiveCommands(p *program.Program) []*cobra.Command {
	return []*cobra.Command{archiveCount(p), archiveDelete(p)}
}

// WorkerFlag gives pawl archive list the flag -w.
func WorkerFlag(command *cobra.Command, filter *selection.Filter) {
	command.Flags().VarP((*flagvalue.Name)(&filter.Worker), "of-worker", "w", "the same as --worker")
	command.Flags().Lookup("of-worker").Hidden = true
}

const lastWorkerUsage = "jobs that the worker of this name ran last"

func archiveCount(p *program.Program) *cobra.Command {
	var worker string
	command := &cobra.Command{
		Use:    "count [QUEUE]",
		Short:  "Count archived jobs",
		Hidden: true,
		Args:   cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			n, err := client.Count(command.Context(), pawl.Filter{
				Queue: strings.Join(args, ""), Worker: worker, States: selection.Archived,
			})
			if err != nil {
				return err
			}
			return p.Print(struct {
				Count int64 `json:"count"`
			}{n})
		},
	}
	command.Flags().VarP((*flagvalue.Name)(&worker), "worker", "w", lastWorkerUsage)
	return command
}

func archiveDelete(p *program.Program) *cobra.Command {
	var filter selection.Filter
	command := &cobra.Command{
		Use:    "delete QUEUE",
		Short:  "Delete the archived jobs of a queue",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if filter.Queue = args[0]; filter.Queue == "" {
				return exit.Usagef("the queue's name is empty")
			}
			return filter.Purge(command, p, nil, "archived job", selection.Archived)
		},
	}
	command.Flags().VarP((*flagvalue.Name)(&filter.Worker), "worker", "w", lastWorkerUsage)
	return command
}
