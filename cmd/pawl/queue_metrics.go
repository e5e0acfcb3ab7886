package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/spf13/cobra"
)

// queueMetrics are the figures of a queue.
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
	Estimated          mark          `json:"estimated" table:",omitempty"`
	ArchivedEstimated  mark          `json:"archived_estimated" table:",omitempty"`
	At                 time.Time     `json:"at" table:"-"`
}

func metricsOf(q knownQueue, at time.Time) queueMetrics {
	s := q.stats
	m := queueMetrics{
		Name: q.Name, TotalMessages: s.Live(), PendingMessages: s.Ready, LockedMessages: s.Running, ArchivedMessages: s.Archived,
		NewestMessage: s.NewestJob, Scheduled: s.Scheduled, Waiting: s.Waiting, Reserved: s.Reserved, Dead: s.Dead, Permits: s.Permits,
		OldestReady: s.OldestReady, Lag: s.Lag, InsertedPerSecond: perSecond(s.In), CompletedPerSecond: perSecond(s.Out), FailedPerSecond: perSecond(s.Failed),
		Paused: q.Paused, Estimated: mark(s.Estimated), ArchivedEstimated: mark(s.ArchivedEstimated), At: at,
	}
	if s.Ready > 0 {
		m.OldestPending = at.Add(-s.OldestReady)
	}
	return m
}

// perSecond is rounded: more digits would pretend to know more.
func perSecond(rate float64) float64 { return float64(int64(rate*100+0.5)) / 100 }

func queueMetricsCommand(p *program) *cobra.Command {
	var every time.Duration
	command := &cobra.Command{
		Use:   "metrics [NAME]",
		Short: "Show the figures of all queues, or all figures of one",
		Long: `Metrics prints figures that are cheap at any size: where there is much they are estimated, and say so.

  total messages           live jobs, in any state
  pending messages         ready: they may be taken now
  locked messages          running: held by a lease
  archived messages        completed and cancelled ones that are still kept
  oldest pending message   since when the oldest ready job has been due
  newest message           when the newest live job was inserted
  scheduled                those that wait for their time, and those whose time has come and no worker has looked since
  waiting, reserved        those that wait for other jobs, or for their commit
  dead                     those given up, that are still kept
  permits                  in use of the queue's limits
  lag                      how long the oldest job that is due has been due
  … per second             inserted and completed jobs, failed attempts, over the last minute, as clients tell`,
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
				return usageError{errors.New("--watch: want at least 100ms")}
			}
			client, err := p.open(ctx)
			if err != nil {
				return err
			}
			look := func() ([]queueMetrics, error) {
				queues, stats, err := knownQueues(ctx, client)
				rows := []queueMetrics{}
				for _, q := range queues {
					if len(args) == 0 || q.Name == args[0] {
						rows = append(rows, metricsOf(q, stats.At))
					}
				}
				if err == nil && len(args) == 1 && len(rows) == 0 {
					err = noQueue(args[0])
				}
				return rows, err
			}
			rows, err := look()
			switch {
			case err != nil:
				return err
			case !watch && len(args) == 1:
				return p.print(rows[0])
			case !watch:
				return p.print(rows)
			}
			for said := ""; ; rows, err = look() {
				switch {
				case ctx.Err() != nil:
					return ctx.Err()
				case err != nil && !errors.Is(err, pawl.ErrNotFound):
					// Who watches wants to see the end of an outage, too.
					if now := err.Error(); now != said {
						said = now
						fmt.Fprintf(p.stderr, "pawl: %s; looking again every %v\n", printable(said), every)
					}
				default:
					said = ""
					if err := printWatched(p, rows); err != nil {
						return err
					}
				}
				if err := sleep(ctx, every); err != nil {
					return err
				}
			}
		},
	}
	command.Flags().Var((*durationValue)(&every), "watch", "again and again, every 2s or as said")
	command.Flags().Lookup("watch").NoOptDefVal = "2s"
	return command
}

// printWatched prints what a watch sees now: on a terminal in place of what it saw before, else after it.
func printWatched[T any](p *program, rows []T) error {
	out, err := p.output()
	if err != nil {
		return err
	}
	if p.settled.Format == "table" && outputWidth(out) > 0 {
		fmt.Fprintf(out, "\x1b[H\x1b[2J")
		return p.print(rows)
	}
	for _, row := range rows {
		if err := p.printNext(row); err != nil {
			return err
		}
	}
	return nil
}

// sleep waits, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func isDuration(text string) bool {
	_, err := parseDuration(text)
	return err == nil
}
