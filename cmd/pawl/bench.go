package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pawlhq/pawl/bench"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/internal/localpg"
)

func benchCommand(p *program.Program) *cobra.Command {
	var config bench.Config
	command := &cobra.Command{
		Use:     "bench [SCENARIO...]",
		Short:   "Measure Pawl on this machine",
		GroupID: groupRun,
		Long: "Bench measures Pawl on this machine. It starts a private server with fsync on. With --dsn it uses\n" +
			"that server, and creates a database of its own there, pawl_bench. It ignores a dsn in the environment or\n" +
			"in a file. Without a scenario, it runs the short scenarios.\n\nScenarios:\n" + bench.Names(),
		RunE: func(command *cobra.Command, args []string) (err error) {
			if config.Out, err = p.Output(); err != nil {
				return err
			}
			config.Scenarios = args
			if config.DatabaseURL, err = p.ExplicitDSN(); err != nil {
				return err
			}
			switch format := p.Settings.Format; format {
			case "table", "json":
				config.JSON = format == "json"
			default:
				return exit.Usagef("%s: %s: want table, or json for one object per line and scenario",
					p.Settings.Origin("format"), format)
			}
			if err := config.Check(); err != nil {
				return exit.Usage(err)
			}
			if output.IsTerminal(p.Stderr) {
				config.Progress = os.Stderr
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			config.Rescue = func() []string { return []string{self, "bench", "claim"} }
			return bench.Run(command.Context(), config)
		},
	}
	addBenchFlags(command.Flags(), &config)
	command.AddCommand(benchClaimCommand(), benchServerCommand(), benchCompareCommand())
	return command
}

func addBenchFlags(flags *pflag.FlagSet, config *bench.Config) {
	flags.IntVar(&config.Jobs, "jobs", 200_000, "number of jobs to insert or run")
	flags.DurationVar(&config.Duration, "duration", 10*time.Second, "length of flow, latency, pinned, retry and stats")
	flags.IntVar(&config.ArgsBytes, "args-bytes", 90, "size of each job's args as JSON, in bytes")
	flags.IntVar(&config.Runners, "runners", 1, "number of runners in this process")
	flags.IntVar(&config.Min, "min", 0, "each runner's Min; 0: a value that suits the scenario")
	flags.IntVar(&config.Max, "max", 0, "each runner's Max; 0: a value that suits the scenario")
	flags.BoolVar(&config.Defaults, "defaults", false, "run runners with default settings (latency always does)")
	flags.IntVar(&config.Rate, "rate", 300, "inserts per second in latency")
	flags.DurationVar(&config.Window, "window", time.Minute,
		"length of the first and the last window of pinned, at most half of --duration")
	flags.IntVar(&config.Depth, "depth", 5_000_000,
		"number of rows of each kind in depth, and of archived jobs in archive and stats")
	flags.BoolVar(&config.Disordered, "disordered", false, "archived jobs finished in random order, in archive and depth")
	flags.IntVar(&config.Claimed, "claimed", 500, "number of jobs that the killed worker in rescue has claimed")
	flags.IntVar(&config.Queues, "queues", 1, "number of queues in fair")
	flags.IntVar(&config.Channels, "channels", 100, "number of channels in fair and ordered, and in each queue of stats")
	flags.IntVar(&config.Megabytes, "megabytes", 32, "size of the args that each measurement of sizes inserts, in MB")
	flags.IntVar(&config.Repeat, "repeat", 1, "run each scenario this many times and print the median")
}

func benchClaimCommand() *cobra.Command {
	return &cobra.Command{
		Use: "claim", Hidden: true, Args: cobra.NoArgs, Short: "Claim jobs until the process is killed",
		RunE: func(command *cobra.Command, _ []string) error {
			jobs, err := strconv.Atoi(os.Getenv("PAWL_BENCH_CLAIMED"))
			if err != nil {
				return err
			}
			return bench.ClaimJobs(command.Context(), os.Getenv("PAWL_BENCH_URL"), jobs)
		},
	}
}

func benchServerCommand() *cobra.Command {
	return &cobra.Command{
		Use: "server", Hidden: true, Short: "Run a private server until standard input ends, and print its URL",
		RunE: func(command *cobra.Command, _ []string) error {
			config := localpg.Config{Durable: true, Settings: bench.ServerSettings}
			server, err := localpg.Start(command.Context(), config)
			if err != nil {
				return err
			}
			fmt.Fprintln(command.OutOrStdout(), server.URL("postgres"))
			_, _ = io.Copy(io.Discard, os.Stdin)
			return server.Stop()
		},
	}
}

func benchCompareCommand() *cobra.Command {
	return &cobra.Command{
		Use: "compare FILE...", Hidden: true, Short: "Print the medians of JSON lines as a table",
		RunE: func(command *cobra.Command, args []string) error {
			return bench.Compare(command.OutOrStdout(), args)
		},
	}
}
