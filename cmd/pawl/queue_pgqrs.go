package main

import (
	"fmt"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/spf13/cobra"
)

// These are names and forms of pgqrs, for who comes from it; the help leaves them out.

func queueGetCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:    "get NAME",
		Short:  "Show that a queue is there",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			q, err := findQueue(command.Context(), client, args[0])
			if err != nil {
				return err
			}
			return p.print(struct {
				Name      string    `json:"queue_name"`
				CreatedAt time.Time `json:"created_at"`
				Paused    bool      `json:"paused"`
			}{q.Name, q.CreatedAt, q.Paused})
		},
	}
}

func queueMessagesCommand(p *program) *cobra.Command {
	var filter jobFilter
	command := &cobra.Command{
		Use:    "messages NAME",
		Short:  "List a queue's messages that are not done, the newest first",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			ctx := command.Context()
			client, err := p.open(ctx)
			if err != nil {
				return err
			}
			filter.Queue = args[0]
			if filter.States = filter.within(liveStates); len(filter.States) == 0 {
				return usageError{fmt.Errorf("--state: there are only live messages here: %s", joined(liveStates))}
			}
			return filter.listAs(ctx, p, client, func(jobs pawl.Jobs) (any, error) { return rowsOfMessages(ctx, client, jobs) })
		},
	}
	filter.add(command, "queue")
	return command
}

func queueArchiveDLQCommand(p *program) *cobra.Command {
	var filter jobFilter
	command := &cobra.Command{
		Use:    "archive-dlq [NAME]",
		Short:  "List dead messages: what is out of attempts is kept apart by itself",
		Hidden: true,
		Long: `There is nothing to move: a message that is out of attempts is dead from the moment of its last failure, and is never given out again.
This lists the dead ones; pawl dead retry lets them run again, pawl dead purge deletes them.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) == 1 {
				filter.Queue = args[0]
			}
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			filter.States = []pawlstate.State{pawlstate.Dead}
			return filter.listAs(command.Context(), p, client, rowsOfArchived)
		},
	}
	filter.add(command, "queue", "state")
	return command
}
