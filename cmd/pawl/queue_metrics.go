package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/lookup"
	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

// queueMetrics is a row of queue metrics.
type queueMetrics struct {
	Name               string        `json:"name"`
	TotalMessages      int64         `json:"total_messages" table:"total"`
	PendingMessages    int64         `json:"pending_messages" table:"pending"`
	LockedMessages     int64         `json:"locked_messages" table:"locked"`
	ArchivedMessages   int64         `json:"archived_messages" table:"archived"`
	OldestPending      time.Time     `json:"oldest_pending_message" table:"oldest pending"`
	NewestMessage      time.Time     `json:"newest_message" table:"newest"`
	Scheduled          int64         `json:"scheduled"`
	Waiting            int64         `json:"waiting" table:"-"`
	Reserved           int64         `json:"reserved" table:"-"`
	Dead               int64         `json:"dead"`
	Permits            int64         `json:"permits" table:"-"`
	OldestReady        time.Duration `json:"oldest_ready" table:"-"`
	Lag                time.Duration `json:"lag"`
	InsertedPerSecond  float64       `json:"inserted_per_second" table:"-"`
	CompletedPerSecond float64       `json:"completed_per_second" table:"-"`
	FailedPerSecond    float64       `json:"failed_per_second" table:"-"`
	Paused             bool          `json:"paused" table:"-"`
	Estimated          output.Mark   `json:"estimated" table:",omitempty"`
	ArchivedEstimated  output.Mark   `json:"archived_estimated" table:",omitempty"`
	At                 time.Time     `json:"at" table:"-"`
}

func queueMetricsOf(q lookup.Queue, at time.Time) queueMetrics {
	s := q.Stats
	m := queueMetrics{
		Name: q.Name, TotalMessages: s.Live(), PendingMessages: s.Ready, LockedMessages: s.Running,
		ArchivedMessages: s.Archived, NewestMessage: s.NewestJob, Scheduled: s.Scheduled, Waiting: s.Waiting,
		Reserved: s.Reserved, Dead: s.Dead, Permits: s.Permits, OldestReady: s.OldestReady, Lag: s.Lag,
		InsertedPerSecond: roundRate(s.In), CompletedPerSecond: roundRate(s.Out), FailedPerSecond: roundRate(s.Failed),
		Paused: q.Paused, Estimated: output.Mark(s.Estimated), ArchivedEstimated: output.Mark(s.ArchivedEstimated), At: at,
	}
	if s.Ready > 0 {
		m.OldestPending = at.Add(-s.OldestReady)
	}
	return m
}

// roundRate rounds to two digits. The figures are not more exact.
func roundRate(rate float64) float64 { return float64(int64(rate*100+0.5)) / 100 }

func queueMetricsCommand(p *program.Program) *cobra.Command {
	var every time.Duration
	command := &cobra.Command{
		Use:   "metrics [NAME]",
		Short: "Show the main figures of all queues, or all figures of one queue",
		Long: `Metrics prints figures that are cheap at any size. Large figures are estimates, and are marked as
such.

  total messages           live jobs, in any state
  pending messages         ready jobs
  locked messages          running jobs, which a lease protects
  archived messages        completed and cancelled jobs that are kept
  oldest pending message   when the job that has been ready for the longest time became ready
  newest message           when the newest live job was inserted
  scheduled                jobs whose time is in the future, or has come although no claim has promoted them yet
  waiting                  jobs that wait for other jobs
  reserved                 jobs that wait for their commit
  dead                     dead jobs that are kept
  permits                  permits of the queue's limits that are in use
  lag                      how long ago the time of the oldest unclaimed job came
  … per second             inserted and completed jobs and failed attempts, over the last minute, by clients`,
		Example: `  pawl queue metrics
  pawl queue metrics mail --watch
  pawl queue metrics --watch=10s --format csv >> metrics.csv`,
		Args: func(command *cobra.Command, args []string) error {
			if n := len(args); n > 0 && command.Flags().Changed("watch") && isDuration(args[n-1]) {
				return fmt.Errorf("--watch %s: want --watch=%[1]s", args[n-1])
			}
			return cobra.MaximumNArgs(1)(command, args)
		},
		RunE: func(command *cobra.Command, args []string) error {
			ctx := command.Context()
			watch := command.Flags().Changed("watch")
			if watch && every < 100*time.Millisecond {
				return exit.Usagef("--watch: want at least 100ms")
			}
			client, err := p.Open(ctx)
			if err != nil {
				return err
			}
			rows, err := readMetrics(ctx, client, args)
			switch {
			case err != nil:
				return err
			case watch:
				return watchMetrics(ctx, p, client, args, every, rows)
			case len(args) == 1:
				return p.Print(rows[0])
			}
			return p.Print(rows)
		},
	}
	command.Flags().Var((*flagvalue.Duration)(&every), "watch", "repeat, every 2s or at the given interval")
	command.Flags().Lookup("watch").NoOptDefVal = "2s"
	return command
}

// readMetrics returns the figures of all queues, or of the named one.
func readMetrics(ctx context.Context, client *pawl.Client, names []string) ([]queueMetrics, error) {
	queues, stats, err := lookup.Queues(ctx, client)
	rows := []queueMetrics{}
	for _, q := range queues {
		if len(names) == 0 || q.Name == names[0] {
			rows = append(rows, queueMetricsOf(q, stats.At))
		}
	}
	if err == nil && len(names) == 1 && len(rows) == 0 {
		err = lookup.NoQueue(names[0])
	}
	return rows, err
}

// watchMetrics prints the figures at an interval until ctx ends. It continues through errors, so that it is there when
// the database comes back.
func watchMetrics(
	ctx context.Context, p *program.Program, client *pawl.Client, names []string, every time.Duration,
	rows []queueMetrics,
) error {
	var err error
	for reported := ""; ; rows, err = readMetrics(ctx, client, names) {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !errors.Is(err, pawl.ErrNotFound):
			if text := err.Error(); text != reported {
				reported = text
				fmt.Fprintf(p.Stderr, "pawl: %s; retrying every %v\n", output.Printable(text), every)
			}
		default:
			reported = ""
			if err := printRefreshed(p, rows); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
	}
}

// printRefreshed prints rows: on a terminal in place of the previous ones, else after them.
func printRefreshed[T any](p *program.Program, rows []T) error {
	out, err := p.Output()
	if err != nil {
		return err
	}
	if p.Settings.Format == "table" && output.Width(out) > 0 {
		fmt.Fprintf(out, "\x1b[H\x1b[2J")
		return p.Print(rows)
	}
	for _, row := range rows {
		if err := p.PrintNext(row); err != nil {
			return err
		}
	}
	return nil
}

func isDuration(text string) bool {
	_, err := flagvalue.ParseDuration(text)
	return err == nil
}
