package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/lookup"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/view"
)

// workerRow is a worker as commands print it.
type workerRow struct {
	ID         int64         `json:"id"`
	Name       string        `json:"name"`
	Host       string        `json:"host" table:"-"`
	PID        int           `json:"pid" table:"-"`
	State      string        `json:"state"`
	Stale      bool          `json:"stale"`
	Running    int           `json:"running"`
	Stuck      int           `json:"stuck"`
	Queues     []string      `json:"queues"`
	Version    string        `json:"version"`
	Age        time.Duration `json:"age"`
	Silent     time.Duration `json:"silent"`
	StaleAfter time.Duration `json:"stale_after" table:"-"`
	StartedAt  time.Time     `json:"started_at" table:"-"`
	SeenAt     time.Time     `json:"seen_at" table:"-"`
	GoneAt     time.Time     `json:"gone_at" table:"-,omitempty"`
	Problem    string        `json:"problem"`
}

func workerRowOf(w pawl.Worker) workerRow {
	return workerRow{
		ID: w.ID, Name: w.Name, Host: w.Host, PID: w.PID, State: w.State, Stale: w.Stale, Running: w.Running,
		Stuck: len(w.Stuck), Problem: w.Problem,
		Queues: w.Queues, Version: w.Version, Age: w.Age, Silent: w.Silent, StaleAfter: w.StaleAfter,
		StartedAt: w.StartedAt, SeenAt: w.SeenAt, GoneAt: w.GoneAt,
	}
}

func workerListCommand(p *program.Program) *cobra.Command {
	var queue string
	var gone bool
	command := &cobra.Command{
		Use:   "list",
		Short: "List the live workers",
		Long: `List prints the live workers, oldest first. A live worker is ready, suspended or stopping; one
that has gone is stopped or lost. RUNNING is the number of its running jobs at its last heartbeat. QUEUES is
empty if the worker runs all queues. SILENT is the time since its last heartbeat. A stale worker will soon count
as dead. STUCK is the number of handlers that did not return after their contexts had ended. PROBLEM says which work
of the worker fails, such as claims, since when and why.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			workers, err := client.Workers(command.Context())
			if err != nil {
				return err
			}
			rows := []workerRow{}
			for _, w := range workers {
				if lookup.RunsQueue(w, queue) && (gone || w.GoneAt.IsZero()) {
					rows = append(rows, workerRowOf(w))
				}
			}
			return p.Print(rows)
		},
	}
	command.Flags().StringVarP(&queue, "queue", "q", "", "workers that run this queue")
	command.Flags().BoolVar(&gone, "gone", false, "list workers that have gone, too")
	return command
}

// shownWorker is a worker and its running jobs.
type shownWorker struct {
	workerRow
	Jobs []view.Job `json:"jobs"`
}

func workerShowCommand(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show a worker and its running jobs",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			id, err := flagvalue.ParseWorkerID(args[0])
			if err != nil {
				return err
			}
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			worker, jobs, err := lookup.JobsOfWorker(command.Context(), client, id, p.Stderr)
			if err != nil {
				return err
			}
			if p.Settings.Format != "table" {
				return p.Print(shownWorker{workerRowOf(worker), view.JobsOf(jobs)})
			}
			if err := p.Print(workerRowOf(worker)); err != nil || len(jobs) == 0 {
				return err
			}
			out, err := p.Output()
			if err != nil {
				return err
			}
			fmt.Fprintln(out)
			return p.Print(view.JobsOf(jobs))
		},
	}
}
