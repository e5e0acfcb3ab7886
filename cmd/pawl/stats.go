package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/spf13/cobra"
)

// systemStats are the figures of an installation.
type systemStats struct {
	TotalQueues      int              `json:"total_queues"`
	TotalWorkers     int              `json:"total_workers"`
	ActiveWorkers    int              `json:"active_workers"`
	TotalMessages    int64            `json:"total_messages"`
	PendingMessages  int64            `json:"pending_messages"`
	LockedMessages   int64            `json:"locked_messages"`
	ArchivedMessages int64            `json:"archived_messages"`
	SchemaVersion    int              `json:"schema_version"`
	StaleWorkers     int              `json:"stale_workers"`
	Dead             int64            `json:"dead"`
	Estimated        bool             `json:"estimated"`
	XminAge          time.Duration    `json:"xmin_age"`
	Semaphores       map[string]int64 `json:"semaphores" table:",omitempty"`
	At               time.Time        `json:"at"`
}

func statsCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "stats",
		Short: "Show the figures of the whole installation",
		Long: `Stats prints figures that are cheap at any size; where there is much they are estimated, and say so.

  total workers      those that live, and those gone within the last day; active ones are ready
  total messages     live jobs; pending ones are ready, locked ones run
  archived messages  completed and cancelled ones, an estimate
  xmin age           for how long the oldest transaction is open: what died since cannot be vacuumed`,
		Args:    cobra.NoArgs,
		GroupID: groupRun,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx := command.Context()
			client, err := p.open(ctx)
			if err != nil {
				return err
			}
			stats, err := client.Stats(ctx)
			if err != nil {
				return err
			}
			workers, err := client.Workers(ctx)
			if err != nil {
				return err
			}
			count := countWorkers(workers, "")
			s := systemStats{
				TotalQueues: len(stats.Queues), TotalWorkers: count.Total, ActiveWorkers: count.Ready, ArchivedMessages: stats.Archived,
				SchemaVersion: stats.Schema, StaleWorkers: count.Stale, Dead: stats.Dead, XminAge: stats.XminAge, Semaphores: stats.Semaphores, At: stats.At,
			}
			for _, q := range stats.Queues {
				s.TotalMessages += q.Live()
				s.PendingMessages += q.Ready
				s.LockedMessages += q.Running
				s.Estimated = s.Estimated || q.Estimated
			}
			return p.print(s)
		},
	}
}

// adminCommand has other names of commands that are elsewhere.
func adminCommand(p *program) *cobra.Command {
	command := &cobra.Command{Use: "admin", Short: "Other names of install, verify and stats", Hidden: true}
	for _, sub := range []*cobra.Command{installCommand(p), verifyCommand(p), statsCommand(p), adminReclaimCommand(p)} {
		sub.GroupID = ""
		command.AddCommand(sub)
	}
	return command
}

func adminReclaimCommand(p *program) *cobra.Command {
	var queue string
	var age time.Duration
	command := &cobra.Command{
		Use:   "reclaim",
		Short: "Give back what silent workers hold",
		Long: `Reclaim gives back the jobs of workers that have been silent for too long: by what they said themselves, or by --older-than. Workers, and
every claim, do this by themselves; it is for where none is left. A worker that only seemed dead loses its jobs, and can finish none of them.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx := command.Context()
			if command.Flags().Changed("older-than") && age < 0 {
				return usageError{errors.New("--older-than is negative")}
			}
			client, err := p.open(ctx)
			if err != nil {
				return err
			}
			workers, err := client.Workers(ctx)
			if err != nil {
				return err
			}
			var zombies, reclaimed int64
			for _, w := range workers {
				silent := w.Stale || !w.GoneAt.IsZero()
				if command.Flags().Changed("older-than") && w.GoneAt.IsZero() {
					silent = w.Silent > age
				}
				if !silent || !serves(w, queue) {
					continue
				}
				n, err := client.ReleaseWorker(ctx, w.ID)
				if errors.Is(err, pawl.ErrNotFound) {
					continue
				}
				if err != nil {
					return fmt.Errorf("after %s: %w", counted(reclaimed, "message"), err)
				}
				if n > 0 {
					zombies++
					reclaimed += n
				}
			}
			return p.print(struct {
				Workers   int64 `json:"workers"`
				Reclaimed int64 `json:"reclaimed_messages"`
			}{zombies, reclaimed})
		},
	}
	command.Flags().StringVarP(&queue, "queue", "q", "", "only of workers that run this queue")
	command.Flags().Var((*durationValue)(&age), "older-than", "of workers silent for longer than this; if not given, for longer than they said themselves")
	return command
}
