package main

import (
	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/cmd/pawl/internal/pgqrs"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

func messageCommand(p *program.Program) *cobra.Command {
	command := &cobra.Command{
		Use:   "message",
		Short: "Send and read jobs as messages, from a shell",
		Long: `A message is a job, for users who send payloads and read them by hand. The payload of the message
is the args of the job. The type of the message is the kind of the job, by default "message". You can read every
job as a message. Workers run messages whose kind they know.

A reader holds a message for --lock-time. If it deletes the message in this time, the message is done. Otherwise
the message can be read again:

  pawl message send mail '{"to": "ann@example.com"}'
  pawl message read mail --lock-time 5m
  pawl message delete mail 1`,
		GroupID: groupJobs,
	}
	command.AddCommand(
		messageSendCommand(p), messageReadCommand(p), messageDequeueCommand(p), messageDeleteCommand(p),
		messageCountCommand(p), messageShowCommand(p),
		pgqrs.Alias(messageSendCommand(p), "enqueue"), pgqrs.Alias(messageShowCommand(p), "get"), pgqrs.MessageArchive(p),
	)
	return command
}
