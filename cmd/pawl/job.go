package main

import (
	"github.com/spf13/cobra"
)

func jobCommand(p *program) *cobra.Command {
	command := &cobra.Command{Use: "job", Short: "Insert, look at and change jobs", GroupID: groupJobs}
	command.AddCommand(
		jobInsertCommand(p), jobListCommand(p), jobShowCommand(p), jobCancelCommand(p), jobRetryCommand(p), jobRescheduleCommand(p),
		jobDeleteCommand(p), jobCountCommand(p), jobTailCommand(p),
	)
	return command
}
