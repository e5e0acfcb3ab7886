package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/cmd/pawl/internal/demo"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

func demoCommand(p *program.Program) *cobra.Command {
	var config demo.Config
	command := &cobra.Command{
		Use:   "demo",
		Short: "Show a queue at work: the jobs of a shop and two workers, one of which is killed",
		Long: `Demo starts a private PostgreSQL server and inserts some thousands of jobs, which two worker processes run.
Midway it kills one of the workers. At the end it checks that no job was lost and that every invoice was written
exactly once. Then it removes everything.

With --dsn it uses that server. There it creates the schemas ` + demo.Schema + ` and ` +
			demo.AppSchema + `, and drops them at the end.
It ignores a dsn in the environment or in a file.`,
		Args:    cobra.NoArgs,
		GroupID: groupRun,
		RunE: func(command *cobra.Command, _ []string) error {
			out, err := p.Output()
			if err != nil {
				return err
			}
			if config.DatabaseURL, err = p.ExplicitDSN(); err != nil {
				return err
			}
			return demo.Run(command.Context(), config, out)
		},
	}
	command.Flags().BoolVar(&config.Keep, "keep", false,
		"keep everything after the summary until ^C, to look around with psql")
	command.Flags().Float64Var(&config.Scale, "scale", 1, "size of the load")
	command.Flags().Lookup("scale").Hidden = true // For tests.
	command.AddCommand(demoWorkerCommand())
	return command
}

func demoWorkerCommand() *cobra.Command {
	var name string
	var heartbeat time.Duration
	command := &cobra.Command{
		Use:    "worker",
		Short:  "Run a worker of the demo until standard input ends",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return demo.RunWorker(command.Context(), name, heartbeat)
		},
	}
	command.Flags().StringVar(&name, "name", "A", "name of the worker")
	command.Flags().DurationVar(&heartbeat, "heartbeat", 500*time.Millisecond,
		"time between two heartbeats; three missed heartbeats make the worker count as dead")
	return command
}
