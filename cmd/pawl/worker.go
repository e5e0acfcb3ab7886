package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/spf13/cobra"
)

func workerCommand(p *program) *cobra.Command {
	command := &cobra.Command{
		Use:     "worker",
		Short:   "Look at workers, suspend and stop them",
		Long:    "A worker is a process that runs jobs: a Go program, or pawl consume. Those that are gone are remembered for a day.",
		GroupID: groupRun,
	}
	command.AddCommand(
		workerListCommand(p), workerShowCommand(p), workerStatsCommand(p), workerHealthCommand(p),
		workerSuspendCommand(p), workerResumeCommand(p), workerStopCommand(p, "stop"), workerReleaseCommand(p, "release"), workerPurgeCommand(p),
		workerCreateCommand(p), workerGetCommand(p), workerMessagesCommand(p), workerHeartbeatCommand(p), workerDeleteCommand(p),
		unlisted(workerStopCommand(p, "shutdown")), unlisted(workerReleaseCommand(p, "release-messages")),
	)
	return command
}

// workerRow is a worker as commands print it.
type workerRow struct {
	ID         int64         `json:"id"`
	Name       string        `json:"name"`
	Host       string        `json:"host" table:"-"`
	PID        int           `json:"pid" table:"-"`
	State      string        `json:"state"`
	Stale      bool          `json:"stale"`
	Running    int           `json:"running"`
	Queues     []string      `json:"queues"`
	Version    string        `json:"version"`
	Age        time.Duration `json:"age"`
	Silent     time.Duration `json:"silent"`
	StaleAfter time.Duration `json:"stale_after" table:"-"`
	StartedAt  time.Time     `json:"started_at" table:"-"`
	SeenAt     time.Time     `json:"seen_at" table:"-"`
	GoneAt     time.Time     `json:"gone_at" table:"-,omitempty"`
}

func rowOfWorker(w pawl.Worker) workerRow {
	return workerRow{
		ID: w.ID, Name: w.Name, Host: w.Host, PID: w.PID, State: w.State, Stale: w.Stale, Running: w.Running, Queues: w.Queues, Version: w.Version,
		Age: w.Age, Silent: w.Silent, StaleAfter: w.StaleAfter, StartedAt: w.StartedAt, SeenAt: w.SeenAt, GoneAt: w.GoneAt,
	}
}

func parseWorker(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, usageError{fmt.Errorf("%q is no worker's id: want a whole number from 1 on; pawl worker list shows them", text)}
	}
	return id, nil
}

func findWorker(ctx context.Context, client *pawl.Client, id int64) (pawl.Worker, error) {
	workers, err := client.Workers(ctx)
	for _, w := range workers {
		if w.ID == id {
			return w, nil
		}
	}
	if err == nil {
		err = fmt.Errorf("worker %d: %w", id, pawl.ErrNotFound)
	}
	return pawl.Worker{}, err
}

// serves says whether a worker runs jobs of a queue.
func serves(w pawl.Worker, queue string) bool {
	return queue == "" || w.Queues == nil || slices.Contains(w.Queues, queue)
}

// workerCounts are the counts of workers that countWorkers returns. Workers that are gone are only in Total, Stopped and Lost.
type workerCounts struct {
	Queue string // "": any.

	Total, Ready, Suspended, Stopping, Stopped, Lost int

	Stale           int           // Of those that live: silent for so long that they are about to be taken for dead.
	Running         int           // Jobs.
	AverageRunning  float64       // Jobs a worker.
	OldestAge       time.Duration // How long the oldest has run.
	NewestHeartbeat time.Duration // How long ago the last heartbeat of any was.
}

