package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/spf13/cobra"
)

func archiveCommand(p *program) *cobra.Command {
	command := &cobra.Command{
		Use:     "archive",
		Short:   "Look at completed and cancelled jobs, and purge them",
		Long:    "The archive keeps completed and cancelled jobs for as long as their queue says (pawl queue set --retain-completed), a day if nothing was said.",
		GroupID: groupJobs,
	}
	command.AddCommand(
		finishedListCommand(p, "archived", archivedStates), finishedShowCommand(p, archivedStates), finishedPurgeCommand(p, "archived job", archivedStates),
		archiveCountCommand(p), archiveDeleteCommand(p),
	)
	return command
}

func deadCommand(p *program) *cobra.Command {
	command := &cobra.Command{
		Use:   "dead",
		Short: "Look at dead jobs, retry and purge them",
		Long: `A job is dead when its attempts are used up, its handler gave it up, its args cannot be decoded, or three workers were lost with it. Dead jobs
are kept apart for as long as their queue says (pawl queue set --retain-dead), 30 days if nothing was said.`,
		GroupID: groupJobs,
	}
	dead := []pawlstate.State{pawlstate.Dead}
	command.AddCommand(finishedListCommand(p, "dead", dead), finishedShowCommand(p, dead), deadRetryCommand(p), finishedPurgeCommand(p, "dead job", dead))
	return command
}

// deadRow is a dead job in a list: why it is.
type deadRow struct {
	ID         pawl.ID         `json:"id"`
	State      pawlstate.State `json:"state" table:"-"`
	Queue      string          `json:"queue"`
	Channel    string          `json:"channel"`
	Kind       string          `json:"kind"`
	Reason     string          `json:"reason"`
	Priority   int             `json:"priority" table:"-"`
	Attempt    int             `json:"attempt"`
	CreatedAt  time.Time       `json:"created_at" table:"-"`
	RunAt      time.Time       `json:"run_at" table:"-"`
	FinishedAt time.Time       `json:"finished_at"`
	LastError  string          `json:"last_error"`
	jobRow                     // The rest.
}

func rowsOfDead(jobs pawl.Jobs) (any, error) {
	rows := make([]deadRow, len(jobs))
	for i, job := range jobs {
		text, _, _ := strings.Cut(lastError(job), "\n")
		rows[i] = deadRow{
			ID: job.ID, State: job.State, Queue: job.Queue, Channel: job.Channel, Kind: job.Kind, Reason: job.Reason, Priority: job.Priority,
			Attempt: job.Attempt, CreatedAt: job.CreatedAt, RunAt: job.RunAt, FinishedAt: job.FinishedAt, LastError: text, jobRow: rowOf(job),
		}
	}
	return rows, nil
}

// without are the flags of a filter that a noun with one state has no use for.
func without(states []pawlstate.State, more ...string) []string {
	if len(states) == 1 {
		more = append(more, "state")
	}
	return more
}

func finishedListCommand(p *program, what string, states []pawlstate.State) *cobra.Command {
	var filter jobFilter
	command := &cobra.Command{
		Use:   "list [QUEUE]",
		Short: "List " + what + " jobs, the newest first",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) == 1 {
				if filter.Queue != "" && filter.Queue != args[0] {
					return usageError{fmt.Errorf("%s and --queue %s: give one of them", args[0], filter.Queue)}
				}
				filter.Queue = args[0]
			}
			if filter.States = filter.within(states); len(filter.States) == 0 {
				return usageError{fmt.Errorf("--state: there are only %s jobs here", joined(states))}
			}
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			if what == "dead" {
				return filter.listAs(command.Context(), p, client, rowsOfDead)
			}
			return filter.list(command.Context(), p, client)
		},
	}
	filter.add(command, without(states)...)
	if what == "archived" { // -w is pgqrs's.
		command.Flags().VarP((*nameValue)(&filter.Worker), "of-worker", "w", "the same as --worker")
		command.Flags().Lookup("of-worker").Hidden = true
	}
	return command
}

func joined(states []pawlstate.State) string {
	texts := make([]string, len(states))
	for i, state := range states {
		texts[i] = string(state)
	}
	return strings.Join(texts, " and ")
}

// finishedOf is the job of an id, if it is in one of the states.
func finishedOf(ctx context.Context, client *pawl.Client, id pawl.ID, states []pawlstate.State) (*pawl.JobInfo, error) {
	job, err := client.Get(ctx, id)
	if err == nil && !slices.Contains(states, job.State) {
		err = fmt.Errorf("job %d, of those that are %s: %w: it is %s", id, strings.Join(strings.Fields(joined(states)), " "), pawl.ErrNotFound, job.State)
	}
	return job, err
}

