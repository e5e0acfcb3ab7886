package selection

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/pawlstate"
)

// Change is what a command does to jobs.
type Change struct {
	Verb string // As in "delete 3 jobs".
	// Noun names the jobs, as in "dead job". If it is empty, they are "jobs", and Apply reports IDs that were not
	// changed.
	Noun   string
	States []pawlstate.State // The states of jobs that can be changed; nil for all.
	Do     func(context.Context, pawl.Selector) (int64, error)
}

// Apply changes the jobs with these IDs, or else the jobs that the flags select. It asks for confirmation unless IDs
// are given. It returns the number of changed jobs.
func (f *Filter) Apply(
	command *cobra.Command, p *program.Program, client *pawl.Client, ids []string, change Change,
) (int64, error) {
	if len(ids) > 0 {
		return f.applyToIDs(command.Context(), p, ids, change)
	}
	if !f.Selects() {
		return 0, exit.Usagef("no jobs selected: give IDs, flags such as --queue, or --all to %s all jobs", change.Verb)
	}
	if change.Noun == "" {
		change.Noun = "job"
	}
	if states := f.StatesWithin(change.States); states != nil {
		if len(states) == 0 {
			return 0, nil
		}
		f.States = states
	}
	ctx := command.Context()
	n, err := client.Count(ctx, f.Filter)
	if err != nil || n == 0 {
		return 0, err
	}
	if err := p.Confirm(ctx, "%s %s", change.Verb, output.Count(n, change.Noun)); err != nil {
		return 0, err
	}
	bar := output.NewProgress(p.Stderr, change.Verb, n)
	shown := int64(0)
	f.Progress = func(done int64) { bar.Add(done - shown); shown = done }
	done, err := change.Do(ctx, f.Filter)
	bar.End()
	if err != nil && done > 0 {
		err = fmt.Errorf("after %s: %w", output.Count(done, change.Noun), err)
	}
	return done, err
}

func (f *Filter) applyToIDs(ctx context.Context, p *program.Program, texts []string, change Change) (int64, error) {
	if f.Selects() || f.Limit > 0 {
		return 0, exit.Usagef("IDs and flags that select jobs exclude each other")
	}
	ids, err := flagvalue.ParseIDs(texts)
	if err != nil {
		return 0, err
	}
	if len(ids) == 1 {
		return change.Do(ctx, ids[0])
	}
	n, err := change.Do(ctx, pawl.Filter{IDs: ids})
	if missing := int64(len(ids)) - n; err == nil && missing > 0 && change.Noun == "" {
		text := fmt.Sprintf("cannot %s %d of these %d jobs: they do not exist, or their state does not allow it",
			change.Verb, missing, len(ids))
		if n == 0 {
			return 0, fmt.Errorf("%w: %s", pawl.ErrNotFound, text)
		}
		fmt.Fprintln(p.Stderr, "note:", text)
	}
	return n, err
}

// Purge deletes finished jobs in some states and prints their number.
func (f *Filter) Purge(
	command *cobra.Command, p *program.Program, ids []string, noun string, states []pawlstate.State,
) error {
	ctx := command.Context()
	client, err := p.Open(ctx)
	if err != nil {
		return err
	}
	if err := RequireStates(ctx, client, ids, states); err != nil {
		return err
	}
	n, err := f.Apply(command, p, client, ids, Change{
		Verb: "delete", Noun: noun, States: states,
		Do: func(ctx context.Context, which pawl.Selector) (int64, error) { return client.Delete(ctx, which) },
	})
	return p.PrintCount(n, struct {
		Deleted int64 `json:"deleted"`
	}{n}, err)
}

// JobInStates returns a job, or pawl.ErrNotFound if it is in none of the states.
func JobInStates(
	ctx context.Context, client *pawl.Client, id pawl.ID, states []pawlstate.State,
) (*pawl.JobInfo, error) {
	job, err := client.Get(ctx, id)
	if err == nil && !slices.Contains(states, job.State) {
		err = fmt.Errorf("job %d among the %s jobs: %w: it is %s", id, JoinStates(states), pawl.ErrNotFound, job.State)
	}
	return job, err
}

// RequireStates returns an error if one of the jobs does not exist or is in none of the states.
func RequireStates(ctx context.Context, client *pawl.Client, texts []string, states []pawlstate.State) error {
	ids, err := flagvalue.ParseIDs(texts)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := JobInStates(ctx, client, id, states); err != nil {
			return err
		}
	}
	return nil
}
