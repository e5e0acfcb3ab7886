package pgqrs

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/lookup"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/view"
)

// MessageArchive returns the command pawl message archive.
func MessageArchive(p *program.Program) *cobra.Command {
	var epoch lookup.EpochFlag
	command := &cobra.Command{
		Use:    "archive QUEUE ID",
		Short:  "Finish a message and keep it in the archive",
		Hidden: true,
		Long: `Archive finishes a message. A message that a reader holds becomes completed, any other becomes
cancelled. With --epoch, only the reader that got this epoch can archive the message. The archive keeps the
message for as long as the queue's retention says. It keeps a completed message for a day if that retention is
zero.`,
		Args: cobra.ExactArgs(2),
		RunE: func(command *cobra.Command, args []string) error {
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			job, err := epoch.Message(command, client, args[0], args[1])
			if err != nil {
				return err
			}
			if !job.FinishedAt.IsZero() {
				return fmt.Errorf("message %d among the live messages of queue %q: %w", job.ID, args[0], pawl.ErrNotFound)
			}
			finished, err := finish(command.Context(), client, job)
			if err != nil {
				return err
			}
			return p.Print(view.FinishedMessageOf(finished))
		},
	}
	epoch.Add(command)
	return command
}

// finish completes a claimed job and cancels any other.
func finish(ctx context.Context, client *pawl.Client, job *pawl.JobInfo) (*pawl.JobInfo, error) {
	claimed := pawl.Jobs{job}
	var err error
	if job.Lease() == "" {
		if claimed, err = client.Claimed(ctx, job.ID); err != nil {
			return nil, err
		}
	}
	if len(claimed) > 0 {
		claimed[0].Keep = true
		err = client.Complete(ctx, claimed[0])
	} else {
		_, err = client.Cancel(ctx, job.ID)
	}
	if err != nil {
		return nil, err
	}
	finished, err := client.Get(ctx, job.ID)
	if errors.Is(err, pawl.ErrNotFound) { // The queue keeps no cancelled jobs.
		return job, nil
	}
	return finished, err
}
