package main

import (
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/top"
)

func topCommand(p *program.Program) *cobra.Command {
	interval := time.Second
	command := &cobra.Command{
		Use:   "top",
		Short: "Watch queues, workers and running jobs; q quits",
		Long: `Top shows the depth and the throughput of queues, the workers, and the running jobs, newest first.
It refreshes them in place. q or ^C quits. If standard output is not a terminal, or --format is not table, top
prints one snapshot and exits.

IN, OUT and FAIL are inserted jobs, completed jobs and failed attempts per second, over the last minute. OLDEST
is how long the oldest ready job has been ready. A figure with ~ is an estimate.`,
		Args:    cobra.NoArgs,
		GroupID: groupRun,
		RunE: func(command *cobra.Command, _ []string) error {
			if interval < 100*time.Millisecond {
				return exit.Usagef("--interval %s: want at least 100ms", flagvalue.FormatDuration(interval))
			}
			s, err := p.LoadSettings()
			if err != nil {
				return err
			}
			live := s.Format == "table" && output.Width(p.Stdout) > 0 && output.IsTerminal(p.Stdin) && p.WritesToStdout()
			if live && (s.LogDest == "stderr" || s.LogDest == "stdout") {
				p.Log = slog.New(slog.DiscardHandler) // The log would write over the screen.
			}
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			snapshot, err := top.Take(command.Context(), client)
			switch {
			case err != nil:
				return err
			case live:
				return top.Watch(command.Context(), client, snapshot, top.Config{
					Title: "pawl top  schema " + s.Schema, Interval: interval, In: p.Stdin, Out: p.Stdout,
				})
			case s.Format != "table":
				return p.Print(snapshot)
			}
			out, err := p.Output()
			if err != nil {
				return err
			}
			_, err = io.WriteString(out, strings.Join(snapshot.Lines(0, 0), "\n")+"\n")
			return err
		},
	}
	command.Flags().Var((*flagvalue.Duration)(&interval), "interval", "time between two snapshots")
	return command
}