func finishedShowCommand(p *program, states []pawlstate.State) *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show all of a job: args, errors, result",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			id, err := parseID(args[0])
			if err != nil {
				return err
			}
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			job, err := finishedOf(command.Context(), client, id, states)
			if err != nil {
				return err
			}
			return p.printJob(job, pawl.Constraints{})
		},
	}
}

// among refuses ids of jobs that are in none of the states.
func among(ctx context.Context, client *pawl.Client, texts []string, states []pawlstate.State) error {
	ids, err := parseIDs(texts)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := finishedOf(ctx, client, id, states); err != nil {
			return err
		}
	}
	return nil
}

func finishedPurgeCommand(p *program, noun string, states []pawlstate.State) *cobra.Command {
	var filter jobFilter
	command := &cobra.Command{
		Use:   "purge [ID...]",
		Short: "Delete " + noun + "s: by id, or all that meet a filter",
		RunE: func(command *cobra.Command, args []string) error {
			return filter.purge(command, p, args, noun, states)
		},
	}
	filter.add(command, without(states, "cursor")...)
	return command
}

// purge deletes finished jobs in some states.
func (f *jobFilter) purge(command *cobra.Command, p *program, ids []string, noun string, states []pawlstate.State) error {
	ctx := command.Context()
	client, err := p.open(ctx)
	if err != nil {
		return err
	}
	if err := among(ctx, client, ids, states); err != nil {
		return err
	}
	n, err := f.change(command, p, client, ids, jobChange{verb: "delete", noun: noun, among: states, do: func(ctx context.Context, which pawl.Selector) (int64, error) {
		return client.Delete(ctx, which)
	}})
	return p.changed(n, struct {
		Deleted int64 `json:"deleted"`
	}{n}, err)
}

func deadRetryCommand(p *program) *cobra.Command {
	var filter jobFilter
	dead := []pawlstate.State{pawlstate.Dead}
	command := &cobra.Command{
		Use:   "retry [ID...]",
		Short: "Let dead jobs run again: by id, or all that meet a filter",
		Long: `Retry lets dead jobs run now. They keep their attempts and errors; one that had used its attempts up gets one more. One whose unique key
another job has by now stays dead.`,
		RunE: func(command *cobra.Command, args []string) error {
			ctx := command.Context()
			client, err := p.open(ctx)
			if err != nil {
				return err
			}
			if err := among(ctx, client, args, dead); err != nil {
				return err
			}
			n, err := filter.change(command, p, client, args, jobChange{verb: "retry", noun: "dead job", among: dead, do: func(ctx context.Context, which pawl.Selector) (int64, error) {
				return client.Retry(ctx, which)
			}})
			if left := int64(len(args)) - n; err == nil && left > 0 {
				fmt.Fprintf(p.stderr, "note: %s stayed dead: another job has the unique key\n", counted(left, "job"))
			}
			return p.changed(n, struct {
				Retried int64 `json:"retried"`
			}{n}, err)
		},
	}
	filter.add(command, without(dead, "cursor")...)
	return command
}

func archiveCountCommand(p *program) *cobra.Command {
	var worker string
	command := &cobra.Command{
		Use:    "count [QUEUE]",
		Short:  "Count archived jobs",
		Hidden: true,
		Args:   cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			n, err := client.Count(command.Context(), pawl.Filter{Queue: strings.Join(args, ""), Worker: worker, States: archivedStates})
			if err != nil {
				return err
			}
			return p.print(struct {
				Count int64 `json:"count"`
			}{n})
		},
	}
	command.Flags().VarP((*nameValue)(&worker), "worker", "w", "that the worker of this name ran last")
	return command
}

func archiveDeleteCommand(p *program) *cobra.Command {
	var filter jobFilter
	command := &cobra.Command{
		Use:    "delete QUEUE",
		Short:  "Delete the archived jobs of a queue",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if filter.Queue = args[0]; filter.Queue == "" {
				return usageError{errors.New("the queue's name is empty")}
			}
			return filter.purge(command, p, nil, "archived job", archivedStates)
		},
	}
	command.Flags().VarP((*nameValue)(&filter.Worker), "worker", "w", "that the worker of this name ran last")
	return command
}
