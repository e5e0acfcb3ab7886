package main

import (
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
	"github.com/spf13/cobra"
)

func TestHelpFits(t *testing.T) {
	t.Parallel()
	var every func(*cobra.Command)
	every = func(command *cobra.Command) {
		for _, width := range []int{120, 80, 60} {
			text := helpOf(command, width)
			for line := range strings.Lines(text) {
				if w := ansi.StringWidth(strings.TrimRight(line, "\n")); w > width && !strings.Contains(command.Example, strings.TrimSpace(line)) {
					t.Errorf("%s in %d columns: a line of %d: %s", command.CommandPath(), width, w, line)
				}
			}
			words := func(text string) string { return strings.Join(strings.Fields(text), " ") }
			if got, want := words(text), words(helpOf(command, 0)); got != want {
				t.Errorf("%s in %d columns: other words:\n%s\nwant\n%s", command.CommandPath(), width, got, want)
			}
		}
		for _, sub := range command.Commands() {
			every(sub)
		}
	}
	every(rootCommand(&program{}))
}

func TestHelpIsBroken(t *testing.T) {
	t.Parallel()
	text := flow("A paragraph of words,\nwhich goes on.\n\nAnother:\n  entry  with words that do not fit\n      --flag word   and what it says\n", 24)
	want := "A paragraph of words,\nwhich goes on.\n\nAnother:\n  entry  with words that\n         do not fit\n      --flag word and\n      what it says\n"
	if text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	if got, want := hang("      --flag word   and what it says", 40), "      --flag word   and what it says"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	got := hang("  -c, --config string   file of settings, which may be missing", 50)
	want = "  -c, --config string   file of settings, which\n                        may be missing"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