// countWorkers counts the workers that serve a queue, by name or because they serve all; if queue is "", it counts all
// workers. The running jobs of a worker count even if they are of other queues.
func countWorkers(workers []pawl.Worker, queue string) workerCounts {
	stats := workerCounts{Queue: queue}
	living := 0
	for _, w := range workers {
		if !serves(w, queue) {
			continue
		}
		stats.Total++
		switch w.State {
		case "ready":
			stats.Ready++
		case "suspended":
			stats.Suspended++
		case "stopping":
			stats.Stopping++
		case "stopped":
			stats.Stopped++
			continue
		case "lost":
			stats.Lost++
			continue
		}
		if w.Stale {
			stats.Stale++
		}
		stats.Running += w.Running
		stats.OldestAge = max(stats.OldestAge, w.Age)
		if living++; living == 1 || w.Silent < stats.NewestHeartbeat {
			stats.NewestHeartbeat = w.Silent
		}
	}
	if living > 0 {
		stats.AverageRunning = float64(stats.Running) / float64(living)
	}
	return stats
}

func workerListCommand(p *program) *cobra.Command {
	var queue string
	var gone bool
	command := &cobra.Command{
		Use:   "list",
		Short: "List the workers that live",
		Long: `List prints the workers that live, oldest first: their state (ready, suspended, stopping; gone: stopped, lost), how many jobs they run by
their last heartbeat, the queues they run (none: all), and for how long they have been silent. A stale one is about to be taken for dead.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			workers, err := client.Workers(command.Context())
			if err != nil {
				return err
			}
			rows := []workerRow{}
			for _, w := range workers {
				if serves(w, queue) && (gone || w.GoneAt.IsZero()) {
					rows = append(rows, rowOfWorker(w))
				}
			}
			return p.print(rows)
		},
	}
	command.Flags().StringVarP(&queue, "queue", "q", "", "those that run jobs of this queue")
	command.Flags().BoolVar(&gone, "gone", false, "those that are gone, too")
	return command
}

// shownWorker is a worker and what it holds.
type shownWorker struct {
	workerRow
	Jobs []jobRow `json:"jobs"`
}

func workerShowCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show a worker and the jobs it holds",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			_, worker, jobs, err := heldBy(command, p, args[0])
			if err != nil {
				return err
			}
			if p.settled.Format != "table" {
				return p.print(shownWorker{rowOfWorker(worker), rowsOf(jobs)})
			}
			if err := p.print(rowOfWorker(worker)); err != nil || len(jobs) == 0 {
				return err
			}
			out, err := p.output()
			if err != nil {
				return err
			}
			fmt.Fprintln(out)
			return p.print(rowsOf(jobs))
		},
	}
}

// heldBy is a worker, and the jobs it holds.
func heldBy(command *cobra.Command, p *program, text string) (*pawl.Client, pawl.Worker, pawl.Jobs, error) {
	ctx := command.Context()
	id, err := parseWorker(text)
	if err != nil {
		return nil, pawl.Worker{}, nil, err
	}
	client, err := p.open(ctx)
	if err != nil {
		return nil, pawl.Worker{}, nil, err
	}
	workers, err := client.Workers(ctx)
	if err != nil {
		return nil, pawl.Worker{}, nil, err
	}
	i := slices.IndexFunc(workers, func(w pawl.Worker) bool { return w.ID == id })
	if i < 0 {
		return nil, pawl.Worker{}, nil, fmt.Errorf("worker %d: %w", id, pawl.ErrNotFound)
	}
	if slices.ContainsFunc(workers, func(w pawl.Worker) bool {
		return w.ID != id && w.Name == workers[i].Name && w.GoneAt.IsZero()
	}) {
		fmt.Fprintf(p.stderr, "note: another worker that lives is named %s too, and its jobs are among these\n", printable(workers[i].Name))
	}
	running, err := client.List(ctx, pawl.Filter{Worker: workers[i].Name, States: []pawlstate.State{pawlstate.Running}, Limit: 10_000})
	return client, workers[i], running, err
}

// workerStats are figures of workers.
type workerStats struct {
	Total        int            `json:"total_workers"`
	Ready        int            `json:"ready_workers"`
	Suspended    int            `json:"suspended_workers"`
	ShuttingDown int            `json:"shutting_down_workers"`
	Stopped      int            `json:"stopped_workers"`
	Lost         int            `json:"lost_workers"`
	Stale        int            `json:"stale_workers"`
	Running      int            `json:"running"`
	Average      float64        `json:"average_messages_per_worker"`
	Oldest       *time.Duration `json:"oldest_worker_age"` // Nil: none lives.
	Newest       *time.Duration `json:"newest_heartbeat_age"`
}

func workerStatsCommand(p *program) *cobra.Command {
	var queue string
	command := &cobra.Command{
		Use:   "stats [QUEUE]",
		Short: "Show figures of all workers, or of those that run a queue",
		Long: `Stats counts workers by state, those of the last day that are gone included. The average is that of running jobs over the workers that live,
by their last heartbeats; a worker of several queues counts with all it runs. The ages are those of workers that live.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) == 1 {
				if queue != "" && queue != args[0] {
					return usageError{fmt.Errorf("%s and --queue %s: give one of them", args[0], queue)}
				}
				queue = args[0]
			}
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			workers, err := client.Workers(command.Context())
			if err != nil {
				return err
			}
			s := countWorkers(workers, queue)
			row := workerStats{s.Total, s.Ready, s.Suspended, s.Stopping, s.Stopped, s.Lost, s.Stale, s.Running, perSecond(s.AverageRunning), nil, nil}
			if s.Ready+s.Suspended+s.Stopping > 0 {
				row.Oldest, row.Newest = &s.OldestAge, &s.NewestHeartbeat
			}
			return p.print(row)
		},
	}
	command.Flags().StringVarP(&queue, "queue", "q", "", "the same as QUEUE")
	return command
}

