package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlimport"
	"github.com/spf13/cobra"
)

func importCommand(p *program) *cobra.Command {
	command := &cobra.Command{
		Use:   "import",
		Short: "Take over the jobs of another queue on PostgreSQL",
		Long: `Import moves the live jobs of another queue into Pawl, with their schedule, attempts used, errors and args, and says of what it
cannot carry over what is lost. Each job is deleted there in the transaction that inserts it here; if the other queue is in
another database (--from) it goes through a table there, pawl_import, where nobody runs it. An import may be interrupted and
run again, and may run beside the other queue's producers and workers.

Begin with --dry-run. Step by step: docs/import.md.`,
		GroupID: groupJobs,
	}
	command.AddCommand(
		importFrom(p, "river", "River", pawlimport.River, nil),
		importFrom(p, "pg-boss", "pg-boss", pawlimport.PgBoss, func(command *cobra.Command, options *pawlimport.Options) {
			command.Flags().BoolVar(&options.Schedules, "schedules", false, "make crons of schedules, too")
		}),
		importFrom(p, "graphile-worker", "Graphile Worker", pawlimport.GraphileWorker, nil),
	)
	return command
}

func importFrom(p *program, name, title string, do func(context.Context, *pgxpool.Pool, *pawl.Client, pawlimport.Options) (pawlimport.Report, error),
	flags func(*cobra.Command, *pawlimport.Options)) *cobra.Command {
	var options pawlimport.Options
	var from string
	var queues, kinds []string
	command := &cobra.Command{
		Use:   name,
		Short: "Take over the jobs of " + title,
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx := command.Context()
			options.Queues, options.RenameQueues = choices(queues)
			options.Kinds, options.RenameKinds = choices(kinds)
			if options.Limit < 0 {
				return usageError{fmt.Errorf("--limit %d: want a number of jobs", options.Limit)}
			}
			client, err := p.open(ctx)
			if err != nil {
				return err
			}
			options.Batch = p.settled.BatchSize
			if from == "" {
				from = p.settled.DSN
			} else if _, err := checkDSN([]string{from}); err != nil {
				return usageError{fmt.Errorf("--from: %w", err)}
			}
			pool, err := p.connect(ctx, from)
			if err != nil {
				return err
			}
			if !options.DryRun && !p.yes {
				try := options
				try.DryRun = true
				would, err := do(ctx, pool, client, try)
				if err != nil {
					return err
				}
				if would.Imported > 0 || len(would.Crons) > 0 {
					err := p.confirm(ctx, "move %s and %s of %s into Pawl, and delete them there; --dry-run says what is not as it was",
						counted(would.Imported, "job"), counted(int64(len(would.Crons)), "schedule"), title)
					if err != nil {
						return err
					}
				}
			}
			bar := p.progress("jobs", 0)
			before := int64(0)
			options.Progress = func(n int64) { bar.add(n - before); before = n }
			report, err := do(ctx, pool, client, options)
			bar.end()
			if err != nil && report.Imported > 0 {
				err = fmt.Errorf("%w (%s had been imported; run it again to go on)", err, counted(report.Imported, "job"))
			}
			if err != nil {
				return err
			}
			return p.printReport(report)
		},
	}
	command.Flags().SortFlags = false
	command.Flags().StringVar(&from, "from", "", title+"'s database, if it is another than Pawl's, as --dsn")
	command.Flags().StringVar(&options.Schema, "from-schema", "", "the schema "+title+" is in, if it has not its usual name")
	command.Flags().BoolVar(&options.DryRun, "dry-run", false, "say what would be done, and write nothing")
	command.Flags().StringArrayVar(&queues, "queue", nil, "NAME: only jobs of this queue there; OLD=NEW: another name here (again for each)")
	command.Flags().StringArrayVar(&kinds, "kind", nil, "NAME: only jobs of this kind there; OLD=NEW: another name here (again for each)")
	command.Flags().Int64Var(&options.Limit, "limit", 0, "most jobs to import; 0: all")
	command.Flags().BoolVar(&options.Running, "running", false, "take what runs there, too: only when no worker of it is left, else jobs run twice")
	if flags != nil {
		flags(command, &options)
	}
	p.settingFlags(command, command.Flags(), "batch_size", "insert_rate", "validation.args_bytes")
	return command
}

// choices are names alone and names to be changed.
func choices(values []string) (only []string, renamed map[string]string) {
	renamed = map[string]string{}
	for _, value := range values {
		if from, to, ok := strings.Cut(value, "="); ok {
			renamed[from] = to
		} else {
			only = append(only, value)
		}
	}
	return only, renamed
}

func (p *program) printReport(report pawlimport.Report) error {
	if p.settled.Format != "table" {
		return p.print(report)
	}
	out, err := p.output()
	if err != nil {
		return err
	}
	lines := strings.Split(report.String(), "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	_, err = io.WriteString(out, strings.Join(lines, "\n"))
	return err
}
