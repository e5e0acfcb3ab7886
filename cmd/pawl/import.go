package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/settings"
	"github.com/pawlhq/pawl/pawlimport"
)

func importCommand(p *program.Program) *cobra.Command {
	command := &cobra.Command{
		Use:   "import",
		Short: "Import the jobs of another queue on PostgreSQL",
		Long: `Import moves the live jobs of another queue into Pawl, with their schedules, used attempts, errors
and args. It reports what it cannot move. One transaction deletes each job there and inserts it here. If the
other queue is in another database (--from), jobs pass through a table in that database, pawl_import, which no
worker reads. You may interrupt an import and run it again. The producers and workers of the other queue may run
at the same time.

Begin with --dry-run. docs/import.md describes a migration step by step.`,
		GroupID: groupJobs,
	}
	command.AddCommand(
		importFromCommand(p, importSource{name: "river", title: "River", run: pawlimport.River}),
		importFromCommand(p, importSource{name: "pg-boss", title: "pg-boss", run: pawlimport.PgBoss, schedules: true}),
		importFromCommand(p, importSource{name: "graphile-worker", title: "Graphile Worker", run: pawlimport.GraphileWorker}),
	)
	return command
}

// importSource is a queue that jobs are imported from.
type importSource struct {
	name, title string
	schedules   bool // The queue has schedules, which become crons.
	run         func(context.Context, *pgxpool.Pool, *pawl.Client, pawlimport.Options) (pawlimport.Report, error)
}

func importFromCommand(p *program.Program, source importSource) *cobra.Command {
	var options pawlimport.Options
	var from string
	var queues, kinds []string
	command := &cobra.Command{
		Use:   source.name,
		Short: "Import the jobs of " + source.title,
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			options.Queues, options.RenameQueues = namesAndRenames(queues)
			options.Kinds, options.RenameKinds = namesAndRenames(kinds)
			if options.Limit < 0 {
				return exit.Usagef("--limit %d: want a number of jobs", options.Limit)
			}
			return importFrom(command.Context(), p, source, from, options)
		},
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.StringVar(&from, "from", "", source.title+"'s database, if it is not Pawl's; the same form as --dsn")
	flags.StringVar(&options.Schema, "from-schema", "", "the schema of "+source.title+", if it is not the usual one")
	flags.BoolVar(&options.DryRun, "dry-run", false, "report what the import would do, and write nothing")
	flags.StringArrayVar(&queues, "queue", nil, "NAME: only jobs of this queue; OLD=NEW: rename the queue; repeatable")
	flags.StringArrayVar(&kinds, "kind", nil, "NAME: only jobs of this kind; OLD=NEW: rename the kind; repeatable")
	flags.Int64Var(&options.Limit, "limit", 0, "maximum number of jobs to import; 0: no limit")
	flags.BoolVar(&options.Running, "running", false,
		"import running jobs, too; stop all workers of the other queue first, or jobs run twice")
	if source.schedules {
		flags.BoolVar(&options.Schedules, "schedules", false, "import schedules as crons, too")
	}
	settings.AddFlags(command, flags, "batch_size", "insert_rate", "validation.args_bytes")
	return command
}

func importFrom(
	ctx context.Context, p *program.Program, source importSource, from string, options pawlimport.Options,
) error {
	client, err := p.Open(ctx)
	if err != nil {
		return err
	}
	options.Batch = p.Settings.BatchSize
	if from == "" {
		from = p.Settings.DSN
	} else if _, err := settings.ParseDSN(from); err != nil {
		return exit.Usagef("--from: %w", err)
	}
	pool, err := p.Connect(ctx, from)
	if err != nil {
		return err
	}
	if !options.DryRun && !p.Yes {
		trial := options
		trial.DryRun = true
		report, err := source.run(ctx, pool, client, trial)
		if err != nil {
			return err
		}
		if report.Imported > 0 || len(report.Crons) > 0 {
			err := p.Confirm(ctx, "move %s and %s of %s into Pawl and delete them there; --dry-run reports what would change",
				output.Count(report.Imported, "job"), output.Count(int64(len(report.Crons)), "schedule"), source.title)
			if err != nil {
				return err
			}
		}
	}
	bar := output.NewProgress(p.Stderr, "jobs", 0)
	shown := int64(0)
	options.Progress = func(n int64) { bar.Add(n - shown); shown = n }
	report, err := source.run(ctx, pool, client, options)
	bar.End()
	if err != nil && report.Imported > 0 {
		err = fmt.Errorf("%w (%s were imported before; to continue, run the import again)",
			err, output.Count(report.Imported, "job"))
	}
	if err != nil {
		return err
	}
	return printImport(p, report)
}

// namesAndRenames separates the values NAME from the values OLD=NEW.
func namesAndRenames(values []string) (names []string, renames map[string]string) {
	renames = map[string]string{}
	for _, value := range values {
		if from, to, ok := strings.Cut(value, "="); ok {
			renames[from] = to
		} else {
			names = append(names, value)
		}
	}
	return names, renames
}

func printImport(p *program.Program, report pawlimport.Report) error {
	if p.Settings.Format != "table" {
		return p.Print(report)
	}
	out, err := p.Output()
	if err != nil {
		return err
	}
	lines := strings.Split(report.String(), "\n")
	for i := range lines {
		lines[i] = output.Printable(lines[i])
	}
	_, err = io.WriteString(out, strings.Join(lines, "\n"))
	return err
}
