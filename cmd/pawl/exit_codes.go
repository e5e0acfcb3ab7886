package main

import "github.com/spf13/cobra"

func exitCodesTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Long: `Every command uses the same exit codes:

  0    success; a filter that selects nothing is a success
  1    failure: standard error says why
  2    wrong use: a flag, an argument or a setting is not valid
  3    not found: no such job, queue, worker, message or cron
  4    verify or doctor found something wrong
  5    not confirmed: the answer was no, or standard input is not a terminal and --yes was not given
  6    the database cannot be reached
  7    Pawl is not installed in the schema, or this binary cannot use the installed version
  130  interrupted by SIGINT or SIGTERM; a worker that has drained exits with 0`,
	}
}
