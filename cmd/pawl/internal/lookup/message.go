package lookup

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/view"
)

// EpochFlag is the flag --epoch. It selects a message only while the reader that got this epoch still holds it.
type EpochFlag struct {
	epoch int64
}

// Add gives a command the flag.
func (f *EpochFlag) Add(command *cobra.Command) {
	command.Flags().Int64Var(&f.epoch, "epoch", 0,
		"act only if the reader that got this epoch from pawl message read still holds the message")
}

// Given reports whether the flag was given.
func (f *EpochFlag) Given(command *cobra.Command) bool { return command.Flags().Changed("epoch") }

// Message returns the job of a message. With --epoch it returns the job as its reader claimed it, or pawl.ErrLeaseLost.
func (f *EpochFlag) Message(command *cobra.Command, client *pawl.Client, queue, id string) (*pawl.JobInfo, error) {
	if !f.Given(command) {
		return Message(command.Context(), client, queue, id)
	}
	number, err := flagvalue.ParseID(id)
	if err != nil {
		return nil, err
	}
	if f.epoch < math.MinInt32 || f.epoch > math.MaxInt32 {
		return nil, exit.Usagef("--epoch %d: want a number that pawl message read printed", f.epoch)
	}
	claimed, err := client.Claimed(command.Context(), number)
	if err != nil {
		return nil, err
	}
	if len(claimed) == 1 && claimed[0].Epoch() == int32(f.epoch) && claimed[0].Queue == queue {
		return claimed[0], nil
	}
	if _, err := Message(command.Context(), client, queue, id); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("message %d: %w", number, pawl.ErrLeaseLost)
}

// Message returns the job of a message in a queue, or pawl.ErrNotFound.
func Message(ctx context.Context, client *pawl.Client, queue, id string) (*pawl.JobInfo, error) {
	number, err := flagvalue.ParseID(id)
	if err != nil {
		return nil, err
	}
	job, err := client.Get(ctx, number)
	if errors.Is(err, pawl.ErrNotFound) || err == nil && job.Queue != queue {
		return nil, fmt.Errorf("message %d of queue %q: %w", number, queue, pawl.ErrNotFound)
	}
	return job, err
}

// Messages returns the rows of jobs as messages. The rows of claimed jobs have their epoch and lease.
func Messages(ctx context.Context, client *pawl.Client, jobs pawl.Jobs) ([]view.Message, error) {
	claimed, err := client.Claimed(ctx, IDs(jobs)...)
	if err != nil {
		return nil, err
	}
	byID := map[pawl.ID]*pawl.JobInfo{}
	for _, job := range claimed {
		byID[job.ID] = job
	}
	rows := make([]view.Message, len(jobs))
	for i, job := range jobs {
		if byID[job.ID] != nil {
			job = byID[job.ID]
		}
		rows[i] = view.MessageOf(job)
	}
	return rows, nil
}

// IDs returns the IDs of jobs.
func IDs(jobs pawl.Jobs) (ids []pawl.ID) {
	for _, job := range jobs {
		ids = append(ids, job.ID)
	}
	return ids
}
