package pgqrs

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/lookup"
	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

// worker is a worker with the names of pgqrs.
type worker struct {
	ID          int64     `json:"id"`
	Hostname    string    `json:"hostname"`
	Port        *int      `json:"port"`
	Queue       string    `json:"queue_name"`
	StartedAt   time.Time `json:"started_at"`
	HeartbeatAt time.Time `json:"heartbeat_at"`
	ShutdownAt  time.Time `json:"shutdown_at"`
	Status      string    `json:"status"`
}

func workerOf(w pawl.Worker) worker {
	row := worker{
		ID: w.ID, Hostname: w.Host, Queue: strings.Join(w.Queues, ","), StartedAt: w.StartedAt, HeartbeatAt: w.SeenAt,
		ShutdownAt: w.GoneAt, Status: w.State,
	}
	switch w.State {
	case "stopping":
		row.Status = "shutting_down"
	case "lost":
		row.Status = "stopped"
	}
	if text, ok := strings.CutPrefix(w.Name, w.Host+":"); ok && w.PID == 0 {
		if port, err := strconv.Atoi(text); err == nil {
			row.Port = &port
		}
	}
	return row
}

// WorkerCommands returns the commands below pawl worker. The version is stored with workers that they register.
func WorkerCommands(p *program.Program, version string) []*cobra.Command {
	return []*cobra.Command{
		workerCreate(p, version), workerGet(p), workerMessages(p), workerHeartbeat(p), workerDelete(p),
	}
}

func workerCreate(p *program.Program, version string) *cobra.Command {
	staleAfter := 5 * time.Minute
	command := &cobra.Command{
		Use:    "create QUEUE HOST PORT",
		Short:  "Register a worker that reads messages by hand",
		Hidden: true,
		Long: `Create registers a worker with the name HOST:PORT. The worker runs nothing: pawl message dequeue
QUEUE ID reads for it. It is listed among the workers and can be suspended. If it is silent for longer than
--stale-after, its messages are given to others. pawl worker heartbeat and pawl message dequeue count as signs
of life.`,
		Args: cobra.ExactArgs(3),
		RunE: func(command *cobra.Command, args []string) error {
			ctx := command.Context()
			port, err := flagvalue.ParseNumber(args[2], 0, 65535)
			if err != nil {
				return exit.Usagef("port %w", err)
			}
			client, err := p.Open(ctx)
			if err != nil {
				return err
			}
			name := fmt.Sprintf("%s:%d", args[1], port)
			workers, err := client.Workers(ctx)
			if err != nil {
				return err
			}
			for _, w := range workers {
				if w.Name == name && w.GoneAt.IsZero() {
					return fmt.Errorf("the name %s is taken: worker %d is %s", name, w.ID, w.State)
				}
			}
			registered, err := client.RegisterWorker(ctx, pawl.Worker{
				Name: name, Host: args[1], Queues: args[:1], Version: version, StaleAfter: staleAfter,
			})
			if err != nil {
				return err
			}
			return p.Print(workerOf(*registered))
		},
	}
	command.Flags().Var((*flagvalue.Duration)(&staleAfter), "stale-after", "how long the worker may be silent")
	return command
}

func workerGet(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:    "get ID",
		Short:  "Show a worker",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			id, err := flagvalue.ParseWorkerID(args[0])
			if err != nil {
				return err
			}
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			return printWorker(command.Context(), p, client, id)
		},
	}
}

func printWorker(ctx context.Context, p *program.Program, client *pawl.Client, id int64) error {
	w, err := lookup.Worker(ctx, client, id)
	if err != nil {
		return err
	}
	return p.Print(workerOf(w))
}

func workerMessages(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:    "messages ID",
		Short:  "List the messages that a worker has read",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			ctx := command.Context()
			client, _, jobs, err := openWorker(ctx, p, args[0])
			if err != nil {
				return err
			}
			rows, err := lookup.Messages(ctx, client, jobs)
			if err != nil {
				return err
			}
			return p.Print(rows)
		},
	}
}

func openWorker(
	ctx context.Context, p *program.Program, text string,
) (client *pawl.Client, w pawl.Worker, jobs pawl.Jobs, err error) {
	id, err := flagvalue.ParseWorkerID(text)
	if err != nil {
		return nil, w, nil, err
	}
	if client, err = p.Open(ctx); err != nil {
		return nil, w, nil, err
	}
	w, jobs, err = lookup.JobsOfWorker(ctx, client, id, p.Stderr)
	return client, w, jobs, err
}

func workerHeartbeat(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:    "heartbeat ID",
		Short:  "Send a heartbeat for a worker that was registered by hand",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			ctx := command.Context()
			id, err := flagvalue.ParseWorkerID(args[0])
			if err != nil {
				return err
			}
			client, err := p.Open(ctx)
			if err != nil {
				return err
			}
			w, err := lookup.Worker(ctx, client, id)
			if err != nil {
				return err
			}
			if _, err := w.Heartbeat(ctx); err != nil {
				return err
			}
			return printWorker(ctx, p, client, id)
		},
	}
}

func workerDelete(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:    "delete ID",
		Short:  "Delete a worker that is gone, or one that was registered by hand and has no messages",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			ctx := command.Context()
			client, w, jobs, err := openWorker(ctx, p, args[0])
			if err != nil {
				return err
			}
			if len(jobs) > 0 {
				return fmt.Errorf("worker %d has %s; to release them: pawl worker release %[1]d",
					w.ID, output.Count(int64(len(jobs)), "message"))
			}
			if w.PID == 0 && w.GoneAt.IsZero() {
				if err := client.StopWorker(ctx, w.ID); err != nil {
					return err
				}
			}
			if _, err := client.PurgeWorkers(ctx, 0, w.ID); err != nil {
				return err
			}
			return p.Print(struct {
				ID      int64 `json:"id"`
				Deleted bool  `json:"deleted"`
			}{w.ID, true})
		},
	}
}
