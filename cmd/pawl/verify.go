package main

import (
	"fmt"
	"io"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/pawlhq/pawl"
	"github.com/spf13/cobra"
)

// finding is one of what verify and doctor found.
type finding struct {
	Check    string `json:"check"`
	Problem  string `json:"problem"`
	Remedy   string `json:"remedy"`
	Fatal    mark   `json:"fatal"`
	Repaired mark   `json:"repaired"`
}

func verifyCommand(p *program) *cobra.Command {
	var repair bool
	command := &cobra.Command{
		Use:   "verify",
		Short: "Check that what is stored fits together",
		Long: `Verify reads all live jobs and checks that each is in exactly one place, and that the tables, indexes and functions are those of this version.
It changes nothing. With --repair it mends what it finds, after it has asked; what could not be mended stays a finding.`,
		Args:    cobra.NoArgs,
		GroupID: groupSetup,
		RunE: func(command *cobra.Command, _ []string) error {
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			enough := p.patience("verify reads all live jobs; ^C ends it")
			found, err := client.Verify(command.Context())
			enough()
			if err == nil && repair && len(found) > 0 {
				for _, f := range found {
					fmt.Fprintf(p.stderr, "%s: %s\n", f.Check, printable(f.Problem))
				}
				if err := p.confirm(command.Context(), "mend what can be mended of %s", counted(int64(len(found)), "finding")); err != nil {
					return err
				}
				found, err = client.Repair(command.Context())
			}
			if err != nil {
				return err
			}
			return p.report(found)
		},
	}
	command.Flags().BoolVar(&repair, "repair", false, "mend what is found")
	return command
}

func doctorCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Look for what slows or endangers this installation",
		Long: `Doctor looks at the schema's version, indexes, vacuum, old snapshots, poolers, LISTEN, clocks, queues that stand still, workers and settings, and says of
each fault who or what it is, since when, and what helps. It changes nothing.`,
		Args:    cobra.NoArgs,
		GroupID: groupSetup,
		RunE: func(command *cobra.Command, _ []string) error {
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			found, err := client.Doctor(command.Context())
			if err != nil {
				return err
			}
			return p.report(found)
		},
	}
}

// tell writes findings one below the other, for who reads them on a terminal: columns would be too narrow for them, and would break
// remedies, which are to be copied.
func tell(out io.Writer, found []finding, width int) error {
	for _, f := range found {
		head := bold.Render(f.Check)
		switch {
		case bool(f.Repaired):
			head += ", repaired"
		case bool(f.Fatal):
			head += ", fatal"
		}
		_, err := lipgloss.Fprintf(out, "%s\n%s\n%s %s\n\n", head, ansi.Wordwrap(printable(f.Problem), width, ""), faint.Render("Remedy:"), printable(f.Remedy))
		if err != nil {
			return err
		}
	}
	return nil
}

// report prints what was found; a problem that is left is errProblems.
func (p *program) report(found []pawl.Finding) error {
	list := make([]finding, len(found))
	left := int64(0)
	for i, f := range found {
		list[i] = finding{f.Check, inSettings(f.Problem), inSettings(f.Remedy), mark(f.Fatal), mark(f.Repaired)}
		if !f.Repaired {
			left++
		}
	}
	out, err := p.output()
	if err != nil {
		return err
	}
	if len(list) == 0 && p.settled.Format == "table" {
		fmt.Fprintln(p.stderr, "Nothing is wrong.")
	}
	if width := outputWidth(out); width > 0 && p.settled.Format == "table" {
		err = tell(out, list, width)
	} else {
		err = p.print(list)
	}
	if err != nil {
		return err
	}
	if left == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w", counted(left, "finding"), errProblems)
}
