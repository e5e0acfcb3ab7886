package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

// installationStats is the row that stats prints.
type installationStats struct {
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

func statsCommand(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "stats",
		Short: "Show the figures of the whole installation",
		Long: `Stats prints figures that are cheap at any size. Large figures are estimates, and are marked as such.

  total workers      live workers, and workers that have gone within the last day; active workers are ready
  total messages     live jobs; pending messages are ready jobs, locked messages are running jobs
  archived messages  completed and cancelled jobs, estimated
  xmin age           the age of the oldest open transaction; VACUUM cannot remove rows that were deleted since`,
		Args:    cobra.NoArgs,
		GroupID: groupRun,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx := command.Context()
			client, err := p.Open(ctx)
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
			row := installationStats{
				TotalQueues: len(stats.Queues), TotalWorkers: count.total, ActiveWorkers: count.ready,
				ArchivedMessages: stats.Archived, SchemaVersion: stats.Schema, StaleWorkers: count.stale, Dead: stats.Dead,
				XminAge: stats.XminAge, Semaphores: stats.Semaphores, At: stats.At,
			}
			for _, q := range stats.Queues {
				row.TotalMessages += q.Live()
				row.PendingMessages += q.Ready
				row.LockedMessages += q.Running
				row.Estimated = row.Estimated || q.Estimated
			}
			return p.Print(row)
		},
	}
}
