package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/selection"
	"github.com/pawlhq/pawl/cmd/pawl/internal/view"
	"github.com/pawlhq/pawl/pawlstate"
)

// jobEvent is a row of tail.
type jobEvent struct {
	At      time.Time      `json:"at"`
	Event   string         `json:"event"`
	ID      pawl.ID        `json:"id"`
	Queue   string         `json:"queue"`
	Channel string         `json:"channel"`
	Kind    string         `json:"kind"`
	Attempt int            `json:"attempt"`
	Ran     *time.Duration `json:"ran"` // Nil if the job did not run, or has not finished.
	Worker  string         `json:"worker"`
	Error   string         `json:"error"`
}

func jobEventOf(job *pawl.JobInfo) jobEvent {
	event := jobEvent{
		At: job.CreatedAt, Event: string(job.State), ID: job.ID, Queue: job.Queue, Channel: job.Channel, Kind: job.Kind,
		Attempt: job.Attempt, Worker: job.Worker,
	}
	if job.Unreadable != nil {
		event.Error = job.Unreadable.Error()
	}
	if job.FinishedAt.IsZero() {
		return event
	}
	event.At = job.FinishedAt
	if !job.StartedAt.IsZero() {
		event.Ran = new(job.FinishedAt.Sub(job.StartedAt))
	}
	if job.State != pawlstate.Completed {
		event.Error = view.LastError(job)
	}
	return event
}

func jobTailCommand(p *program.Program) *cobra.Command {
	var filter selection.Filter
	command := &cobra.Command{
		Use:   "tail",
		Short: "Follow jobs as they are inserted and as they finish",
		Long: `Tail prints a line for each job that is inserted and for each job that finishes, from now until
^C, if the job matches the filter. The event is the state of a new job (reserved, waiting, scheduled, ready,
running) or of a finished one (completed, cancelled, dead). A job that finishes before tail sees it has only the
second line. Tail polls for new jobs twice a second. The server notifies it of finished jobs. Behind a pooler
without listen_dsn, tail shows only the ends of jobs that it has seen before. It does not show the ends of jobs
that their queue does not keep (a retention of zero).`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			for job, err := range client.Tail(command.Context(), filter.Filter) {
				if err != nil {
					return err
				}
				if err := p.PrintNext(jobEventOf(job)); err != nil {
					return err
				}
			}
			return command.Context().Err()
		},
	}
	filter.AddFlags(command, "limit", "cursor", "all")
	return command
}
