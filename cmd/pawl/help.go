package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

// addHelpCommand adds cobra's help command, and makes it fail if there is no such command.
func addHelpCommand(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, command := range root.Commands() {
		if command.Name() != "help" {
			continue
		}
		command.Run, command.RunE = nil, func(_ *cobra.Command, args []string) error {
			about, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return exit.Usagef("there is no help on %q", strings.Join(args, " "))
			}
			return about.Help()
		}
	}
}

// printHelp writes a command's help. On a terminal it breaks the lines to fit.
func printHelp(p *program.Program, command *cobra.Command) {
	fmt.Fprint(p.Stdout, helpText(command, min(output.Width(p.Stdout), 120)))
}

// helpText returns a command's help, broken to fit a width. A width of 0 leaves all lines as they are. Examples are
// never broken, so that users can copy them.
func helpText(command *cobra.Command, width int) string {
	long := command.Long
	if long == "" {
		long = command.Short
	}
	text := strings.TrimSpace(long) + "\n"
	if width > 0 {
		text = output.Reflow(text, width)
	}
	text += "\n"
	if !command.Runnable() && !command.HasSubCommands() {
		return text
	}
	example := false
	for line := range strings.Lines(command.UsageString()) {
		line = strings.TrimRight(line, "\n")
		if command.HasSubCommands() && line == "  "+command.UseLine() {
			continue // A command with subcommands does nothing by itself.
		}
		example = line == "Examples:" || example && line != ""
		if width > 0 && !example {
			line = output.Hang(line, width)
		}
		text += line + "\n"
	}
	return text
}
