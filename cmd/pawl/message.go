package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/pawlhq/pawl/pawlstats"
	"github.com/spf13/cobra"
)

// messageKind is the kind of jobs that were sent as messages of no type.
const messageKind = "message"

func messageCommand(p *program) *cobra.Command {
	command := &cobra.Command{
		Use:   "message",
		Short: "Send and read jobs as messages, from a shell",
		Long: `A message is a job, seen by who sends payloads and reads them by hand: its payload is the job's args, its type the job's kind, "message" if
nothing else is said. Every job can be read as one, and workers run what was sent, if they know its kind.

Who reads a message holds it, for as long as --lock-time says; deleted before that, it is done, else it comes again:

  pawl message send mail '{"to": "ann@example.com"}'
  pawl message read mail --lock-time 5m
  pawl message delete mail 1`,
		GroupID: groupJobs,
	}
	command.AddCommand(
		messageSendCommand(p, "send"), messageReadCommand(p), messageDequeueCommand(p), messageDeleteCommand(p),
		messageCountCommand(p), messageShowCommand(p, "show"),
		unlisted(messageSendCommand(p, "enqueue")), unlisted(messageShowCommand(p, "get")), messageArchiveCommand(p),
	)
	return command
}

// unlisted leaves a command out of the help: it is another name for one that is there.
func unlisted(command *cobra.Command) *cobra.Command {
	command.Hidden = true
	return command
}

// messageRow is a job as a message.
type messageRow struct {
	ID          pawl.ID         `json:"id"`
	Queue       string          `json:"queue_name" table:"-"`
	Type        string          `json:"message_type" table:"type"`
	State       pawlstate.State `json:"state"`
	Payload     json.RawMessage `json:"payload"`
	ReadCount   int             `json:"read_ct"`
	VisibleAt   time.Time       `json:"vt"`
	EnqueuedAt  time.Time       `json:"enqueued_at" table:"-"`
	DequeuedAt  time.Time       `json:"dequeued_at" table:"-,omitempty"`
	Worker      string          `json:"worker" table:"-,omitempty"`
	Epoch       *int32          `json:"epoch" table:",omitempty"`
	Lease       string          `json:"lease" table:"-,omitempty"`
	Data        []byte          `json:"data" table:"-,omitempty"`
	Headers     json.RawMessage `json:"headers" table:"-,omitempty"`
	MaxAttempts int             `json:"max_attempts" table:"-,omitempty"`
}

func rowOfMessage(job *pawl.JobInfo) messageRow {
	row := messageRow{
		ID: job.ID, Queue: job.Queue, Type: job.Kind, State: job.State, Payload: job.Args, ReadCount: job.Attempt, EnqueuedAt: job.CreatedAt,
		VisibleAt: job.RunAt, DequeuedAt: job.StartedAt, Worker: job.Worker, Data: job.Data, MaxAttempts: job.MaxAttempts,
	}
	if row.VisibleAt.IsZero() {
		row.VisibleAt = job.CreatedAt
	}
	if job.State == pawlstate.Running {
		row.VisibleAt = job.LeaseUntil
	}
	if job.Lease() != "" {
		row.Epoch, row.Lease = new(job.Epoch()), job.Lease()
	}
	if len(job.Headers) > 0 {
		row.Headers, _ = json.Marshal(job.Headers)
	}
	return row
}

// rowsOfMessages are jobs as messages, those that are held with until when.
func rowsOfMessages(ctx context.Context, client *pawl.Client, jobs pawl.Jobs) ([]messageRow, error) {
	held, err := client.Claimed(ctx, idsOf(jobs)...)
	if err != nil {
		return nil, err
	}
	as := map[pawl.ID]*pawl.JobInfo{}
	for _, job := range held {
		as[job.ID] = job
	}
	rows := make([]messageRow, len(jobs))
	for i, job := range jobs {
		if as[job.ID] != nil {
			job = as[job.ID]
		}
		rows[i] = rowOfMessage(job)
	}
	return rows, nil
}

// archivedMessage is a finished job as a message.
type archivedMessage struct {
	ID         pawl.ID         `json:"id"`
	Queue      string          `json:"queue_name" table:"-"`
	Type       string          `json:"message_type" table:"type"`
	State      pawlstate.State `json:"state"`
	Payload    json.RawMessage `json:"payload"`
	ReadCount  int             `json:"read_ct"`
	EnqueuedAt time.Time       `json:"enqueued_at" table:"-"`
	DequeuedAt time.Time       `json:"dequeued_at" table:"-"`
	ArchivedAt time.Time       `json:"archived_at"`
	Processing *time.Duration  `json:"processing_duration" table:"processing,omitempty"`
	Worker     string          `json:"worker" table:"-,omitempty"`
	Reason     string          `json:"reason" table:"-,omitempty"`
	LastError  string          `json:"last_error" table:"-,omitempty"`
}

