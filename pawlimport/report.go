package pawlimport

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
)

// A Report says what an import did, or what it would do if it was a dry run. Names and ids are the source's unless
// said otherwise. The slices are never nil.
type Report struct {
	// Source is river, pg-boss or graphile-worker.
	Source string `json:"source"`

	// Version is the version of the source's schema.
	Version int `json:"version"`

	// DryRun reports whether nothing was written.
	DryRun bool `json:"dry_run"`

	// Imported is the number of jobs imported. Moved has the same by queue and kind.
	Imported int64   `json:"imported"`
	Moved    []Moved `json:"moved"`

	// Crons are the names of the schedules that became crons.
	Crons []string `json:"crons"`

	// Changed says what imported jobs did not keep, the most frequent first.
	Changed []Note `json:"changed"`

	// Refused says which jobs Pawl does not accept and why, the most frequent first. They stay at the source.
	Refused []Note `json:"refused"`

	// Left has the jobs that are still at the source, by state.
	Left []Left `json:"left"`

	// Remarks are about queues and schedules.
	Remarks []string `json:"remarks"`
}

// Moved is the number of imported jobs of a queue and kind. Both names are Pawl's.
type Moved struct {
	Queue string `json:"queue"`
	Kind  string `json:"kind"`
	Jobs  int64  `json:"jobs"`
}

// A Note is a sentence about a number of jobs. IDs are the ids of the first five.
type Note struct {
	What string   `json:"what"`
	Jobs int64    `json:"jobs"`
	IDs  []string `json:"ids"`
}

// Left is the number of jobs left at the source in a state, and why.
type Left struct {
	State string `json:"state"`
	Jobs  int64  `json:"jobs"`
	Why   string `json:"why"`
}

const (
	maxIDs     = 5
	maxReasons = 100 // Notes may contain a value of their job, so their number has to be bounded.
)

// say adds a job to the note what.
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

// finish sorts the report. It makes nil slices empty, so that they are lists in JSON.
func (r *Report) finish() {
	r.Moved, r.Crons, r.Remarks = notNil(r.Moved), notNil(r.Crons), notNil(r.Remarks)
	r.Changed, r.Refused, r.Left = notNil(r.Changed), notNil(r.Refused), notNil(r.Left)
	slices.SortFunc(r.Moved, func(a, b Moved) int {
		return cmp.Or(cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Kind, b.Kind))
	})
	for _, notes := range [][]Note{r.Changed, r.Refused} {
		slices.SortStableFunc(notes, func(a, b Note) int {
			return cmp.Or(cmp.Compare(b.Jobs, a.Jobs), cmp.Compare(a.What, b.What))
		})
	}
}

func notNil[T any](list []T) []T { return append([]T{}, list...) }

// String returns the report as text for people.
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
	_ = table.Flush() // A strings.Builder returns no error.
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
		_ = table.Flush() // A strings.Builder returns no error.
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
