package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/spf13/cobra"
)

var (
	liveStates     = []pawlstate.State{pawlstate.Reserved, pawlstate.Waiting, pawlstate.Scheduled, pawlstate.Ready, pawlstate.Running}
	finishedStates = []pawlstate.State{pawlstate.Completed, pawlstate.Cancelled, pawlstate.Dead}
	archivedStates = []pawlstate.State{pawlstate.Completed, pawlstate.Cancelled}
)

// jobFilter are the jobs a command is about, as its flags choose them: the same flags with every command.
type jobFilter struct{ pawl.Filter }

// add gives a command the flags that choose jobs, but not those it has no use for.
func (f *jobFilter) add(command *cobra.Command, without ...string) {
	flags := command.Flags()
	has := func(name string) bool { return !slices.Contains(without, name) }
	for _, text := range []struct {
		name, usage string
		to          *string
	}{
		{"queue", "jobs of this queue", &f.Queue},
		{"channel", "of this channel", &f.Channel},
		{"kind", "of this kind", &f.Kind},
		{"fingerprint", "with this label", &f.Fingerprint},
		{"unique-key", "with this unique key", &f.UniqueKey},
		{"worker", "that the worker of this name runs, or of finished ones ran last", &f.Worker},
	} {
		if has(text.name) {
			flags.Var((*nameValue)(text.to), text.name, text.usage)
		}
	}
	if has("cursor") {
		flags.Var((*cursorValue)(&f.Before), "cursor", "go on after this job: what a list before said")
	}
	if has("state") {
		flags.Var((*statesValue)(&f.States), "state", "in one of these states, with commas: "+statesText())
		command.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(strings.Split(statesText(), ", "), cobra.ShellCompDirectiveNoFileComp))
	}
	if has("args") {
		flags.Var((*jsonValue)(&f.Args), "args", `whose args contain this JSON: {"user": 42}`)
	}
	if has("created-before") {
		flags.Var((*momentValue)(&f.CreatedBefore), "created-before", "inserted before this time, or longer ago: 2026-01-31, 2026-01-31T08:00:00Z, 7d")
	}
	if has("created-after") {
		flags.Var((*momentValue)(&f.CreatedAfter), "created-after", "inserted after this time, or less long ago")
	}
	if has("limit") {
		flags.Var(&numberValue{&f.Limit, 1, math.MaxInt32}, "limit", "at most so many, the newest")
	}
	if has("all") {
		flags.BoolVar(&f.All, "all", false, "all of them")
	}
}

// chosen says whether some flag chooses jobs.
func (f *jobFilter) chosen() bool {
	return f.All || f.Queue != "" || f.Channel != "" || f.Kind != "" || f.Fingerprint != "" || f.UniqueKey != "" || f.Worker != "" ||
		len(f.States) > 0 || len(f.Args) > 0 || !f.CreatedBefore.IsZero() || !f.CreatedAfter.IsZero()
}

// list prints the jobs that meet the filter, newest first: the first page, as many as --limit says, or with --all every one.
func (f *jobFilter) list(ctx context.Context, p *program, client *pawl.Client) error {
	return f.listAs(ctx, p, client, func(jobs pawl.Jobs) (any, error) { return rowsOf(jobs), nil })
}

// listAs is list of rows of another type.
func (f *jobFilter) listAs(ctx context.Context, p *program, client *pawl.Client, rows func(pawl.Jobs) (any, error)) error {
	most := f.Limit
	if f.All {
		if most > 0 {
			return usageError{errors.New("--all and --limit: give one of them")}
		}
	} else if most == 0 {
		most = p.settled.BatchSize
	}
	var next pawl.ID // The last job of a page, if there are more.
	err := p.printPages(func(yield func(any, error) bool) {
		for page := f.Filter; ; page.Before = next {
			size := p.settled.BatchSize
			if !f.All {
				size = min(size, most)
			}
			page.Limit = size + 1 // One more tells whether there is a next page.
			found, err := client.List(ctx, page)
			next = 0
			if len(found) > size {
				found = found[:size]
				next = found[size-1].ID
			}
			most -= len(found)
			var list any
			if err == nil {
				list, err = rows(found)
			}
			if !yield(list, err) || err != nil || next == 0 || !f.All && most == 0 {
				return
			}
		}
	})
	if err == nil && next != 0 {
		fmt.Fprintf(p.stderr, "There are more: --cursor %d\n", next)
	}
	return err
}

// jobChange is what a command does to jobs.
type jobChange struct {
	verb  string            // As in "delete 3 jobs".
	noun  string            // As in "dead job"; if empty, "job", and nobody has looked whether those of the ids are there.
	among []pawlstate.State // Those it can do something to; nil: all.
	do    func(context.Context, pawl.Selector) (int64, error)
}

