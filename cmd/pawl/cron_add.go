package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/jobspec"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

func cronAddCommand(p *program.Program) *cobra.Command {
	var spec jobspec.Flags
	var cron pawl.Cron
	command := &cobra.Command{
		Use:   "add NAME SPEC KIND [ARGS]",
		Short: "Create a cron, or change the cron of this name",
		Long: `Add creates a cron, which inserts a job of KIND at each tick of SPEC. If a cron of this name
exists, add changes it. The cron keeps its pause and its last tick, and its next tick unless the spec or the
zone changes.

SPEC has five fields: minute, hour, day of month, month, day of week. A sixth field at the front is for seconds.
SPEC may also be @hourly, @daily, @weekly, @monthly, @yearly or "@every 90s". pawl cron preview --spec shows the
ticks of a spec. ARGS and the job flags are those of pawl job insert.

Jobs are inserted while a worker runs: pawl serve, pawl consume, or a Go program that runs jobs or maintenance.`,
		Example: `  pawl cron add digest '30 8 * * mon-fri' digest '{"to": "all"}' --zone Europe/Berlin --catch-up 1
  pawl cron add cleanup '@every 15m' cleanup --unique cleanup`,
		Args: cobra.RangeArgs(3, 4),
		RunE: func(command *cobra.Command, args []string) error {
			if err := spec.Read(p, args[2:]); err != nil {
				return err
			}
			cron.Name, cron.Spec, cron.Job = args[0], args[1], spec.JobSpec()
			if _, err := cron.Next(time.Now(), 1); err != nil {
				return exit.Usage(errors.Unwrap(err))
			}
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			if err := client.PutCron(command.Context(), cron); err != nil {
				return jobspec.Usage(err)
			}
			stored, err := findCron(command.Context(), client, cron.Name)
			if err != nil {
				return err
			}
			if stored.Version > cron.Version {
				fmt.Fprintf(p.Stderr, "note: cron %q has version %d, so that version %d changes nothing\n",
					cron.Name, stored.Version, cron.Version)
			}
			return p.Print(cronRowOf(stored))
		},
	}
	flags := command.Flags()
	flags.StringVar(&cron.Zone, "zone", "", "time zone of SPEC, such as Europe/Berlin; if not given, UTC")
	flags.IntVar(&cron.CatchUp, "catch-up", 0, "number of missed ticks to insert: 0 none, 1 the latest, at most 1000")
	flags.Var((*flagvalue.Duration)(&cron.Jitter), "jitter",
		"random delay of each job after its tick, at most this long")
	flags.IntVar(&cron.Version, "version", 0,
		"version of this cron; a stored cron with a higher version stays as it is")
	spec.AddFlags(flags)
	return command
}
