package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/pawlhq/pawl/bench"
	"github.com/spf13/cobra"
)

func benchCommand() *cobra.Command {
	var config bench.Config
	cmd := &cobra.Command{
		Use:   "bench [SCENARIO...]",
		Short: "Measure throughput and latency on a private server",
		Long: `Bench measures this binary: on a private PostgreSQL server with fsync on, started for the run and removed after it, or in
a database of its own, pawl_bench, on the server of --database-url. Every run ends with a check that no job was lost.

Scenarios (without any: all but depth):
` + bench.Describe(),
		Example: `  pawl bench
  pawl bench work flow --repeat 3
  pawl bench pinned --duration 60s --json`,
		Args: func(_ *cobra.Command, args []string) error {
			config.Scenarios = args
			return config.Check()
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			config.Out = cmd.OutOrStdout()
			if isTerminal(os.Stderr) {
				config.Progress = os.Stderr
			}
			exe, err := os.Executable()
			if err != nil {
				return err
			}
			config.Holder = []string{exe, "bench", "hold"}
			return bench.Run(cmd.Context(), config)
		},
	}
	f := cmd.Flags()
	f.StringVar(&config.DatabaseURL, "database-url", "", "measure on this server, in a database pawl_bench that is made and dropped")
	f.IntVar(&config.Jobs, "jobs", 200_000, "jobs of insert, insert-concurrent, work, bare and depth")
	f.DurationVar(&config.Duration, "duration", 10*time.Second, "length of flow, retry, latency and the pinned ones")
	f.DurationVar(&config.Window, "window", 10*time.Second, "length of the first and last windows of the pinned ones, at most half of --duration")
	f.IntVar(&config.Rate, "rate", 300, "inserts a second of latency")
	f.IntVar(&config.ArgsBytes, "args-bytes", 90, "size of each job's args as JSON")
	f.IntVar(&config.Runners, "runners", 1, "Run loops")
	f.IntVar(&config.Min, "min", 0, "RunnerConfig.Min (if neither it nor --max is given: 1000 to 2000, in latency and rescue RunnerConfig's default)")
	f.IntVar(&config.Max, "max", 0, "RunnerConfig.Max")
	f.BoolVar(&config.Defaults, "defaults", false, "leave Min and Max to RunnerConfig in all scenarios")
	f.IntVar(&config.Depth, "depth", 5_000_000, "rows of each sort that depth works on top of")
	f.IntVar(&config.Held, "held", 500, "jobs held by the process killed in rescue")
	f.IntVar(&config.Repeat, "repeat", 1, "runs of each scenario, of which the median is reported")
	f.BoolVar(&config.JSON, "json", false, "print one JSON object a line for each scenario")
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; the flags are\n%s", err, cmd.Flags().FlagUsages())
	})
	cmd.AddCommand(benchHoldCommand(), benchServerCommand(), benchCompareCommand())
	return cmd
}

// benchHoldCommand is what rescue starts and kills.
func benchHoldCommand() *cobra.Command {
	return &cobra.Command{
		Use: "hold", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return bench.Hold(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}

// benchServerCommand lends the private server to a script.
func benchServerCommand() *cobra.Command {
	return &cobra.Command{
		Use: "server", Hidden: true, Args: cobra.NoArgs,
		Short: "Start bench's private server, print its URL, stop it when standard input ends",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return bench.Serve(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}

// benchCompareCommand makes the table of scripts/bench-peers.sh.
func benchCompareCommand() *cobra.Command {
	var markdown string
	cmd := &cobra.Command{
		Use: "compare FILE...", Hidden: true, Args: cobra.MinimumNArgs(1),
		Short: "Set the medians of Pawl's and River's JSON lines side by side",
		RunE: func(cmd *cobra.Command, files []string) error {
			c, err := bench.ReadComparison(files)
			if err != nil {
				return err
			}
			if err := c.Text(cmd.OutOrStdout()); err != nil || markdown == "" {
				return err
			}
			f, err := os.Create(markdown)
			if err != nil {
				return err
			}
			err = c.Markdown(f, time.Now())
			if closeErr := f.Close(); err == nil {
				err = closeErr
			}
			return err
		},
	}
	cmd.Flags().StringVar(&markdown, "markdown", "", "also write the table to this file")
	return cmd
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
