package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/spf13/cobra"
)

// These are names and forms of pgqrs, for who comes from it; the help leaves them out. A worker registered by hand is for who
// reads messages by hand and wants to be seen among the workers.

// pgqrsWorker is a worker with pgqrs's names.
type pgqrsWorker struct {
	ID          int64     `json:"id"`
	Hostname    string    `json:"hostname"`
	Port        *int      `json:"port"`
	Queue       string    `json:"queue_name"`
	StartedAt   time.Time `json:"started_at"`
	HeartbeatAt time.Time `json:"heartbeat_at"`
	ShutdownAt  time.Time `json:"shutdown_at"`
	Status      string    `json:"status"`
}

func pgqrsOf(w pawl.Worker) pgqrsWorker {
	row := pgqrsWorker{
		ID: w.ID, Hostname: w.Host, Queue: strings.Join(w.Queues, ","), StartedAt: w.StartedAt, HeartbeatAt: w.SeenAt, ShutdownAt: w.GoneAt, Status: w.State,
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

func workerCreateCommand(p *program) *cobra.Command {
	var silence time.Duration
	command := &cobra.Command{
		Use:    "create QUEUE HOST PORT",
		Short:  "Register a worker for who reads messages by hand",
		Hidden: true,
		Long: `Create registers a worker under the name HOST:PORT. It runs nothing: pawl message dequeue QUEUE ID reads for it, so that it is seen, can be
suspended, and what it holds comes back when it is silent: pawl worker heartbeat, or a dequeue, every --stale-after says it lives.`,
		Args: cobra.ExactArgs(3),
		RunE: func(command *cobra.Command, args []string) error {
			ctx := command.Context()
			port, err := number([]string{args[2]}, 0, 65535)
			if err != nil {
				return usageError{fmt.Errorf("port %w", err)}
			}
			client, err := p.open(ctx)
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
					return fmt.Errorf("worker %d is %s and named %s already", w.ID, w.State, name)
				}
			}
			worker, err := client.RegisterWorker(ctx, pawl.Worker{Name: name, Host: args[1], Queues: args[:1], Version: version().Version, StaleAfter: silence})
			if err != nil {
				return err
			}
			return p.print(pgqrsOf(*worker))
		},
	}
	silence = 5 * time.Minute
	command.Flags().Var((*durationValue)(&silence), "stale-after", "how long it may be silent")
	return command
}

func workerGetCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:    "get ID",
		Short:  "Show a worker",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			id, err := parseWorker(args[0])
			if err != nil {
				return err
			}
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			worker, err := findWorker(command.Context(), client, id)
			if err != nil {
				return err
			}
			return p.print(pgqrsOf(worker))
		},
	}
}

func workerMessagesCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:    "messages ID",
		Short:  "List the messages a worker holds",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			client, _, jobs, err := heldBy(command, p, args[0])
			if err != nil {
				return err
			}
			rows, err := rowsOfMessages(command.Context(), client, jobs)
			if err != nil {
				return err
			}
			return p.print(rows)
		},
	}
}

func workerHeartbeatCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:    "heartbeat ID",
		Short:  "Say that a worker registered by hand lives",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			ctx := command.Context()
			id, err := parseWorker(args[0])
			if err != nil {
				return err
			}
			client, err := p.open(ctx)
			if err != nil {
				return err
			}
			worker, err := findWorker(ctx, client, id)
			if err != nil {
				return err
			}
			if _, err := worker.Heartbeat(ctx); err != nil {
				return err
			}
			if worker, err = findWorker(ctx, client, id); err != nil {
				return err
			}
			return p.print(pgqrsOf(worker))
		},
	}
}

func workerDeleteCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:    "delete ID",
		Short:  "Forget a worker that is gone, or one registered by hand that holds nothing",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			ctx := command.Context()
			client, worker, jobs, err := heldBy(command, p, args[0])
			if err != nil {
				return err
			}
			if len(jobs) > 0 {
				return fmt.Errorf("worker %d holds %s: pawl worker release %[1]d gives them back", worker.ID, counted(int64(len(jobs)), "message"))
			}
			if worker.PID == 0 && worker.GoneAt.IsZero() {
				if err := client.StopWorker(ctx, worker.ID); err != nil {
					return err
				}
			}
			if _, err := client.PurgeWorkers(ctx, 0, worker.ID); err != nil {
				return err
			}
			return p.print(struct {
				ID      int64 `json:"id"`
				Deleted bool  `json:"deleted"`
			}{worker.ID, true})
		},
	}
}
