package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/jobspec"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/view"
	"github.com/pawlhq/pawl/pawlstate"
)

// messageKind is the kind of messages without --message-type.
const messageKind = "message"

func messageSendCommand(p *program.Program) *cobra.Command {
	var spec pawl.JobSpec
	var kind string
	command := &cobra.Command{
		Use:   "send QUEUE PAYLOAD",
		Short: "Send a message: JSON, or - for JSON on standard input",
		Example: `  pawl message send mail '{"to": "ann@example.com"}' --delay 30
  pawl message send mail '{"to": "ann@example.com"}' --message-type welcome`,
		Args: cobra.ExactArgs(2),
		RunE: func(command *cobra.Command, args []string) error {
			payload := []byte(args[1])
			if args[1] == "-" {
				var err error
				if payload, err = io.ReadAll(p.Input()); err != nil {
					return fmt.Errorf("standard input: %w", err)
				}
			}
			if !json.Valid(payload) {
				return exit.Usagef("the payload is not JSON: %s", jobspec.WantJSON)
			}
			spec.Args, spec.Queue = pawl.Raw(kind, payload), args[0]
			if spec.Queue == "" {
				return exit.Usagef("the queue's name is empty")
			}
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			job, err := send(command.Context(), client, spec)
			if err != nil {
				return err
			}
			return p.Print(view.MessageOf(job))
		},
	}
	command.Flags().Var((*flagvalue.Duration)(&spec.Delay), "delay",
		"time from now before which the message cannot be read")
	command.Flags().StringVar(&kind, "message-type", messageKind,
		"type of the message: the kind that selects a worker's handler")
	return command
}

func send(ctx context.Context, client *pawl.Client, spec pawl.JobSpec) (*pawl.JobInfo, error) {
	result, err := client.Insert(ctx, spec)
	if err != nil {
		return nil, jobspec.Usage(err)
	}
	job, err := client.Get(ctx, result.ID)
	if errors.Is(err, pawl.ErrNotFound) { // A worker has finished the job already, and the queue does not keep it.
		raw := spec.Args.(pawl.RawArgs)
		return &pawl.JobInfo{
			ID: result.ID, Queue: spec.Queue, Kind: spec.Args.Kind(), Args: raw.JSON, State: pawlstate.Completed,
		}, nil
	}
	return job, err
}
