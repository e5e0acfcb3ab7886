package main

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/jobspec"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/selection"
	"github.com/pawlhq/pawl/pawlstate"
)

func jobRescheduleCommand(p *program.Program) *cobra.Command {
	var (
		filter   selection.Filter
		delay    time.Duration
		runAt    time.Time
		priority int
	)
	command := &cobra.Command{
		Use:   "reschedule [ID...]",
		Short: "Change the time or the priority of jobs that are not running, by ID or by filter",
		Long: `Reschedule changes the time or the priority of jobs that are not running. Jobs given by ID are
changed at once. Flags select jobs; the command then shows their number and asks for confirmation.`,
		Example: `  pawl job reschedule 12 --delay 1h
  pawl job reschedule --queue mail --state scheduled --run-at '2030-01-31 08:00'`,
		RunE: func(command *cobra.Command, args []string) error {
			update := pawl.JobUpdate{Delay: delay, RunAt: runAt}
			changed := command.Flags().Changed
			switch {
			case !changed("delay") && !changed("run-at") && !changed("priority"):
				return exit.Usagef("nothing to change: want --delay, --run-at or --priority")
			case changed("delay") && changed("run-at"):
				return exit.Usagef("--delay and --run-at exclude each other")
			case changed("delay") && delay == 0:
				update.Delay = time.Microsecond // A zero Delay would keep the time.
			}
			if changed("priority") {
				update.Priority = &priority
			}
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			running := func(state pawlstate.State) bool { return state == pawlstate.Running }
			n, err := filter.Apply(command, p, client, args, selection.Change{
				Verb: "reschedule", States: slices.DeleteFunc(slices.Clone(selection.Live), running),
				Do: func(ctx context.Context, which pawl.Selector) (int64, error) {
					return client.Update(ctx, which, update)
				},
			})
			return p.PrintCount(n, struct {
				Rescheduled int64 `json:"rescheduled"`
			}{n}, jobspec.Usage(err))
		},
	}
	flags := command.Flags()
	flags.Var((*flagvalue.Duration)(&delay), "delay", "time from now before which the jobs do not run; 0: now")
	flags.Var((*flagvalue.Time)(&runAt), "run-at", "time before which the jobs do not run")
	flags.Var(&flagvalue.Number{To: &priority, Least: math.MinInt16, Most: math.MaxInt16}, "priority",
		"-32768 to 32767; lower runs first")
	filter.AddFlags(command, "cursor")
	return command
}
