package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/spf13/cobra"
)

func jobListCommand(p *program) *cobra.Command {
	var filter jobFilter
	command := &cobra.Command{
		Use:   "list",
		Short: "List jobs, newest first: live, dead and archived ones",
		Long: `List prints a page of the jobs that meet all flags, newest first, be they live, dead or in the archive. Where there are more, standard
error says how to go on. A page is found quickly where its jobs are among the newest; what is rare in a large archive takes reading it.`,
		Example: `  pawl job list --queue mail --state dead,cancelled --created-after 1d
  pawl job list --kind email --args '{"to": "ann@example.com"}' --format json
  pawl job list --all --format csv --out jobs.csv`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			return filter.list(command.Context(), p, client)
		},
	}
	filter.add(command)
	p.settingFlags(command, command.Flags(), "batch_size")
	return command
}

// shownJob is a job with all that is known of it.
type shownJob struct {
	jobRow
	ReservedUntil time.Time `json:"reserved_until" table:",omitempty"`
	BehindJob     *pawl.ID  `json:"behind_job" table:",omitempty"`
	Halted        bool      `json:"halted"`
	AfterOK       []pawl.ID `json:"after_ok" table:",omitempty"`
	AfterAny      []pawl.ID `json:"after_any" table:",omitempty"`
	AfterNotOK    []pawl.ID `json:"after_not_ok" table:",omitempty"`
	Followers     []pawl.ID `json:"followers" table:",omitempty"`
}

func jobShowCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show all of a job: args, errors, checkpoint, result, and why it waits",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			id, err := parseID(args[0])
			if err != nil {
				return usageError{err}
			}
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			job, err := client.Get(command.Context(), id)
			if err != nil {
				return err
			}
			ties, err := client.Constraints(command.Context(), id)
			if err != nil {
				return err
			}
			return p.printJob(job, ties)
		},
	}
}

// printJob prints all of a job; in a table its errors are one of their own.
func (p *program) printJob(job *pawl.JobInfo, ties pawl.Constraints) error {
	shown := shownJob{
		jobRow: rowOf(job), ReservedUntil: ties.ReservedUntil, Halted: ties.Halted,
		AfterOK: ties.AfterOK, AfterAny: ties.AfterAny, AfterNotOK: ties.AfterNotOK, Followers: ties.Followers,
	}
	if ties.Head != 0 {
		shown.BehindJob = &ties.Head
	}
	if p.settled.Format != "table" || len(shown.Errors) == 0 {
		return p.print(shown)
	}
	failures := shown.Errors
	shown.Errors = nil
	if err := p.print(shown); err != nil {
		return err
	}
	out, err := p.output()
	if err != nil {
		return err
	}
	fmt.Fprintln(out)
	return p.print(failures)
}

func jobCountCommand(p *program) *cobra.Command {
	var filter jobFilter
	command := &cobra.Command{
		Use:   "count",
		Short: "Count jobs exactly, which reads all it counts",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			n, err := client.Count(command.Context(), filter.Filter)
			if err != nil {
				return err
			}
			return p.print(struct {
				Count int64 `json:"count"`
			}{n})
		},
	}
	filter.add(command, "limit", "cursor", "all")
	return command
}

// jobEvent is a line of tail.
type jobEvent struct {
	At      time.Time      `json:"at"`
	Event   string         `json:"event"`
	ID      pawl.ID        `json:"id"`
	Queue   string         `json:"queue"`
	Channel string         `json:"channel"`
	Kind    string         `json:"kind"`
	Attempt int            `json:"attempt"`
	Ran     *time.Duration `json:"ran"` // Nil: it did not, or has not ended.
	Worker  string         `json:"worker"`
	Error   string         `json:"error"`
}

