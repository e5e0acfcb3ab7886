package main

import (
	"fmt"
	"io"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/settings"
)

// violation is a row that verify and doctor print.
type violation struct {
	Check    string      `json:"check"`
	Problem  string      `json:"problem"`
	Remedy   string      `json:"remedy"`
	Fatal    output.Mark `json:"fatal"`
	Repaired output.Mark `json:"repaired"`
}

func verifyCommand(p *program.Program) *cobra.Command {
	var repair bool
	command := &cobra.Command{
		Use:   "verify",
		Short: "Check that the stored data is consistent",
		Long: `Verify reads all live jobs and checks that each job is in exactly one place. It also checks that
the tables, indexes and functions are those of this version. It changes nothing. With --repair it asks for
confirmation and then repairs the violations. It reports the violations that it cannot repair.`,
		Args:    cobra.NoArgs,
		GroupID: groupSetup,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx := command.Context()
			client, err := p.Open(ctx)
			if err != nil {
				return err
			}
			end := output.Patience(p.Stderr, "verify reads all live jobs; ^C ends it")
			found, err := client.Verify(ctx)
			end()
			if err == nil && repair && len(found) > 0 {
				for _, v := range found {
					fmt.Fprintf(p.Stderr, "%s: %s\n", v.Check, output.Printable(v.Problem))
				}
				if err := p.Confirm(ctx, "repair %s where possible", output.Count(int64(len(found)), "violation")); err != nil {
					return err
				}
				found, err = client.Repair(ctx)
			}
			if err != nil {
				return err
			}
			return printViolations(p, found)
		},
	}
	command.Flags().BoolVar(&repair, "repair", false, "repair the violations")
	return command
}

// printViolations prints the violations. It returns exit.ErrViolations if one is not repaired.
func printViolations(p *program.Program, found []pawl.Finding) error {
	rows := make([]violation, len(found))
	left := int64(0)
	for i, v := range found {
		rows[i] = violation{
			v.Check, settings.FieldsToNames(v.Problem), settings.FieldsToNames(v.Remedy),
			output.Mark(v.Fatal), output.Mark(v.Repaired),
		}
		if !v.Repaired {
			left++
		}
	}
	out, err := p.Output()
	if err != nil {
		return err
	}
	if len(rows) == 0 && p.Settings.Format == "table" {
		fmt.Fprintln(p.Stderr, "No problems found.")
	}
	if width := output.Width(out); width > 0 && p.Settings.Format == "table" {
		err = writeParagraphs(out, rows, width)
	} else {
		err = p.Print(rows)
	}
	if err != nil {
		return err
	}
	if left == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w", output.Count(left, "violation"), exit.ErrViolations)
}

// writeParagraphs writes violations for a terminal, one below the other. Columns would break the remedies, which users
// copy.
func writeParagraphs(out io.Writer, rows []violation, width int) error {
	for _, v := range rows {
		head := output.Bold.Render(v.Check)
		switch {
		case bool(v.Repaired):
			head += ", repaired"
		case bool(v.Fatal):
			head += ", fatal"
		}
		problem := ansi.Wordwrap(output.Printable(v.Problem), width, "")
		remedy := output.Faint.Render("Remedy:") + " " + output.Printable(v.Remedy)
		if _, err := lipgloss.Fprintf(out, "%s\n%s\n%s\n\n", head, problem, remedy); err != nil {
			return err
		}
	}
	return nil
}
