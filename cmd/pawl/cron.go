package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/spf13/cobra"
)

func cronCommand(p *program) *cobra.Command {
	command := &cobra.Command{Use: "cron", Short: "Schedules, each tick of which becomes a job", GroupID: groupJobs}
	command.AddCommand(cronListCommand(p), cronAddCommand(p), cronPauseCommand(p), cronResumeCommand(p), cronRunCommand(p), cronDeleteCommand(p), cronPreviewCommand(p))
	return command
}

// cronRow is a cron as commands print it.
type cronRow struct {
	Name        string            `json:"name"`
	Spec        string            `json:"spec"`
	Zone        string            `json:"zone"`
	Kind        string            `json:"kind"`
	Queue       string            `json:"queue"`
	Paused      bool              `json:"paused"`
	LastAt      time.Time         `json:"last_at"`
	NextAt      time.Time         `json:"next_at"`
	Args        json.RawMessage   `json:"args" table:"-,omitempty"`
	Data        []byte            `json:"data" table:"-,omitempty"`
	Channel     string            `json:"channel" table:"-,omitempty"`
	Ordered     bool              `json:"ordered" table:"-"`
	Priority    int               `json:"priority" table:"-"`
	Delay       time.Duration     `json:"delay" table:"-"`
	MaxAttempts *int              `json:"max_attempts" table:"-,omitempty"`
	Fingerprint string            `json:"fingerprint" table:"-,omitempty"`
	UniqueKey   string            `json:"unique_key" table:"-,omitempty"`
	Headers     map[string]string `json:"headers" table:"-,omitempty"`
	Jitter      time.Duration     `json:"jitter" table:"-"`
	CatchUp     int               `json:"catch_up" table:"-"`
	Version     int               `json:"version" table:"-"`
}

func cronRowOf(c pawl.Cron) cronRow {
	row := cronRow{
		Name: c.Name, Spec: c.Spec, Zone: c.Zone, Kind: c.Job.Kind(), Queue: c.Job.Queue, Paused: c.Paused, LastAt: c.LastAt, NextAt: c.NextAt,
		Data: c.Job.Data, Channel: c.Job.Channel, Ordered: c.Job.Ordered, Priority: c.Job.Priority, Delay: c.Job.Delay,
		Fingerprint: c.Job.Fingerprint, UniqueKey: c.Job.Unique.Key, Headers: c.Job.Headers, Jitter: c.Jitter, CatchUp: c.CatchUp, Version: c.Version,
	}
	if raw, ok := c.Job.Args.(pawl.RawArgs); ok {
		row.Args = raw.JSON
	}
	if n := c.Job.MaxAttempts; n != 0 {
		row.MaxAttempts = &n
	}
	return row
}

// findCron is a cron by name.
func findCron(command *cobra.Command, client *pawl.Client, name string) (pawl.Cron, error) {
	crons, err := client.Crons(command.Context())
	if err != nil {
		return pawl.Cron{}, err
	}
	i := slices.IndexFunc(crons, func(c pawl.Cron) bool { return c.Name == name })
	if i < 0 {
		return pawl.Cron{}, fmt.Errorf("cron %q: %w", name, pawl.ErrNotFound)
	}
	return crons[i], nil
}

func cronListCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List crons by name",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			crons, err := client.Crons(command.Context())
			if err != nil {
				return err
			}
			rows := make([]cronRow, len(crons))
			for i, c := range crons {
				rows[i] = cronRowOf(c)
			}
			return p.print(rows)
		},
	}
}

func cronAddCommand(p *program) *cobra.Command {
	var flags jobFlags
	var cron pawl.Cron
	command := &cobra.Command{
		Use:   "add NAME SPEC KIND [ARGS]",
		Short: "Make a cron, or change the one of this name",
		Long: `Add makes a cron: at each tick of SPEC a job of KIND is inserted. One of this name is changed, and keeps its pause, its last tick and, unless
spec or zone are others, its next.

SPEC has five fields: minute, hour, day of month, month, day of week; six with seconds first; or it is @hourly, @daily, @weekly, @monthly,
@yearly or "@every 90s". See what it means with pawl cron preview --spec. ARGS and flags are as with pawl job insert.

Jobs come of it as long as a worker runs: a Go program with Run or Tend, pawl consume, pawl serve.`,
		Example: `  pawl cron add digest '30 8 * * mon-fri' digest '{"to": "all"}' --zone Europe/Berlin --queue mail --catch-up 1
  pawl cron add cleanup '@every 15m' cleanup --unique cleanup`,
		Args: cobra.RangeArgs(3, 4),
		RunE: func(command *cobra.Command, args []string) error {
			if err := flags.read(p, args[2:]); err != nil {
				return err
			}
			cron.Name, cron.Spec, cron.Job = args[0], args[1], flags.spec()
			if _, err := cron.Next(time.Now(), 1); err != nil {
				return usageError{errors.Unwrap(err)}
			}
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			if err := client.PutCron(command.Context(), cron); err != nil {
				if _, wrong := errors.AsType[*pawl.InvalidError](err); wrong {
					err = wrongJob(err)
				}
				return err
			}
			stored, err := findCron(command, client, cron.Name)
			if err != nil {
				return err
			}
			if stored.Version > cron.Version {
				fmt.Fprintf(p.stderr, "note: cron %q has version %d, so that version %d changes nothing\n", cron.Name, stored.Version, cron.Version)
			}
			return p.print(cronRowOf(stored))
		},
	}
	command.Flags().StringVar(&cron.Zone, "zone", "", `of SPEC, such as Europe/Berlin; if not given, UTC`)
	command.Flags().IntVar(&cron.CatchUp, "catch-up", 0, "how many missed ticks to insert: 0 none, 1 the latest, up to 1000")
	command.Flags().Var((*durationValue)(&cron.Jitter), "jitter", "each job is due at random within so long after its tick")
	command.Flags().IntVar(&cron.Version, "version", 0, "what is there with a higher version stays as it is")
	flags.add(command.Flags())
	return command
}

func cronPauseCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "pause NAME",
		Short: "Stop a cron's ticks; they are not caught up on",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			return p.printCron(command, client, args[0], client.PauseCron(command.Context(), args[0]))
		},
	}
}

func cronResumeCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "resume NAME",
		Short: "End a pause",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			return p.printCron(command, client, args[0], client.ResumeCron(command.Context(), args[0]))
		},
	}
}

// printCron prints a cron that was changed, if it was.
func (p *program) printCron(command *cobra.Command, client *pawl.Client, name string, err error) error {
	if err != nil {
		return err
	}
	cron, err := findCron(command, client, name)
	if err != nil {
		return err
	}
	return p.print(cronRowOf(cron))
}

func cronRunCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "run NAME",
		Short: "Insert a cron's job now; its ticks stay as they are",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			inserted, err := client.RunCron(command.Context(), args[0])
			if err != nil {
				return err
			}
			return p.print(insertedJob(inserted))
		},
	}
}

func cronDeleteCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a cron; the jobs that came of it stay",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			cron, err := findCron(command, client, args[0])
			if err != nil {
				return err
			}
			if err := p.confirm(command.Context(), "delete cron %s (%s)", cron.Name, cron.Spec); err != nil {
				return err
			}
			if err := client.DeleteCron(command.Context(), cron.Name); err != nil {
				return err
			}
			return p.print(cronRowOf(cron))
		},
	}
}

// cronTick is a line of a preview.
type cronTick struct {
	Tick  time.Time `json:"tick"`
	Local string    `json:"local"`
}

func cronPreviewCommand(p *program) *cobra.Command {
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
				return errors.New("of what? Give the name of a cron, or --spec")
			case len(args) > 0 && (cron.Spec != "" || cron.Zone != ""):
				return errors.New("a name or --spec and --zone, not both")
			case n < 1 || n > 10_000:
				return fmt.Errorf("-n %d: want 1 to 10000", n)
			}
			return cobra.MaximumNArgs(1)(command, args)
		},
		RunE: func(command *cobra.Command, args []string) error {
			var ticks []time.Time
			if from.IsZero() {
				from = time.Now()
			}
			if len(args) > 0 {
				client, err := p.open(command.Context())
				if err != nil {
					return err
				}
				if cron, err = findCron(command, client, args[0]); err != nil {
					return err
				}
				if cron.Paused {
					fmt.Fprintf(p.stderr, "note: cron %q is paused: these ticks do not come before it is resumed\n", cron.Name)
				} else if !command.Flags().Changed("from") {
					ticks = []time.Time{cron.NextAt} // Already written down.
					from = cron.NextAt
				}
			}
			more, err := cron.Next(from, n-len(ticks))
			if err != nil && cron.Name == "" {
				return usageError{errors.Unwrap(err)} // Without the name there is none of.
			}
			if err != nil {
				return err
			}
			zone, err := time.LoadLocation(cron.Zone)
			if err != nil {
				return err
			}
			rows := []cronTick{}
			for _, tick := range append(ticks, more...) {
				rows = append(rows, cronTick{tick, tick.In(zone).Format("Mon 2006-01-02 15:04:05 MST")})
			}
			return p.print(rows)
		},
	}
	command.Flags().StringVar(&cron.Spec, "spec", "", "of ticks, instead of a cron's name")
	command.Flags().StringVar(&cron.Zone, "zone", "", "of the spec, such as Europe/Berlin; if not given, UTC")
	command.Flags().IntVarP(&n, "number", "n", 10, "how many")
	command.Flags().Var((*timeValue)(&from), "from", "those after this time; if not given, now")
	return command
}
