package main

import (
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

func TestHelpFits(t *testing.T) {
	t.Parallel()
	var every func(*cobra.Command)
	every = func(command *cobra.Command) {
		for _, width := range []int{120, 80, 60} {
			text := helpText(command, width)
			for line := range strings.Lines(text) {
				w := ansi.StringWidth(strings.TrimRight(line, "\n"))
				if w > width && !strings.Contains(command.Example, strings.TrimSpace(line)) {
					t.Errorf("%s in %d columns: a line of %d: %s", command.CommandPath(), width, w, line)
				}
			}
			words := func(text string) string { return strings.Join(strings.Fields(text), " ") }
			if got, want := words(text), words(helpText(command, 0)); got != want {
				t.Errorf("%s in %d columns: other words:\n%s\nwant\n%s", command.CommandPath(), width, got, want)
			}
		}
		for _, sub := range command.Commands() {
			every(sub)
		}
	}
	every(rootCommand(&program.Program{}))
}
