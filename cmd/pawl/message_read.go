package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/spf13/cobra"
)

// messageReading are the flags of read and dequeue.
type messageReading struct {
	count    int
	lockTime time.Duration
	kind     string
	worker   int64
}

func (r *messageReading) add(command *cobra.Command) {
	flags := command.Flags()
	flags.SortFlags = false
	r.count = 1
	flags.Var(&numberValue{&r.count, 1, math.MaxInt32}, "count", "how many at most")
	flags.Var((*durationValue)(&r.lockTime), "lock-time", "how long they stay with the reader; a number is seconds; if not given, as the setting lease says, else the queue, else 30s")
	flags.StringVar(&r.kind, "message-type", "", "only messages of this type")
	flags.Int64Var(&r.worker, "worker", 0, "read for this worker, of those registered by pawl worker create")
	flags.Lookup("worker").Hidden = true
}

// read claims messages, and prints what a later delete needs.
func (r *messageReading) read(command *cobra.Command, p *program, queue string) error {
	ctx := command.Context()
	changed := command.Flags().Changed
	switch {
	case changed("lock-time") && r.lockTime == 0:
		return usageError{errors.New("--lock-time 0: want a time above 0")}
	case queue == "":
		return usageError{errors.New("the queue's name is empty")}
	}
	client, err := p.open(ctx)
	if err != nil {
		return err
	}
	if !changed("lock-time") {
		r.lockTime = p.settled.Lease
	}
	var kinds []string
	if changed("message-type") {
		kinds = []string{r.kind}
	}
	claim := client.Claim
	if r.worker != 0 {
		worker, err := findWorker(ctx, client, r.worker)
		if err != nil {
			return err
		}
		if !worker.GoneAt.IsZero() {
			return fmt.Errorf("worker %d is %s", worker.ID, worker.State)
		}
		claim = worker.Claim
	}
	rows := []messageRow{}
	for left := r.count; left > 0; {
		most := min(left, p.settled.BatchSize)
		jobs, err := claim(ctx, queue, most, r.lockTime, kinds...)
		if err == nil {
			err = untilWhen(ctx, client, jobs)
		}
		for _, job := range jobs { // Also when something failed: they are held.
			rows = append(rows, rowOfMessage(job))
		}
		if err != nil && len(rows) > 0 {
			return errors.Join(err, p.print(rows))
		}
		if err != nil {
			return err
		}
		if left -= len(jobs); len(jobs) < most {
			break // Of a message that may be poisonous Claim gives no other beside it.
		}
	}
	return p.print(rows)
}

// untilWhen finds out how long claimed jobs stay.
func untilWhen(ctx context.Context, client *pawl.Client, jobs pawl.Jobs) error {
	held, err := client.Claimed(ctx, idsOf(jobs)...)
	until := map[pawl.ID]time.Time{}
	for _, job := range held {
		until[job.ID] = job.LeaseUntil
	}
	for _, job := range jobs {
		job.LeaseUntil = until[job.ID]
	}
	return err
}

func idsOf(jobs pawl.Jobs) (ids []pawl.ID) {
	for _, job := range jobs {
		ids = append(ids, job.ID)
	}
	return ids
}

const readLong = `
Whoever gets a message holds it until its vt; pawl message delete before that finishes it. Else it comes again, to anyone and alone, whatever
--count says, and the third time that happens it is dead: a poisonous message. read_ct counts attempts, which a lock time that ran out is not. Nothing waits for messages: an
empty queue, one that is paused and one whose limits are used up give none.`

func messageReadCommand(p *program) *cobra.Command {
	var reading messageReading
	var archived bool
	command := &cobra.Command{
		Use:   "read QUEUE",
		Short: "Read messages and hold them, or with --archive list those that are done",
		Long:  "Read takes messages that may be read now, the most urgent first." + readLong,
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if !archived {
				return reading.read(command, p, args[0])
			}
			if changed := command.Flags().Changed; changed("lock-time") || changed("worker") {
				return usageError{errors.New("--archive only lists: without --lock-time and --worker")}
			}
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			filter := jobFilter{Filter: pawl.Filter{Queue: args[0], Kind: reading.kind, States: finishedStates, Limit: reading.count}}
			return filter.listAs(command.Context(), p, client, rowsOfArchived)
		},
	}
	reading.add(command)
	command.Flags().BoolVar(&archived, "archive", false, "list messages that are done instead, the newest first: completed, cancelled and dead ones")
	return command
}

func messageDequeueCommand(p *program) *cobra.Command {
	var reading messageReading
	command := &cobra.Command{
		Use:   "dequeue QUEUE",
		Short: "Read one message and hold it",
		Long:  "Dequeue is read: it takes the most urgent message that may be read now." + readLong,
		Args:  cobra.RangeArgs(1, 3), // QUEUE WORKER LOCK_TIME is pgqrs's form.
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) > 1 {
				id, err := strconv.ParseInt(args[1], 10, 64)
				if err != nil || id < 1 {
					return usageError{fmt.Errorf("%q is no worker's id", args[1])}
				}
				reading.worker = id
			}
			if len(args) > 2 {
				if err := command.Flags().Set("lock-time", args[2]); err != nil {
					return usageError{err}
				}
			}
			return reading.read(command, p, args[0])
		},
	}
	reading.add(command)
	return command
}
