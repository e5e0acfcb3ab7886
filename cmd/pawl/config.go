package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/settings"
	"github.com/pawlhq/pawl/cmd/pawl/internal/subprocess"
)

func configCommand(p *program.Program) *cobra.Command {
	command := &cobra.Command{Use: "config", Short: "Show the settings", GroupID: groupSetup}
	command.AddCommand(configShowCommand(p))
	return command
}

func configShowCommand(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Show every setting, its value and its source",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			s, err := p.LoadSettings()
			if err != nil {
				return err
			}
			for _, name := range settings.UnknownVariables(subprocess.Variables()...) {
				fmt.Fprintf(p.Stderr, "note: the environment has %s, which is not a setting\n", name)
			}
			return p.Print(s.Values())
		},
	}
}
