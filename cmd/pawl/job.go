package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/selection"
	"github.com/pawlhq/pawl/pawlstate"
)

func jobCommand(p *program.Program) *cobra.Command {
	command := &cobra.Command{Use: "job", Short: "Insert, show and change jobs", GroupID: groupJobs}
	command.AddCommand(
		jobInsertCommand(p), jobListCommand(p), jobShowCommand(p), jobCancelCommand(p), jobRetryCommand(p),
		jobRescheduleCommand(p), jobDeleteCommand(p), jobCountCommand(p), jobTailCommand(p),
	)
	return command
}

func jobCancelCommand(p *program.Program) *cobra.Command {
	return jobChange{
		verb: "cancel", short: "Cancel live jobs, including running ones, by ID or by filter", states: selection.Live,
		do: (*pawl.Client).Cancel,
		row: func(n int64) any {
			return struct {
				Cancelled int64 `json:"cancelled"`
			}{n}
		},
	}.command(p)
}

func jobRetryCommand(p *program.Program) *cobra.Command {
	return jobChange{
		verb: "retry", short: "Let scheduled, dead and cancelled jobs run now, by ID or by filter",
		states: []pawlstate.State{pawlstate.Scheduled, pawlstate.Dead, pawlstate.Cancelled},
		do:     (*pawl.Client).Retry,
		row: func(n int64) any {
			return struct {
				Retried int64 `json:"retried"`
			}{n}
		},
	}.command(p)
}

func jobDeleteCommand(p *program.Program) *cobra.Command {
	return jobChange{
		verb: "delete", short: "Delete jobs, live or finished, without a trace, by ID or by filter",
		do: (*pawl.Client).Delete,
		row: func(n int64) any {
			return struct {
				Deleted int64 `json:"deleted"`
			}{n}
		},
	}.command(p)
}

// jobChange describes a command that changes jobs and prints their number.
type jobChange struct {
	verb, short string
	states      []pawlstate.State // The states of jobs that can be changed; nil for all.
	do          func(*pawl.Client, context.Context, pawl.Selector) (int64, error)
	row         func(n int64) any
}

func (c jobChange) command(p *program.Program) *cobra.Command {
	var filter selection.Filter
	command := &cobra.Command{
		Use:   c.verb + " [ID...]",
		Short: c.short,
		Long: c.short + ".\n" +
			"Jobs given by ID are changed at once. Flags select jobs; the command then shows their number and asks for\n" +
			"confirmation.",
		Example: fmt.Sprintf("  pawl job %[1]s 12 13\n  pawl job %[1]s --queue mail --kind welcome", c.verb),
		RunE: func(command *cobra.Command, args []string) error {
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			n, err := filter.Apply(command, p, client, args, selection.Change{
				Verb: c.verb, States: c.states,
				Do: func(ctx context.Context, which pawl.Selector) (int64, error) { return c.do(client, ctx, which) },
			})
			return p.PrintCount(n, c.row(n), err)
		},
	}
	filter.AddFlags(command, "cursor")
	return command
}
