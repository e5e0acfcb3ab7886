package pawlimport

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
)

// Report is what an import did, or, of a dry run, would have done.
type Report struct {
	Source   string  `json:"source"`  // river, pg-boss, graphile-worker.
	Version  int     `json:"version"` // Of the source's schema.
	DryRun   bool    `json:"dry_run"`
	Imported int64   `json:"imported"`
	Moved    []Moved `json:"moved"` // By queue and kind.

	Crons   []string `json:"crons"`   // Names of schedules imported.
	Changed []Note   `json:"changed"` // What is not with the imported jobs as it was, the most frequent first.
	Refused []Note   `json:"refused"` // Jobs that Pawl does not take, and why; they are left.
	Left    []Left   `json:"left"`    // Jobs that are there still, in the states of the source.
	Remarks []string `json:"remarks"` // What is not about single jobs.
}

// Moved is how many jobs of a kind came into a queue, both by their names in Pawl.
type Moved struct {
	Queue string `json:"queue"`
	Kind  string `json:"kind"`
	Jobs  int64  `json:"jobs"`
}

// Note is something said of jobs.
type Note struct {
	What string   `json:"what"`
	Jobs int64    `json:"jobs"`
	IDs  []string `json:"ids"` // Of the first few, at the source.
}

// Left is how many jobs of a state are left, and why.
type Left struct {
	State string `json:"state"`
	Jobs  int64  `json:"jobs"`
	Why   string `json:"why"`
}

const (
	maxIDs     = 5
	maxReasons = 100 // Different ones, of notes that have a job's own figures in them.
)

// say adds a job to the note of what is said.
func say(notes *[]Note, what, id string) {
	i := slices.IndexFunc(*notes, func(n Note) bool { return n.What == what })
	if i < 0 && len(*notes) >= maxReasons {
		what = "and other things"
		i = slices.IndexFunc(*notes, func(n Note) bool { return n.What == what })
	}
	if i < 0 {
		*notes = append(*notes, Note{What: what})
		i = len(*notes) - 1
	}
	n := &(*notes)[i]
	if n.Jobs++; len(n.IDs) < maxIDs {
		n.IDs = append(n.IDs, id)
	}
}

func (r *Report) moved(queue, kind string) {
	i := slices.IndexFunc(r.Moved, func(m Moved) bool { return m.Queue == queue && m.Kind == kind })
	if i < 0 {
		r.Moved = append(r.Moved, Moved{Queue: queue, Kind: kind})
		i = len(r.Moved) - 1
	}
	r.Moved[i].Jobs++
	r.Imported++
}

// finish brings a report into its order.
func (r *Report) finish() {
	// As JSON they are lists, empty or not.
	r.Moved, r.Crons, r.Changed = append([]Moved{}, r.Moved...), append([]string{}, r.Crons...), append([]Note{}, r.Changed...)
	r.Refused, r.Left, r.Remarks = append([]Note{}, r.Refused...), append([]Left{}, r.Left...), append([]string{}, r.Remarks...)
	slices.SortFunc(r.Moved, func(a, b Moved) int { return cmp.Or(cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Kind, b.Kind)) })
	for _, notes := range [][]Note{r.Changed, r.Refused} {
		slices.SortStableFunc(notes, func(a, b Note) int { return cmp.Or(cmp.Compare(b.Jobs, a.Jobs), cmp.Compare(a.What, b.What)) })
	}
}

// String is the report for people.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, schema version %d: ", r.Source, r.Version)
	if r.DryRun {
		fmt.Fprintf(&b, "%s would be imported; nothing was written\n", jobs(r.Imported))
	} else {
		fmt.Fprintf(&b, "%s imported\n", jobs(r.Imported))
	}
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(r.Moved) > 0 {
		fmt.Fprintln(table, "\nQUEUE\tKIND\tJOBS")
	}
	for _, m := range r.Moved {
		fmt.Fprintf(table, "%s\t%s\t%d\n", m.Queue, m.Kind, m.Jobs)
	}
	table.Flush()
	if len(r.Crons) > 0 {
		fmt.Fprintf(&b, "\ncrons: %s\n", strings.Join(r.Crons, ", "))
	}
	for _, section := range []struct {
		title string
		notes []Note
	}{{"Not as it was", r.Changed}, {"Refused, and left where they are", r.Refused}} {
		if len(section.notes) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n%s:\n", section.title)
		for _, n := range section.notes {
			more := ""
			if n.Jobs > int64(len(n.IDs)) {
				more = ", …"
			}
			fmt.Fprintf(&b, "- %s\n  %s: %s%s\n", n.What, jobs(n.Jobs), strings.Join(n.IDs, ", "), more)
		}
	}
	if len(r.Left) > 0 {
		fmt.Fprintf(&b, "\nLeft in %s:\n", r.Source)
		for _, l := range r.Left {
			fmt.Fprintf(table, "- %s\t%d\t%s\n", l.State, l.Jobs, l.Why)
		}
		table.Flush()
	}
	if len(r.Remarks) > 0 {
		b.WriteString("\nRemarks:\n")
		for _, remark := range r.Remarks {
			fmt.Fprintf(&b, "- %s\n", remark)
		}
	}
	return b.String()
}

func jobs(n int64) string {
	if n == 1 {
		return "1 job"
	}
	return fmt.Sprintf("%d jobs", n)
}
