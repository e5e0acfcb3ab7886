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
	"github.com/pawlhq/pawl/cmd/pawl/internal/jobspec"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/settings"
	"github.com/pawlhq/pawl/pawlstate"
)

// insertedJob is the row that insert prints for one job.
type insertedJob struct {
	ID        pawl.ID `json:"id"`
	Duplicate bool    `json:"duplicate"`
}

// insertedJobs is the row that insert prints for many jobs.
type insertedJobs struct {
	Inserted   int64 `json:"inserted"`
	Duplicates int64 `json:"duplicates"`
}

// validJobs is the row that a dry run prints.
type validJobs struct {
	Valid int64 `json:"valid"`
}

// jobInserter holds the flags of insert.
type jobInserter struct {
	spec    jobspec.Flags
	from    string
	dry     bool
	wait    bool
	timeout time.Duration
}

func jobInsertCommand(p *program.Program) *cobra.Command {
	var i jobInserter
	command := &cobra.Command{
		Use:   "insert [KIND [ARGS]]",
		Short: "Insert a job, or many jobs from a file",
		Long: `Insert inserts a job of KIND. ARGS is JSON, @FILE, or - for standard input.

With --from FILE (- is standard input), insert inserts a job for each line of the file. A line is a JSON object
with the fields below. KIND and the flags of the command apply where a line leaves a field out:
  {"kind": "email", "args": {"to": "ann@example.com"}, "queue": "mail", "delay": 90, "unique": {"key": "welcome ann"}}
  fields: kind args data (base64) queue channel ordered priority delay run_at max_attempts fingerprint headers reserve
          after_ok after_any after_not_ok keep_waiting backoff {base max growth power jitter}
          unique {key period global until_start replace reschedule}
Durations are numbers of seconds, or text such as "7d". Lines are inserted in batches of --batch-size, each of
them completely or not at all. If a line fails, the error names it and says up to which line all jobs are
inserted. At insert_rate, insert waits.`,
		Example: `  pawl job insert email '{"to": "ann@example.com"}' --queue mail --delay 1h
  pawl job insert resize --data @cat.png --channel acme --wait
  jq -c '{args: .}' users.json | pawl job insert welcome --from - --queue mail`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(command *cobra.Command, args []string) error {
			if err := i.check(args); err != nil {
				return err
			}
			if err := i.spec.Read(p, args); err != nil {
				return err
			}
			return i.run(command.Context(), p)
		},
	}
	flags := command.Flags()
	flags.StringVar(&i.from, "from", "", "insert a job for each line of this file; - is standard input")
	flags.BoolVar(&i.dry, "dry-run", false, "check the jobs as far as that needs no database, and insert nothing")
	flags.BoolVar(&i.wait, "wait", false,
		"wait until the job has finished, and print it; exit code 1 if it is not completed")
	flags.Var((*flagvalue.Duration)(&i.timeout), "timeout", "maximum time of --wait; 0: no limit")
	settings.AddFlags(command, flags, "batch_size")
	flags.Var((*flagvalue.Time)(&i.spec.RunAt), "run-at", "time before which the job does not run")
	flags.Var((*flagvalue.Duration)(&i.spec.Reserve), "reserve",
		"reserve the job for this long: it does not run until a program commits it, and is deleted if none does in time")
	i.spec.AddFlags(flags)
	return command
}

func (i *jobInserter) check(args []string) error {
	switch {
	case i.from != "" && (len(args) > 1 || i.spec.HasData()):
		return exit.Usagef("--from excludes ARGS and --data: the lines of the file contain them")
	case i.from != "" && i.wait:
		return exit.Usagef("--wait and --from exclude each other")
	case i.from == "" && len(args) == 0:
		return exit.Usagef("no kind: want pawl job insert KIND, or --from FILE")
	case i.timeout > 0 && !i.wait:
		return exit.Usagef("--timeout needs --wait")
	case i.dry && i.wait:
		return exit.Usagef("--dry-run and --wait exclude each other")
	}
	return nil
}

func (i *jobInserter) run(ctx context.Context, p *program.Program) error {
	var client *pawl.Client
	var err error
	if i.dry {
		client, err = p.Offline()
	} else {
		client, err = p.Open(ctx)
	}
	if err != nil {
		return err
	}
	if i.from != "" {
		return insertFile(ctx, p, client, i.from, &i.spec.Spec, i.dry)
	}
	if i.dry {
		if err := client.Validate(i.spec.JobSpec()); err != nil {
			return jobspec.Usage(err)
		}
		return p.Print(validJobs{1})
	}
	inserted, err := client.Insert(ctx, i.spec.JobSpec())
	if err != nil {
		return jobspec.Usage(err)
	}
	if i.wait {
		return await(ctx, p, client, inserted.ID, i.timeout)
	}
	return p.Print(insertedJob(inserted))
}

// await prints a job after it has finished.
func await(ctx context.Context, p *program.Program, client *pawl.Client, id pawl.ID, timeout time.Duration) error {
	waiting := ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	job, err := client.Await(waiting, id)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("job %d has not finished in %s; to see it: pawl job show %[1]d",
			id, flagvalue.FormatDuration(timeout))
	case errors.Is(err, pawl.ErrNotFound):
		return fmt.Errorf("job %d has finished, and its queue does not keep it: %w", id, err)
	case err != nil:
		return err
	}
	if err := printJob(p, job, pawl.Constraints{}); err != nil {
		return err
	}
	if job.State != pawlstate.Completed {
		return fmt.Errorf("job %d is %s", id, job.State)
	}
	return nil
}
