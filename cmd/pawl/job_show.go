package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/view"
)

// shownJob is a job with its constraints.
type shownJob struct {
	view.Job
	ReservedUntil time.Time `json:"reserved_until" table:",omitempty"`
	BehindJob     *pawl.ID  `json:"behind_job" table:",omitempty"`
	Halted        bool      `json:"halted"`
	AfterOK       []pawl.ID `json:"after_ok" table:",omitempty"`
	AfterAny      []pawl.ID `json:"after_any" table:",omitempty"`
	AfterNotOK    []pawl.ID `json:"after_not_ok" table:",omitempty"`
	Followers     []pawl.ID `json:"followers" table:",omitempty"`
}

func jobShowCommand(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show a job with its args, errors, checkpoint, result, and what it waits for",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			id, err := flagvalue.ParseID(args[0])
			if err != nil {
				return exit.Usage(err)
			}
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			job, err := client.Get(command.Context(), id)
			if err != nil {
				return err
			}
			constraints, err := client.Constraints(command.Context(), id)
			if err != nil {
				return err
			}
			return printJob(p, job, constraints)
		},
	}
}

// printJob prints a job. In a table it prints the job's errors as a second table.
func printJob(p *program.Program, job *pawl.JobInfo, constraints pawl.Constraints) error {
	shown := shownJob{
		Job: view.JobOf(job), ReservedUntil: constraints.ReservedUntil, Halted: constraints.Halted,
		AfterOK: constraints.AfterOK, AfterAny: constraints.AfterAny, AfterNotOK: constraints.AfterNotOK,
		Followers: constraints.Followers,
	}
	if constraints.Head != 0 {
		shown.BehindJob = &constraints.Head
	}
	if p.Settings.Format != "table" || len(shown.Errors) == 0 {
		return p.Print(shown)
	}
	failures := shown.Errors
	shown.Errors = nil
	if err := p.Print(shown); err != nil {
		return err
	}
	out, err := p.Output()
	if err != nil {
		return err
	}
	fmt.Fprintln(out)
	return p.Print(failures)
}
