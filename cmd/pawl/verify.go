package main

import (
	"fmt"

	"github.com/pawlhq/pawl"
	"github.com/spf13/cobra"
)

// finding is one of what verify and doctor found.
type finding struct {
	Check   string `json:"check"`
	Problem string `json:"problem"`
	Remedy  string `json:"remedy"`
}

func verifyCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "verify",
		Short:   "Check that what is stored fits together",
		Long:    "Verify reads all live jobs and checks that each is in exactly one place. It changes nothing.",
		Args:    cobra.NoArgs,
		GroupID: groupSetup,
		RunE: func(command *cobra.Command, _ []string) error {
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			found, err := client.Verify(command.Context())
			if err != nil {
				return err
			}
			return p.report(found)
		},
	}
}

// report prints what was found; a problem is errProblems.
func (p *program) report(found []pawl.Finding) error {
	list := make([]finding, len(found))
	for i, f := range found {
		list[i] = finding{f.Check, f.Problem, f.Remedy}
	}
	if err := p.print(list); err != nil || len(found) == 0 {
		return err
	}
	return fmt.Errorf("%s: %w", counted(int64(len(found)), "finding"), errProblems)
}
