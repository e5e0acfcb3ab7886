package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

// cronTick is a row of preview.
type cronTick struct {
	Tick  time.Time `json:"tick"`
	Local string    `json:"local"`
}

func cronPreviewCommand(p *program.Program) *cobra.Command {
	var cron pawl.Cron
	var n int
	var from time.Time
	command := &cobra.Command{
		Use:   "preview [NAME]",
		Short: "Show the next ticks of a cron, or of a spec without a database",
		Example: `  pawl cron preview digest
  pawl cron preview --spec '30 2 * * *' --zone Europe/Berlin --from 2027-03-27 -n 4`,
		Args: func(command *cobra.Command, args []string) error {
			switch {
			case len(args) == 0 && cron.Spec == "":
				return errors.New("want the name of a cron, or --spec")
			case len(args) > 0 && (cron.Spec != "" || cron.Zone != ""):
				return errors.New("the name of a cron excludes --spec and --zone")
			case n < 1 || n > 10_000:
				return fmt.Errorf("-n %d: want 1 to 10000", n)
			}
			return cobra.MaximumNArgs(1)(command, args)
		},
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) > 0 {
				return previewCron(command.Context(), p, args[0], from, n)
			}
			if from.IsZero() {
				from = time.Now()
			}
			ticks, err := cron.Next(from, n)
			if err != nil {
				return exit.Usage(errors.Unwrap(err)) // The outer error names the cron, which has no name here.
			}
			return printTicks(p, ticks, cron.Zone)
		},
	}
	command.Flags().StringVar(&cron.Spec, "spec", "", "spec of the ticks, in place of a cron's name")
	command.Flags().StringVar(&cron.Zone, "zone", "", "time zone of the spec, such as Europe/Berlin; if not given, UTC")
	command.Flags().IntVarP(&n, "number", "n", 10, "number of ticks")
	command.Flags().Var((*flagvalue.Time)(&from), "from", "show the ticks after this time; if not given, now")
	return command
}

// previewCron prints ticks of a stored cron, from its next stored tick or after a time.
func previewCron(ctx context.Context, p *program.Program, name string, from time.Time, n int) error {
	client, err := p.Open(ctx)
	if err != nil {
		return err
	}
	cron, err := findCron(ctx, client, name)
	if err != nil {
		return err
	}
	var ticks []time.Time
	switch {
	case cron.Paused:
		fmt.Fprintf(p.Stderr, "note: cron %q is paused: it inserts no jobs until it is resumed\n", cron.Name)
	case from.IsZero():
		ticks = []time.Time{cron.NextAt}
		from = cron.NextAt
	}
	if from.IsZero() {
		from = time.Now()
	}
	more, err := cron.Next(from, n-len(ticks))
	if err != nil {
		return err
	}
	return printTicks(p, append(ticks, more...), cron.Zone)
}

func printTicks(p *program.Program, ticks []time.Time, zone string) error {
	location, err := time.LoadLocation(zone)
	if err != nil {
		return err
	}
	rows := []cronTick{}
	for _, tick := range ticks {
		rows = append(rows, cronTick{tick, tick.In(location).Format("Mon 2006-01-02 15:04:05 MST")})
	}
	return p.Print(rows)
}
