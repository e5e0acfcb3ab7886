package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/pgqrs"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/selection"
	"github.com/pawlhq/pawl/pawlstate"
)

func archiveCommand(p *program.Program) *cobra.Command {
	command := &cobra.Command{
		Use:   "archive",
		Short: "Show and purge completed and cancelled jobs",
		Long: `The archive keeps completed and cancelled jobs for the retention of their queue (pawl queue set
--retain-completed), by default a day.`,
		GroupID: groupJobs,
	}
	archive := finishedJobs{noun: "archived", states: selection.Archived}
	command.AddCommand(archive.listCommand(p), archive.showCommand(p), archive.purgeCommand(p))
	command.AddCommand(pgqrs.ArchiveCommands(p)...)
	return command
}

// finishedJobs describes the commands that archive and dead have in common.
type finishedJobs struct {
	noun   string // As in "archived jobs".
	states []pawlstate.State
	rows   func(pawl.Jobs) (any, error) // Nil for the rows of pawl job list.
}

// unusedFlags returns the flags of a filter that have no use for these jobs.
func (f finishedJobs) unusedFlags(more ...string) []string {
	if len(f.states) == 1 {
		more = append(more, "state")
	}
	return more
}

func (f finishedJobs) listCommand(p *program.Program) *cobra.Command {
	var filter selection.Filter
	command := &cobra.Command{
		Use:   "list [QUEUE]",
		Short: "List " + f.noun + " jobs, newest first",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) == 1 {
				if filter.Queue != "" && filter.Queue != args[0] {
					return exit.Usagef("%s and --queue %s exclude each other", args[0], filter.Queue)
				}
				filter.Queue = args[0]
			}
			if filter.States = filter.StatesWithin(f.states); len(filter.States) == 0 {
				return exit.Usagef("--state: this command lists only %s jobs", selection.JoinStates(f.states))
			}
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			if f.rows != nil {
				return filter.ListAs(command.Context(), p, client, f.rows)
			}
			return filter.List(command.Context(), p, client)
		},
	}
	filter.AddFlags(command, f.unusedFlags()...)
	if f.noun == "archived" {
		pgqrs.WorkerFlag(command, &filter)
	}
	return command
}

func (f finishedJobs) showCommand(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show a job with its args, errors and result",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			id, err := flagvalue.ParseID(args[0])
			if err != nil {
				return err
			}
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			job, err := selection.JobInStates(command.Context(), client, id, f.states)
			if err != nil {
				return err
			}
			return printJob(p, job, pawl.Constraints{})
		},
	}
}

func (f finishedJobs) purgeCommand(p *program.Program) *cobra.Command {
	var filter selection.Filter
	command := &cobra.Command{
		Use:   "purge [ID...]",
		Short: fmt.Sprintf("Delete %s jobs, by ID or by filter", f.noun),
		RunE: func(command *cobra.Command, args []string) error {
			return filter.Purge(command, p, args, f.noun+" job", f.states)
		},
	}
	filter.AddFlags(command, f.unusedFlags("cursor")...)
	return command
}
