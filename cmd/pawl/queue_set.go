package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/lookup"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/queuepolicy"
)

func queueCreateCommand(p *program.Program) *cobra.Command {
	var policy queuepolicy.Flags
	command := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a queue with a policy",
		Long: `Create stores a policy for a queue, possibly before its first job. You do not have to create a
queue before you insert jobs into it. Create fails if the queue has a policy already: use pawl queue set to
change it.`,
		Example: `  pawl queue create mail --max-running 50 --rate 1000/m
  pawl queue create tenants --channel-max-running 2 --weight gold=3`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			ctx, name := command.Context(), args[0]
			client, err := p.Open(ctx)
			if err != nil {
				return err
			}
			queues, err := client.Queues(ctx)
			if err != nil {
				return err
			}
			for _, q := range queues {
				if q.Name == name && !q.CreatedAt.IsZero() {
					return fmt.Errorf("queue %q exists already; to change it: pawl queue set", name)
				}
			}
			queue := pawl.Queue{Name: name}
			policy.Apply(&queue, command.Flags())
			if err := putQueue(ctx, client, queue); err != nil {
				return err
			}
			return printQueue(ctx, p, client, name)
		},
	}
	policy.AddFlags(command.Flags())
	return command
}

func queueSetCommand(p *program.Program) *cobra.Command {
	var policy queuepolicy.Flags
	var reset bool
	command := &cobra.Command{
		Use:   "set NAME",
		Short: "Change the policy of a queue",
		Long: `Set changes the fields of a queue's policy whose flags are given, and keeps the other fields.
Workers follow the new policy within a second; limits apply at once. If two sets of one queue run at the same
time, the later one may undo changes of the other.`,
		Example: `  pawl queue set mail --max-running 50 --rate 1000/m --burst 100
  pawl queue set mail --rate none --retain-completed 0
  pawl queue set mail --reset`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			ctx, name := command.Context(), args[0]
			client, err := p.Open(ctx)
			if err != nil {
				return err
			}
			q, err := lookup.QueueByName(ctx, client, name)
			if err != nil {
				return err
			}
			if reset {
				q.Queue = pawl.Queue{Name: name}
			}
			if policy.Apply(&q.Queue, command.Flags()) == 0 && !reset {
				return exit.Usagef("nothing to set: give a flag, such as --max-running 10")
			}
			if err := putQueue(ctx, client, q.Queue); err != nil {
				return err
			}
			return printQueue(ctx, p, client, name)
		},
	}
	policy.AddFlags(command.Flags())
	command.Flags().BoolVar(&reset, "reset", false, "set the fields whose flags are not given to their defaults")
	return command
}

// putQueue stores a policy. It returns a usage error if the policy is not valid, because flags have set it.
func putQueue(ctx context.Context, client *pawl.Client, queue pawl.Queue) error {
	err := client.PutQueue(ctx, queue)
	if err == nil || ctx.Err() != nil || isDatabaseError(err) {
		return err
	}
	return exit.Usage(errors.New(strings.TrimPrefix(err.Error(), "pawl: put ")))
}

func isDatabaseError(err error) bool {
	_, refused := errors.AsType[*pgconn.PgError](err)
	_, unreachable := errors.AsType[*pgconn.ConnectError](err)
	return refused || unreachable
}