func rowOfArchived(job *pawl.JobInfo) archivedMessage {
	row := archivedMessage{
		ID: job.ID, Queue: job.Queue, Type: job.Kind, State: job.State, Payload: job.Args, ReadCount: job.Attempt, EnqueuedAt: job.CreatedAt,
		DequeuedAt: job.StartedAt, ArchivedAt: job.FinishedAt, Worker: job.Worker, Reason: job.Reason, LastError: lastError(job),
	}
	if !job.StartedAt.IsZero() {
		row.Processing = new(job.FinishedAt.Sub(job.StartedAt))
	}
	return row
}

func rowsOfArchived(jobs pawl.Jobs) (any, error) {
	rows := make([]archivedMessage, len(jobs))
	for i, job := range jobs {
		rows[i] = rowOfArchived(job)
	}
	return rows, nil
}

func lastError(job *pawl.JobInfo) string {
	if n := len(job.Errors); n > 0 {
		return job.Errors[n-1].Error
	}
	return ""
}

func messageSendCommand(p *program, name string) *cobra.Command {
	var spec pawl.JobSpec
	var kind string
	command := &cobra.Command{
		Use:   name + " QUEUE PAYLOAD",
		Short: "Send a message: JSON, or - for JSON on standard input",
		Example: `  pawl message send mail '{"to": "ann@example.com"}' --delay 30
  pawl message send mail '{"to": "ann@example.com"}' --message-type welcome`,
		Args: cobra.ExactArgs(2),
		RunE: func(command *cobra.Command, args []string) error {
			ctx := command.Context()
			payload := []byte(args[1])
			if args[1] == "-" {
				var err error
				if payload, err = io.ReadAll(p.input()); err != nil {
					return fmt.Errorf("standard input: %w", err)
				}
			}
			if !json.Valid(payload) {
				return usageError{errors.New("the payload is not JSON: " + wantJSON)}
			}
			spec.Args, spec.Queue = pawl.Raw(kind, payload), args[0]
			if spec.Queue == "" {
				return usageError{errors.New("the queue's name is empty")}
			}
			client, err := p.open(ctx)
			if err != nil {
				return err
			}
			result, err := client.Insert(ctx, spec)
			if wrong, ok := errors.AsType[*pawl.InvalidError](err); ok {
				return usageError{wrongWith(wrong)}
			}
			if err != nil {
				return err
			}
			job, err := client.Get(ctx, result.ID)
			if errors.Is(err, pawl.ErrNotFound) { // Done already, and not kept.
				job, err = &pawl.JobInfo{ID: result.ID, Queue: args[0], Kind: kind, Args: payload, State: pawlstate.Completed}, nil
			}
			if err != nil {
				return err
			}
			return p.print(rowOfMessage(job))
		},
	}
	command.Flags().Var((*durationValue)(&spec.Delay), "delay", "it cannot be read before so long from now; a number is seconds")
	command.Flags().StringVar(&kind, "message-type", messageKind, "its type: the job's kind, which selects a worker's handler")
	return command
}

// messageChoice is a message by its queue and id, and perhaps by the epoch it was read with.
type messageChoice struct {
	epoch int64
}

func (c *messageChoice) add(command *cobra.Command) {
	command.Flags().Int64Var(&c.epoch, "epoch", 0, "only if it is still held as it was read: the epoch that read printed")
}

// find is the job: with --epoch as its reader has it, else as it is.
func (c *messageChoice) find(command *cobra.Command, client *pawl.Client, queue, text string) (job *pawl.JobInfo, err error) {
	ctx := command.Context()
	id, err := parseID(text)
	if err != nil {
		return nil, err
	}
	fenced := command.Flags().Changed("epoch")
	if fenced {
		if c.epoch < math.MinInt32 || c.epoch > math.MaxInt32 {
			return nil, usageError{fmt.Errorf("--epoch %d: read prints no such number", c.epoch)}
		}
		held, err := client.Claimed(ctx, id)
		if err != nil {
			return nil, err
		}
		if len(held) == 1 && held[0].Epoch() == int32(c.epoch) && held[0].Queue == queue {
			return held[0], nil
		}
	}
	job, err = client.Get(ctx, id)
	switch {
	case errors.Is(err, pawl.ErrNotFound), err == nil && job.Queue != queue:
		return nil, fmt.Errorf("message %d of queue %q: %w", id, queue, pawl.ErrNotFound)
	case err == nil && fenced:
		return nil, fmt.Errorf("message %d: %w", id, pawl.ErrLeaseLost)
	}
	return job, err
}

func messageDeleteCommand(p *program) *cobra.Command {
	var choice messageChoice
	command := &cobra.Command{
		Use:   "delete QUEUE ID",
		Short: "Delete a message: this is how one that was read is done with",
		Long: `Delete takes a message away, whatever its state, and leaves nothing of it, not even in the archive. By its id alone it does so whoever
holds it: if your lock time had run out, that may be somebody else by now. With the epoch that read printed it deletes the message only if
it is still yours; if not, nothing is changed and the exit code is 1.`,
		Args: cobra.ExactArgs(2),
		RunE: func(command *cobra.Command, args []string) error {
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			job, err := choice.find(command, client, args[0], args[1])
			if err != nil {
				return err
			}
			var which pawl.Selector = job.ID
			if command.Flags().Changed("epoch") {
				which = job
			}
			n, err := client.Delete(command.Context(), which)
			if err == nil && n == 0 {
				err = fmt.Errorf("message %d: %w", job.ID, pawl.ErrLeaseLost)
			}
			if err != nil {
				return err
			}
			return p.print(struct {
				ID      pawl.ID `json:"id"`
				Deleted bool    `json:"deleted"`
			}{job.ID, true})
		},
	}
	choice.add(command)
	return command
}

