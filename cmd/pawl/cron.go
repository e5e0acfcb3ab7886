package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

func cronCommand(p *program.Program) *cobra.Command {
	command := &cobra.Command{Use: "cron", Short: "Manage crons, which insert jobs on a schedule", GroupID: groupJobs}
	command.AddCommand(
		cronListCommand(p), cronAddCommand(p), cronPauseCommand(p), cronResumeCommand(p), cronRunCommand(p),
		cronDeleteCommand(p), cronPreviewCommand(p),
	)
	return command
}

// cronRow is a cron as commands print it.
type cronRow struct {
	Name        string            `json:"name"`
	Spec        string            `json:"spec"`
	Zone        string            `json:"zone"`
	Kind        string            `json:"kind"`
	Queue       string            `json:"queue"`
	Paused      bool              `json:"paused"`
	LastAt      time.Time         `json:"last_at"`
	NextAt      time.Time         `json:"next_at"`
	Args        json.RawMessage   `json:"args" table:"-,omitempty"`
	Data        []byte            `json:"data" table:"-,omitempty"`
	Channel     string            `json:"channel" table:"-,omitempty"`
	Ordered     bool              `json:"ordered" table:"-"`
	Priority    int               `json:"priority" table:"-"`
	Delay       time.Duration     `json:"delay" table:"-"`
	MaxAttempts *int              `json:"max_attempts" table:"-,omitempty"`
	Fingerprint string            `json:"fingerprint" table:"-,omitempty"`
	UniqueKey   string            `json:"unique_key" table:"-,omitempty"`
	Headers     map[string]string `json:"headers" table:"-,omitempty"`
	Jitter      time.Duration     `json:"jitter" table:"-"`
	CatchUp     int               `json:"catch_up" table:"-"`
	Version     int               `json:"version" table:"-"`
}

func cronRowOf(c pawl.Cron) cronRow {
	row := cronRow{
		Name: c.Name, Spec: c.Spec, Zone: c.Zone, Kind: c.Job.Kind(), Queue: c.Job.Queue, Paused: c.Paused,
		LastAt: c.LastAt, NextAt: c.NextAt, Data: c.Job.Data, Channel: c.Job.Channel, Ordered: c.Job.Ordered,
		Priority: c.Job.Priority, Delay: c.Job.Delay, Fingerprint: c.Job.Fingerprint, UniqueKey: c.Job.Unique.Key,
		Headers: c.Job.Headers, Jitter: c.Jitter, CatchUp: c.CatchUp, Version: c.Version,
	}
	if raw, ok := c.Job.Args.(pawl.RawArgs); ok {
		row.Args = raw.JSON
	}
	if n := c.Job.MaxAttempts; n != 0 {
		row.MaxAttempts = &n
	}
	return row
}

// findCron returns a cron by its name, or pawl.ErrNotFound.
func findCron(ctx context.Context, client *pawl.Client, name string) (pawl.Cron, error) {
	crons, err := client.Crons(ctx)
	if err != nil {
		return pawl.Cron{}, err
	}
	i := slices.IndexFunc(crons, func(c pawl.Cron) bool { return c.Name == name })
	if i < 0 {
		return pawl.Cron{}, fmt.Errorf("cron %q: %w", name, pawl.ErrNotFound)
	}
	return crons[i], nil
}

func printCron(ctx context.Context, p *program.Program, client *pawl.Client, name string) error {
	cron, err := findCron(ctx, client, name)
	if err != nil {
		return err
	}
	return p.Print(cronRowOf(cron))
}

func cronListCommand(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List crons by name",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			crons, err := client.Crons(command.Context())
			if err != nil {
				return err
			}
			rows := make([]cronRow, len(crons))
			for i, c := range crons {
				rows[i] = cronRowOf(c)
			}
			return p.Print(rows)
		},
	}
}

func cronPauseCommand(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "pause NAME",
		Short: "Pause a cron; it does not catch up on the ticks that it misses",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			if err := client.PauseCron(command.Context(), args[0]); err != nil {
				return err
			}
			return printCron(command.Context(), p, client, args[0])
		},
	}
}

func cronResumeCommand(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "resume NAME",
		Short: "Resume a paused cron",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			if err := client.ResumeCron(command.Context(), args[0]); err != nil {
				return err
			}
			return printCron(command.Context(), p, client, args[0])
		},
	}
}

func cronRunCommand(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "run NAME",
		Short: "Insert a cron's job now, and keep its schedule",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			inserted, err := client.RunCron(command.Context(), args[0])
			if err != nil {
				return err
			}
			return p.Print(insertedJob(inserted))
		},
	}
}

func cronDeleteCommand(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a cron; the jobs that it has inserted stay",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			ctx := command.Context()
			client, err := p.Open(ctx)
			if err != nil {
				return err
			}
			cron, err := findCron(ctx, client, args[0])
			if err != nil {
				return err
			}
			if err := p.Confirm(ctx, "delete cron %s (%s)", cron.Name, cron.Spec); err != nil {
				return err
			}
			if err := client.DeleteCron(ctx, cron.Name); err != nil {
				return err
			}
			return p.Print(cronRowOf(cron))
		},
	}
}
