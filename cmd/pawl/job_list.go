package main

import (
	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/selection"
	"github.com/pawlhq/pawl/cmd/pawl/internal/settings"
)

func jobListCommand(p *program.Program) *cobra.Command {
	var filter selection.Filter
	command := &cobra.Command{
		Use:   "list",
		Short: "List jobs, newest first: live, dead and archived ones",
		Long: `List prints a page of the jobs that match all flags, newest first: live, dead and archived jobs.
If there are more, standard error shows the flag that prints the next page. A page is fast if its jobs are among
the newest. To find rare jobs in a large archive, the command has to read the archive.`,
		Example: `  pawl job list --queue mail --state dead,cancelled --created-after 1d
  pawl job list --kind email --args '{"to": "ann@example.com"}' --format json
  pawl job list --all --format csv --out jobs.csv`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			return filter.List(command.Context(), p, client)
		},
	}
	filter.AddFlags(command)
	settings.AddFlags(command, command.Flags(), "batch_size")
	return command
}

func jobCountCommand(p *program.Program) *cobra.Command {
	var filter selection.Filter
	command := &cobra.Command{
		Use:   "count",
		Short: "Count jobs exactly, which reads every counted job",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			n, err := client.Count(command.Context(), filter.Filter)
			if err != nil {
				return err
			}
			return p.Print(struct {
				Count int64 `json:"count"`
			}{n})
		},
	}
	filter.AddFlags(command, "limit", "cursor", "all")
	return command
}
