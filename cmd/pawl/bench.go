package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/pawlhq/pawl/bench"
	"github.com/pawlhq/pawl/internal/localpg"
	"github.com/spf13/cobra"
)

// saidServer is what --dsn says, and nothing else: what makes and drops things of its own is not for the database one happens to work with.
func (p *program) saidServer() (string, error) {
	s, err := p.settings()
	if err != nil || s.origin["dsn"] != "--dsn" {
		return "", err
	}
	return s.DSN, nil
}

func benchCommand(p *program) *cobra.Command {
	var config bench.Config
	command := &cobra.Command{
		Use:     "bench [SCENARIO...]",
		Short:   "Measure Pawl on this machine",
		GroupID: groupRun,
		Long: "Measure Pawl on this machine: on a private server with fsync on, or with --dsn in a database of its own, pawl_bench, on\n" +
			"that one (what the environment or a file says of a dsn does not count here). Without a scenario, the short ones are run.\n\nScenarios:\n" + bench.Names(),
		RunE: func(command *cobra.Command, args []string) error {
			out, err := p.output()
			if err != nil {
				return err
			}
			config.Scenarios, config.Out = args, out
			if config.DatabaseURL, err = p.saidServer(); err != nil {
				return err
			}
			switch format := p.settled.Format; format {
			case "table", "json":
				config.JSON = format == "json"
			default:
				return usageError{fmt.Errorf("%s: %s: want table or json, one object a line for each scenario", p.settled.origin["format"], format)}
			}
			if err := config.Check(); err != nil {
				return usageError{err}
			}
			if isTerminal(p.stderr) {
				config.Progress = os.Stderr
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			config.Rescue = func() []string { return []string{self, "bench", "hold"} }
			return bench.Run(command.Context(), config)
		},
	}
	flags := command.Flags()
	flags.IntVar(&config.Jobs, "jobs", 200_000, "jobs to insert or work off")
	flags.DurationVar(&config.Duration, "duration", 10*time.Second, "length of flow, latency, pinned, retry and stats")
	flags.IntVar(&config.ArgsBytes, "args-bytes", 90, "size of each job's args as JSON")
	flags.IntVar(&config.Runners, "runners", 1, "runners in this process")
	flags.IntVar(&config.Min, "min", 0, "each runner's Min; 0: tuned to the scenario")
	flags.IntVar(&config.Max, "max", 0, "each runner's Max; 0: tuned to the scenario")
	flags.BoolVar(&config.Defaults, "defaults", false, "runners with nothing set (latency has them anyway)")
	flags.IntVar(&config.Rate, "rate", 300, "inserts per second of latency")
	flags.DurationVar(&config.Window, "window", time.Minute, "first and last window of pinned, at most half of --duration")
	flags.IntVar(&config.Depth, "depth", 5_000_000, "rows of each sort under depth; archived jobs of stats")
	flags.IntVar(&config.Held, "held", 500, "jobs the worker killed by rescue holds")
	flags.IntVar(&config.Channels, "channels", 100, "channels of fair and ordered, and of each queue of stats")
	flags.IntVar(&config.Repeat, "repeat", 1, "run each scenario so often and print the median")
	command.AddCommand(
		&cobra.Command{Use: "hold", Hidden: true, Args: cobra.NoArgs, RunE: func(command *cobra.Command, _ []string) error {
			held, err := strconv.Atoi(os.Getenv("PAWL_BENCH_HELD"))
			if err != nil {
				return err
			}
			return bench.Hold(command.Context(), os.Getenv("PAWL_BENCH_URL"), held)
		}},
		&cobra.Command{Use: "server", Hidden: true, Short: "a private server until standard input closes; prints its URL", RunE: func(command *cobra.Command, _ []string) error {
			server, err := localpg.Start(command.Context(), localpg.Config{Durable: true, Settings: bench.ServerSettings})
			if err != nil {
				return err
			}
			fmt.Fprintln(command.OutOrStdout(), server.URL("postgres"))
			io.Copy(io.Discard, os.Stdin)
			return server.Stop()
		}},
		&cobra.Command{Use: "compare FILE...", Hidden: true, Short: "a table of the medians of JSON lines", RunE: func(command *cobra.Command, args []string) error {
			return bench.Compare(command.OutOrStdout(), args)
		}},
	)
	return command
}
