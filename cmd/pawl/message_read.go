package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/lookup"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/selection"
	"github.com/pawlhq/pawl/cmd/pawl/internal/view"
)

const readLong = `

A reader holds a message until its vt. To finish the message, delete it before that time (pawl message delete).
Otherwise any reader can read it again, and read returns it alone, whatever --count says. After the third time
the message is dead, because it may be what kills its readers. read_ct counts attempts; a lock time that ran out
is not an attempt. Read does not wait for messages: it returns none if the queue is empty, is paused or has
reached its limits.`

func messageReadCommand(p *program.Program) *cobra.Command {
	var reader messageReader
	var archived bool
	command := &cobra.Command{
		Use:   "read QUEUE",
		Short: "Read and hold messages, or with --archive list finished ones",
		Long:  "Read claims messages that can be read now, most urgent first." + readLong,
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if !archived {
				return reader.read(command, p, args[0])
			}
			if changed := command.Flags().Changed; changed("lock-time") || changed("worker") {
				return exit.Usagef("--archive excludes --lock-time and --worker")
			}
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			filter := selection.Filter{Filter: pawl.Filter{
				Queue: args[0], Kind: reader.kind, States: selection.Finished, Limit: reader.count,
			}}
			return filter.ListAs(command.Context(), p, client, view.FinishedMessagesOf)
		},
	}
	reader.addFlags(command)
	command.Flags().BoolVar(&archived, "archive", false,
		"list finished messages instead, newest first: completed, cancelled and dead ones")
	return command
}

func messageDequeueCommand(p *program.Program) *cobra.Command {
	var reader messageReader
	command := &cobra.Command{
		Use:   "dequeue QUEUE",
		Short: "Read and hold one message",
		Long:  "Dequeue is another name of read. It claims the most urgent message that can be read now." + readLong,
		Args:  cobra.RangeArgs(1, 3), // pgqrs has the form QUEUE WORKER LOCK_TIME.
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) > 1 {
				id, err := strconv.ParseInt(args[1], 10, 64)
				if err != nil || id < 1 {
					return exit.Usagef("%q is not the ID of a worker", args[1])
				}
				reader.worker = id
			}
			if len(args) > 2 {
				if err := command.Flags().Set("lock-time", args[2]); err != nil {
					return exit.Usage(err)
				}
			}
			return reader.read(command, p, args[0])
		},
	}
	reader.addFlags(command)
	return command
}

// messageReader holds the flags of read and dequeue.
type messageReader struct {
	count    int
	lockTime time.Duration
	kind     string
	worker   int64
}

func (r *messageReader) addFlags(command *cobra.Command) {
	flags := command.Flags()
	flags.SortFlags = false
	r.count = 1
	flags.Var(&flagvalue.Number{To: &r.count, Least: 1, Most: math.MaxInt32}, "count", "maximum number of messages")
	flags.Var((*flagvalue.Duration)(&r.lockTime), "lock-time",
		"how long the reader holds the messages; if not given, the setting lease, else the queue's lease, else 30s")
	flags.StringVar(&r.kind, "message-type", "", "only messages of this type")
	flags.Int64Var(&r.worker, "worker", 0, "read for this worker, which pawl worker create has registered")
	flags.Lookup("worker").Hidden = true
}

// read claims messages and prints them.
func (r *messageReader) read(command *cobra.Command, p *program.Program, queue string) error {
	ctx := command.Context()
	changed := command.Flags().Changed
	switch {
	case changed("lock-time") && r.lockTime == 0:
		return exit.Usagef("--lock-time 0: want a time above 0")
	case queue == "":
		return exit.Usagef("the queue's name is empty")
	}
	client, err := p.Open(ctx)
	if err != nil {
		return err
	}
	if !changed("lock-time") {
		r.lockTime = p.Settings.Lease
	}
	var kinds []string
	if changed("message-type") {
		kinds = []string{r.kind}
	}
	claim, err := r.claim(ctx, client)
	if err != nil {
		return err
	}
	rows := []view.Message{}
	for left := r.count; left > 0; {
		most := min(left, p.Settings.BatchSize)
		jobs, err := claim(ctx, queue, most, r.lockTime, kinds...)
		if err == nil {
			err = setLeaseEnds(ctx, client, jobs)
		}
		for _, job := range jobs { // Also after an error: the reader holds these messages.
			rows = append(rows, view.MessageOf(job))
		}
		if err != nil && len(rows) > 0 {
			return errors.Join(err, p.Print(rows))
		}
		if err != nil {
			return err
		}
		if left -= len(jobs); len(jobs) < most {
			break // No more messages, or one that is suspect, which Claim returns alone.
		}
	}
	return p.Print(rows)
}

// claimFunc is Client.Claim or Worker.Claim.
type claimFunc func(
	ctx context.Context, queue string, n int, lease time.Duration, kinds ...string,
) (pawl.Jobs, error)

// claim returns the function that claims messages, for the worker of --worker if that was given.
func (r *messageReader) claim(ctx context.Context, client *pawl.Client) (claimFunc, error) {
	if r.worker == 0 {
		return client.Claim, nil
	}
	worker, err := lookup.Worker(ctx, client, r.worker)
	if err != nil {
		return nil, err
	}
	if !worker.GoneAt.IsZero() {
		return nil, fmt.Errorf("worker %d is %s", worker.ID, worker.State)
	}
	return worker.Claim, nil
}

// setLeaseEnds sets LeaseUntil of claimed jobs.
func setLeaseEnds(ctx context.Context, client *pawl.Client, jobs pawl.Jobs) error {
	claimed, err := client.Claimed(ctx, lookup.IDs(jobs)...)
	until := map[pawl.ID]time.Time{}
	for _, job := range claimed {
		until[job.ID] = job.LeaseUntil
	}
	for _, job := range jobs {
		job.LeaseUntil = until[job.ID]
	}
	return err
}