// change does it to the jobs of these ids, without asking, or to those that the flags choose, when that is confirmed; and says to how many.
func (f *jobFilter) change(command *cobra.Command, p *program, client *pawl.Client, ids []string, how jobChange) (int64, error) {
	ctx := command.Context()
	if len(ids) > 0 {
		if f.chosen() || f.Limit > 0 {
			return 0, usageError{errors.New("ids and flags that choose jobs: give either")}
		}
		named, err := parseIDs(ids)
		if err != nil {
			return 0, err
		}
		if len(named) == 1 {
			return how.do(ctx, named[0])
		}
		n, err := how.do(ctx, pawl.Filter{IDs: named})
		if missing := int64(len(named)) - n; err == nil && missing > 0 && how.noun == "" {
			what := fmt.Sprintf("%d of these %d jobs are not there, or in a state to %s them", missing, len(named), how.verb)
			if n == 0 {
				return 0, fmt.Errorf("%w: %s", pawl.ErrNotFound, what)
			}
			fmt.Fprintln(p.stderr, "note:", what)
		}
		return n, err
	}
	if !f.chosen() {
		return 0, usageError{fmt.Errorf("which jobs? Give ids, flags such as --queue, or --all to %s them all", how.verb)}
	}
	if how.noun == "" {
		how.noun = "job"
	}
	if among := f.within(how.among); among != nil {
		if len(among) == 0 {
			return 0, nil
		}
		f.States = among
	}
	n, err := client.Count(ctx, f.Filter)
	if err != nil || n == 0 {
		return 0, err
	}
	if err := p.confirm(ctx, "%s %s", how.verb, counted(n, how.noun)); err != nil {
		return 0, err
	}
	bar := p.progress(how.verb, n)
	before := int64(0)
	f.Progress = func(done int64) { bar.add(done - before); before = done }
	done, err := how.do(ctx, f.Filter)
	bar.end()
	if err != nil && done > 0 {
		err = fmt.Errorf("after %s: %w", counted(done, how.noun), err)
	}
	return done, err
}

// within are the states of --state that are among these; without --state these. An empty list is not nil: nothing is meant.
func (f *jobFilter) within(among []pawlstate.State) []pawlstate.State {
	if among == nil || len(f.States) == 0 {
		return among
	}
	both := []pawlstate.State{}
	for _, state := range f.States {
		if slices.Contains(among, state) {
			both = append(both, state)
		}
	}
	return both
}

func parseID(text string) (pawl.ID, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, usageError{fmt.Errorf("%q is no id: want a whole number from 1 on", text)}
	}
	return pawl.ID(id), nil
}

func parseIDs(texts []string) (ids []pawl.ID, err error) {
	for _, text := range texts {
		id, err := parseID(text)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func statesText() string {
	var names []string
	for _, state := range slices.Concat(liveStates, finishedStates) {
		names = append(names, string(state))
	}
	return strings.Join(names, ", ")
}

// statesValue is a flag of states, with commas or said again.
type statesValue []pawlstate.State

func (v *statesValue) Set(text string) error {
	for name := range strings.SplitSeq(text, ",") {
		state := pawlstate.State(strings.TrimSpace(name))
		if !slices.Contains(liveStates, state) && !slices.Contains(finishedStates, state) {
			return fmt.Errorf("%q: want one of %s", name, statesText())
		}
		*v = append(*v, state)
	}
	return nil
}

func (v *statesValue) String() string { return "" }
func (*statesValue) Type() string     { return "states" }

// jsonValue is a flag of JSON.
type jsonValue json.RawMessage

func (v *jsonValue) Set(text string) error {
	if !json.Valid([]byte(text)) {
		return fmt.Errorf("%q is not JSON", text)
	}
	*v = jsonValue(text)
	return nil
}

func (v *jsonValue) String() string { return string(*v) }
func (*jsonValue) Type() string     { return "json" }

// numberValue is a flag of a whole number in a range.
type numberValue struct {
	to          *int
	least, most int
}

func (v *numberValue) Set(text string) (err error) {
	*v.to, err = number([]string{text}, v.least, v.most)
	return err
}

func (v *numberValue) String() string {
	if v.to == nil {
		return "0" // A default that help need not tell.
	}
	return strconv.Itoa(*v.to)
}

func (*numberValue) Type() string { return "number" }

// nameValue is a flag that chooses by a name. An empty one is refused: of an unset variable in a script it would choose everything.
type nameValue string

func (v *nameValue) Set(text string) error {
	if text == "" {
		return errors.New("the name is empty")
	}
	*v = nameValue(text)
	return nil
}

func (v *nameValue) String() string { return string(*v) }
func (*nameValue) Type() string     { return "string" }

// cursorValue is a flag of the job that a list ended with.
type cursorValue pawl.ID

func (v *cursorValue) Set(text string) error {
	id, err := parseID(text)
	*v = cursorValue(id)
	return err
}

func (v *cursorValue) String() string {
	if *v == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*v), 10)
}

func (*cursorValue) Type() string { return "string" }

// momentValue is a flag of a time gone by: when, or how long ago by this machine's clock.
type momentValue time.Time

func (v *momentValue) Set(text string) error {
	if ago, err := parseDuration(text); err == nil {
		*v = momentValue(time.Now().Add(-ago))
		return nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			*v = momentValue(t)
			return nil
		}
	}
	return fmt.Errorf("%q: want a time such as 2026-01-31 or 2026-01-31T08:00:00Z, in UTC if it has no zone, or how long ago, such as 90s or 7d", text)
}

func (v *momentValue) String() string { return "" }
func (*momentValue) Type() string     { return "time" }