func messageArchiveCommand(p *program) *cobra.Command {
	var choice messageChoice
	command := &cobra.Command{
		Use:    "archive QUEUE ID",
		Short:  "Finish a message and keep it in the archive",
		Hidden: true,
		Long: `Archive finishes a message: one that is held as completed, whoever holds it, and with --epoch only if that is who read it at that epoch;
any other as cancelled. It stays in the archive for as long as the queue's retention says, a completed one for a day where that is zero.`,
		Args: cobra.ExactArgs(2),
		RunE: func(command *cobra.Command, args []string) error {
			ctx := command.Context()
			client, err := p.open(ctx)
			if err != nil {
				return err
			}
			job, err := choice.find(command, client, args[0], args[1])
			if err != nil {
				return err
			}
			if !job.FinishedAt.IsZero() {
				return fmt.Errorf("message %d of queue %q, of those that live: %w", job.ID, args[0], pawl.ErrNotFound)
			}
			held := pawl.Jobs{job}
			if job.Lease() == "" {
				if held, err = client.Claimed(ctx, job.ID); err != nil {
					return err
				}
			}
			if len(held) > 0 {
				held[0].Keep = true
				err = client.Complete(ctx, held[0])
			} else {
				_, err = client.Cancel(ctx, job.ID)
			}
			if err != nil {
				return err
			}
			done, err := client.Get(ctx, job.ID)
			if errors.Is(err, pawl.ErrNotFound) { // Cancelled, and those are not kept.
				done, err = job, nil
			}
			if err != nil {
				return err
			}
			return p.print(rowOfArchived(done))
		},
	}
	choice.add(command)
	return command
}

func messageCountCommand(p *program) *cobra.Command {
	var archived bool
	command := &cobra.Command{
		Use:   "count QUEUE",
		Short: "Count the messages that may be read now, or with --archive those that are done",
		Long:  "Count counts exactly, which reads all it counts. Messages that are held, delayed or wait for others are not pending.",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			ctx := command.Context()
			client, err := p.open(ctx)
			if err != nil {
				return err
			}
			filter := pawl.Filter{Queue: args[0], States: finishedStates}
			if !archived {
				filter.States = []pawlstate.State{pawlstate.Ready}
			}
			n, err := client.Count(ctx, filter)
			if err == nil && !archived {
				// Those whose time has come are moved by who next claims; they may be read all the same.
				var stats pawlstats.Stats
				if stats, err = client.Stats(ctx); err == nil {
					var due int64
					due, err = client.Count(ctx, pawl.Filter{Queue: args[0], States: []pawlstate.State{pawlstate.Scheduled}, RunBefore: stats.At})
					n += due
				}
			}
			if err != nil {
				return err
			}
			return p.print(struct {
				Queue string `json:"queue_name"`
				Count int64  `json:"count"`
			}{args[0], n})
		},
	}
	command.Flags().BoolVar(&archived, "archive", false, "count messages that are done instead: completed, cancelled and dead ones that are still kept")
	return command
}

func messageShowCommand(p *program, name string) *cobra.Command {
	var archived bool
	command := &cobra.Command{
		Use:   name + " QUEUE ID",
		Short: "Show a message, or with --archive one that is done",
		Long: `Show prints a live message, with --archive one that is done. vt is when it may be read: since when, from when on, or of one that is held until
when that lasts; it is empty where it lasts as long as a worker lives. What else the job has is shown by pawl job show.`,
		Args: cobra.ExactArgs(2),
		RunE: func(command *cobra.Command, args []string) error {
			ctx := command.Context()
			client, err := p.open(ctx)
			if err != nil {
				return err
			}
			job, err := (&messageChoice{}).find(command, client, args[0], args[1])
			switch {
			case err != nil:
				return err
			case archived && job.FinishedAt.IsZero():
				return fmt.Errorf("message %d of queue %q, of those that are done: %w: it is %s", job.ID, args[0], pawl.ErrNotFound, job.State)
			case archived:
				return p.print(rowOfArchived(job))
			case !job.FinishedAt.IsZero():
				return fmt.Errorf("message %d of queue %q, of those that live: %w: it is %s, see --archive", job.ID, args[0], pawl.ErrNotFound, job.State)
			}
			if held, err := client.Claimed(ctx, job.ID); err != nil {
				return err
			} else if len(held) > 0 {
				job = held[0]
			}
			return p.print(rowOfMessage(job))
		},
	}
	command.Flags().BoolVar(&archived, "archive", false, "one that is done: completed, cancelled or dead")
	return command
}