func jobTailCommand(p *program) *cobra.Command {
	var filter jobFilter
	command := &cobra.Command{
		Use:   "tail",
		Short: "Follow jobs as they come and as they finish",
		Long: `Tail writes a line for each job that comes and each that finishes, from now on and until ^C, of those that meet the filter. The event is what
a new job is (reserved, waiting, scheduled, ready, running) or what became of it (completed, cancelled, dead). A job that had finished before it
was seen has the one line. New ones are looked for twice a second, ends are told by the server; behind a pooler without listen_dsn
only ends of jobs that were seen before are. What its queue does not keep (a retention of zero) does not end here.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			for job, err := range client.Tail(command.Context(), filter.Filter) {
				if err != nil {
					return err
				}
				event := jobEvent{At: job.CreatedAt, Event: string(job.State), ID: job.ID, Queue: job.Queue, Channel: job.Channel, Kind: job.Kind, Attempt: job.Attempt, Worker: job.Worker}
				if !job.FinishedAt.IsZero() {
					event.At = job.FinishedAt
					if !job.StartedAt.IsZero() {
						event.Ran = new(job.FinishedAt.Sub(job.StartedAt))
					}
					if n := len(job.Errors); n > 0 && job.State != pawlstate.Completed {
						event.Error = job.Errors[n-1].Error
					}
				}
				if err := p.printNext(event); err != nil {
					return err
				}
			}
			return command.Context().Err()
		},
	}
	filter.add(command, "limit", "cursor", "all")
	return command
}

func jobCancelCommand(p *program) *cobra.Command {
	return changeCommand(p, "cancel", "Cancel live jobs, running ones too: by id, or all that meet a filter", liveStates, (*pawl.Client).Cancel,
		func(n int64) any {
			return struct {
				Cancelled int64 `json:"cancelled"`
			}{n}
		})
}

func jobRetryCommand(p *program) *cobra.Command {
	states := []pawlstate.State{pawlstate.Scheduled, pawlstate.Dead, pawlstate.Cancelled}
	return changeCommand(p, "retry", "Let scheduled, dead and cancelled jobs run now: by id, or all that meet a filter", states, (*pawl.Client).Retry,
		func(n int64) any {
			return struct {
				Retried int64 `json:"retried"`
			}{n}
		})
}

func jobDeleteCommand(p *program) *cobra.Command {
	return changeCommand(p, "delete", "Delete jobs, live or finished, and leave nothing of them: by id, or all that meet a filter", nil, (*pawl.Client).Delete,
		func(n int64) any {
			return struct {
				Deleted int64 `json:"deleted"`
			}{n}
		})
}

// changeCommand is a command that does something to jobs in some states (nil: in all) and answers how many.
func changeCommand(p *program, verb, short string, among []pawlstate.State, do func(*pawl.Client, context.Context, pawl.Selector) (int64, error),
	answer func(int64) any) *cobra.Command {
	var filter jobFilter
	command := &cobra.Command{
		Use:     verb + " [ID...]",
		Short:   short,
		Long:    short + ".\nWith ids it does so at once; with flags that choose jobs it says how many there are, and asks.",
		Example: fmt.Sprintf("  pawl job %[1]s 12 13\n  pawl job %[1]s --queue mail --kind welcome", verb),
		RunE: func(command *cobra.Command, args []string) error {
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			n, err := filter.change(command, p, client, args, jobChange{verb: verb, among: among, do: func(ctx context.Context, which pawl.Selector) (int64, error) {
				return do(client, ctx, which)
			}})
			return p.changed(n, answer(n), err)
		},
	}
	filter.add(command, "cursor")
	return command
}

func jobRescheduleCommand(p *program) *cobra.Command {
	var (
		filter   jobFilter
		delay    time.Duration
		runAt    time.Time
		priority int
	)
	command := &cobra.Command{
		Use:   "reschedule [ID...]",
		Short: "Give jobs that are not running another time or priority: by id, or all that meet a filter",
		Long: `Reschedule gives jobs that are not running another time or priority. With ids it does so at once; with flags that choose jobs it says how
many there are, and asks.`,
		Example: `  pawl job reschedule 12 --delay 1h
  pawl job reschedule --queue mail --state scheduled --run-at '2030-01-31 08:00'`,
		RunE: func(command *cobra.Command, args []string) error {
			update := pawl.JobUpdate{Delay: delay, RunAt: runAt}
			changed := command.Flags().Changed
			switch {
			case !changed("delay") && !changed("run-at") && !changed("priority"):
				return usageError{errors.New("nothing to change: want --delay, --run-at or --priority")}
			case changed("delay") && changed("run-at"):
				return usageError{errors.New("--delay or --run-at, not both")}
			case changed("delay") && delay == 0:
				update.Delay = time.Microsecond // Now; zero would be "as it is".
			}
			if changed("priority") {
				update.Priority = &priority
			}
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			states := slices.DeleteFunc(slices.Clone(liveStates), func(state pawlstate.State) bool { return state == pawlstate.Running })
			n, err := filter.change(command, p, client, args, jobChange{verb: "reschedule", among: states,
				do: func(ctx context.Context, which pawl.Selector) (int64, error) {
					return client.Update(ctx, which, update)
				}})
			return p.changed(n, struct {
				Rescheduled int64 `json:"rescheduled"`
			}{n}, wrongJob(err))
		},
	}
	command.Flags().Var((*durationValue)(&delay), "delay", "not before so long from now; 0: now")
	command.Flags().Var((*timeValue)(&runAt), "run-at", "not before this time")
	command.Flags().Var(&numberValue{&priority, math.MinInt16, math.MaxInt16}, "priority", "-32768 to 32767; lower runs first")
	filter.add(command, "cursor")
	return command
}

// changed prints how many were changed, also where not all were that were meant.
func (p *program) changed(n int64, answer any, err error) error {
	if err != nil && n == 0 {
		return err
	}
	if failed := p.print(answer); err == nil {
		err = failed
	}
	return err
}
