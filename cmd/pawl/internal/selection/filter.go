// Package selection holds the flags that select jobs, and lists and changes the jobs that they select.
package selection

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/view"
)

// Filter selects jobs by flags. The flags are the same for every command.
type Filter struct{ pawl.Filter }

// AddFlags gives a command the flags that select jobs, except some.
func (f *Filter) AddFlags(command *cobra.Command, except ...string) {
	flags := command.Flags()
	has := func(name string) bool { return !slices.Contains(except, name) }
	for _, text := range []struct {
		name, usage string
		to          *string
	}{
		{"queue", "jobs of this queue", &f.Queue},
		{"channel", "jobs of this channel", &f.Channel},
		{"kind", "jobs of this kind", &f.Kind},
		{"fingerprint", "jobs with this fingerprint", &f.Fingerprint},
		{"unique-key", "jobs with this unique key", &f.UniqueKey},
		{"worker", "jobs that the worker of this name runs, or ran last if they are finished", &f.Worker},
	} {
		if has(text.name) {
			flags.Var((*flagvalue.Name)(text.to), text.name, text.usage)
		}
	}
	if has("cursor") {
		flags.Var((*flagvalue.Cursor)(&f.Before), "cursor",
			"continue a list after this job; the previous page ends with the cursor")
	}
	if has("state") {
		flags.Var((*statesFlag)(&f.States), "state", "jobs in one of these states, separated by commas: "+allStates())
		complete := cobra.FixedCompletions(strings.Split(allStates(), ", "), cobra.ShellCompDirectiveNoFileComp)
		_ = command.RegisterFlagCompletionFunc("state", complete)
	}
	if has("args") {
		flags.Var((*flagvalue.JSON)(&f.Args), "args", `jobs whose args contain this JSON, such as {"user": 42}`)
	}
	if has("created-before") {
		flags.Var((*flagvalue.PastTime)(&f.CreatedBefore), "created-before",
			"jobs inserted before this time: 2026-01-31, 2026-01-31T08:00:00Z, or 7d for more than 7 days ago")
	}
	if has("created-after") {
		flags.Var((*flagvalue.PastTime)(&f.CreatedAfter), "created-after",
			"jobs inserted after this time, or less than this long ago")
	}
	if has("limit") {
		flags.Var(&flagvalue.Number{To: &f.Limit, Least: 1, Most: math.MaxInt32}, "limit",
			"at most this many jobs, the newest")
	}
	if has("all") {
		flags.BoolVar(&f.All, "all", false, "all jobs")
	}
}

// Selects reports whether a flag selects jobs.
func (f *Filter) Selects() bool {
	return f.All || f.Queue != "" || f.Channel != "" || f.Kind != "" || f.Fingerprint != "" || f.UniqueKey != "" ||
		f.Worker != "" || len(f.States) > 0 || len(f.Args) > 0 || !f.CreatedBefore.IsZero() || !f.CreatedAfter.IsZero()
}

// List prints the selected jobs, newest first. Without --all it prints one page, of --limit or else --batch-size jobs.
func (f *Filter) List(ctx context.Context, p *program.Program, client *pawl.Client) error {
	return f.ListAs(ctx, p, client, func(jobs pawl.Jobs) (any, error) { return view.JobsOf(jobs), nil })
}

// ListAs prints the selected jobs as rows of another type.
func (f *Filter) ListAs(
	ctx context.Context, p *program.Program, client *pawl.Client, rows func(pawl.Jobs) (any, error),
) error {
	left := f.Limit
	if f.All {
		if left > 0 {
			return exit.Usagef("--all and --limit exclude each other")
		}
	} else if left == 0 {
		left = p.Settings.BatchSize
	}
	var next pawl.ID // The last job of the page, or 0 if there are no more jobs.
	err := p.PrintPages(func(yield func(any, error) bool) {
		for page := f.Filter; ; page.Before = next {
			size := p.Settings.BatchSize
			if !f.All {
				size = min(size, left)
			}
			page.Limit = size + 1 // One job more than the page tells whether there are more.
			jobs, err := client.List(ctx, page)
			next = 0
			if len(jobs) > size {
				jobs = jobs[:size]
				next = jobs[size-1].ID
			}
			left -= len(jobs)
			for _, job := range jobs {
				if job.Unreadable != nil {
					fmt.Fprintf(p.Stderr, "Job %d cannot be read whole: %v\n", job.ID, job.Unreadable)
				}
			}
			var list any
			if err == nil {
				list, err = rows(jobs)
			}
			if !yield(list, err) || err != nil || next == 0 || !f.All && left == 0 {
				return
			}
		}
	})
	if err == nil && next != 0 {
		fmt.Fprintf(p.Stderr, "There are more: --cursor %d\n", next)
	}
	return err
}
