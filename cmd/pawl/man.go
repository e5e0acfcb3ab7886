package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

func manCommand(*program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "man DIRECTORY",
		Short: "Write the manual pages into a directory, and create the directory if needed",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			root := command.Root()
			root.DisableAutoGenTag = true // Builds must be reproducible.
			built := version()
			header := &doc.GenManHeader{Title: "PAWL", Section: "1", Source: "pawl " + built.Version, Manual: "Pawl"}
			if !built.At.IsZero() {
				header.Date = &built.At
			}
			if err := doc.GenManTree(root, header, args[0]); err != nil {
				return fmt.Errorf("write manual pages: %w", err)
			}
			return nil
		},
	}
}
