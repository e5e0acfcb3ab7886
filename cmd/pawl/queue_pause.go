package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/lookup"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

// pausedQueue is the row that pause and resume print.
type pausedQueue struct {
	Name   string `json:"name"`
	Paused bool   `json:"paused"`
}

func queuePauseCommand(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "pause NAME...",
		Short: "Stop claims from queues, at once and by all workers; running jobs continue",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, names []string) error {
			return setPaused(command.Context(), p, names, true)
		},
	}
}

func queueResumeCommand(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "resume NAME...",
		Short: "Resume paused queues",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, names []string) error {
			return setPaused(command.Context(), p, names, false)
		},
	}
}

func setPaused(ctx context.Context, p *program.Program, names []string, paused bool) error {
	client, err := p.Open(ctx)
	if err != nil {
		return err
	}
	queues, err := client.Queues(ctx)
	if err != nil {
		return err
	}
	// All names are checked before the first queue is changed: the pause of a misspelt queue would go unnoticed.
	for _, name := range names {
		if !slices.ContainsFunc(queues, func(q pawl.Queue) bool { return q.Name == name }) {
			return lookup.NoQueue(name)
		}
	}
	change := client.ResumeQueue
	if paused {
		change = client.PauseQueue
	}
	var rows []pausedQueue
	for _, name := range names {
		if err := change(ctx, name); err != nil {
			return err
		}
		rows = append(rows, pausedQueue{name, paused})
	}
	return p.Print(rows)
}
