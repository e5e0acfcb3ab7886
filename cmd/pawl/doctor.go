package main

import (
	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

func doctorCommand(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Look for problems that slow down or endanger this installation",
		Long: `Doctor checks the schema's version, indexes, vacuum, old snapshots, poolers, LISTEN, clocks,
stalled queues, workers and settings. For each problem it names the cause, says since when the problem exists,
and suggests a remedy. It changes nothing.`,
		Args:    cobra.NoArgs,
		GroupID: groupSetup,
		RunE: func(command *cobra.Command, _ []string) error {
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			found, err := client.Doctor(command.Context())
			if err != nil {
				return err
			}
			return printViolations(p, found)
		},
	}
}