// workerHealth is a queue's health, or that of all.
type workerHealth struct {
	Queue     string `json:"queue_name" table:"queue"`
	Total     int    `json:"total_workers" table:"total"`
	Ready     int    `json:"ready_workers" table:"ready"`
	Suspended int    `json:"suspended_workers" table:"suspended"`
	Stopped   int    `json:"stopped_workers" table:"stopped"`
	Stale     int    `json:"stale_workers" table:"stale"`
}

func workerHealthCommand(p *program) *cobra.Command {
	var queue string
	var timeout time.Duration
	var grouped bool
	command := &cobra.Command{
		Use:   "health",
		Short: "Show how many workers are ready and how many are silent, in all or by queue",
		Long: `Health counts the workers that are ready, suspended, gone, and those that live and were silent for too long: by what they said themselves
(three heartbeats), or by --timeout. With --group-by-queue there is a row for each queue, also for one that nobody runs: a worker that
runs all queues counts in each.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx := command.Context()
			client, err := p.open(ctx)
			if err != nil {
				return err
			}
			workers, err := client.Workers(ctx)
			if err != nil {
				return err
			}
			if command.Flags().Changed("timeout") || command.Flags().Changed("max-age") {
				for i := range workers {
					workers[i].Stale = workers[i].Silent > timeout
				}
			}
			names := []string{queue}
			if grouped && queue == "" {
				queues, _, err := knownQueues(ctx, client)
				if err != nil {
					return err
				}
				names = nil
				for _, q := range queues {
					names = append(names, q.Name)
				}
				for _, w := range workers {
					names = append(names, w.Queues...)
				}
				slices.Sort(names)
				names = slices.Compact(names)
			}
			rows := []workerHealth{}
			for _, name := range names {
				s := countWorkers(workers, name)
				rows = append(rows, workerHealth{cmp.Or(name, "Global"), s.Total, s.Ready, s.Suspended, s.Stopped + s.Lost, s.Stale})
			}
			return p.print(rows)
		},
	}
	command.Flags().StringVarP(&queue, "queue", "q", "", "only of workers that run this queue")
	command.Flags().Var((*durationValue)(&timeout), "timeout", "a worker is stale after so much silence; if not given, after what it said itself")
	command.Flags().BoolVar(&grouped, "group-by-queue", false, "a row for each queue")
	command.Flags().Var((*durationValue)(&timeout), "max-age", "the same as --timeout")
	command.Flags().Lookup("max-age").Hidden = true
	return command
}

// toldWorker is what a worker was told to be.
type toldWorker struct {
	ID    int64  `json:"id"`
	State string `json:"state"`
}

// tellCommand tells workers something, one after the other, and prints what they are from now on.
func tellCommand(p *program, command *cobra.Command, do func(*pawl.Client, context.Context, int64) error) *cobra.Command {
	command.Args = cobra.MinimumNArgs(1)
	command.RunE = func(command *cobra.Command, args []string) error {
		ctx := command.Context()
		var ids []int64
		for _, text := range args {
			id, err := parseWorker(text)
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
		client, err := p.open(ctx)
		if err != nil {
			return err
		}
		told := []toldWorker{}
		var failed error
		for _, id := range ids {
			err := do(client, ctx, id)
			if err == nil {
				var worker pawl.Worker
				worker, err = findWorker(ctx, client, id)
				told = append(told, toldWorker{id, worker.State})
			}
			failed = errors.Join(failed, err)
		}
		if len(told) > 0 {
			failed = errors.Join(failed, p.print(told))
		}
		return failed
	}
	return command
}

func workerSuspendCommand(p *program) *cobra.Command {
	return tellCommand(p, &cobra.Command{
		Use:   "suspend ID...",
		Short: "Have workers claim nothing until they are resumed; what they run goes on",
	}, (*pawl.Client).SuspendWorker)
}

func workerResumeCommand(p *program) *cobra.Command {
	return tellCommand(p, &cobra.Command{
		Use:   "resume ID...",
		Short: "Have suspended workers claim again",
	}, (*pawl.Client).ResumeWorker)
}

func workerStopCommand(p *program, name string) *cobra.Command {
	return tellCommand(p, &cobra.Command{
		Use:   name + " ID...",
		Short: "Have workers finish what they run, and end; that cannot be taken back",
		Long: `Stop tells workers to claim no more, finish what they run, and end, as on SIGTERM. Each is told at once, or behind a pooler by its next
heartbeat. What is left after its drain timeout is given back.`,
	}, (*pawl.Client).StopWorker)
}

func workerReleaseCommand(p *program, name string) *cobra.Command {
	return &cobra.Command{
		Use:   name + " ID",
		Short: "Give back the jobs a worker holds, to be run again before all others",
		Long: `Release gives back the jobs a worker holds; no attempt is used. Their handlers are told to end, and nothing they answer counts. A worker that
lives and is not suspended may take them again itself.`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			id, err := parseWorker(args[0])
			if err != nil {
				return err
			}
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			n, err := client.ReleaseWorker(command.Context(), id)
			if err != nil {
				return err
			}
			return p.print(struct {
				ID       int64 `json:"id"`
				Released int64 `json:"released"`
			}{id, n})
		},
	}
}

func workerPurgeCommand(p *program) *cobra.Command {
	var age time.Duration
	command := &cobra.Command{
		Use:   "purge",
		Short: "Forget workers that are gone; they are forgotten after a day anyway",
		Long:  "Purge forgets workers that have been gone for longer than --older-than. One of which jobs are still to be rescued is kept.",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx := command.Context()
			client, err := p.open(ctx)
			if err != nil {
				return err
			}
			workers, err := client.Workers(ctx)
			if err != nil {
				return err
			}
			stats, err := client.Stats(ctx)
			if err != nil {
				return err
			}
			n := int64(0)
			for _, w := range workers {
				if !w.GoneAt.IsZero() && stats.At.Sub(w.GoneAt) > age {
					n++
				}
			}
			if n > 0 {
				if err := p.confirm(ctx, "forget %s among those that are gone", counted(n, "worker")); err != nil {
					return err
				}
			}
			purged, err := client.PurgeWorkers(ctx, age)
			if err != nil {
				return err
			}
			return p.print(struct {
				Purged int64 `json:"purged"`
			}{purged})
		},
	}
	command.Flags().Var((*durationValue)(&age), "older-than", "only those gone for longer than this, such as 7d")
	return command
}
