package demo

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// print writes the summary. A width of 0 means that out is not a terminal.
func (r *result) print(out io.Writer, width int) {
	counts := func(w io.Writer, k kindResult) {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t", k.kind, k.inserted, k.completed, k.retried, k.rescued, k.dead)
	}
	const titles, times = "\tin\tdone\tretried\trescued\tdead\t", "p50\tp99\t"
	narrow := width > 0 && width < 64
	table := func(title string, row func(io.Writer, kindResult)) {
		gap := 2
		if narrow {
			gap = 1
		}
		var text strings.Builder
		w := tabwriter.NewWriter(&text, 0, 0, gap, ' ', tabwriter.AlignRight)
		fmt.Fprintln(w, title)
		for _, k := range r.kinds {
			row(w, k)
			fmt.Fprintln(w)
		}
		_ = w.Flush()
		fmt.Fprintln(out)
		for line := range strings.Lines(text.String()) {
			_, _ = io.WriteString(out, line[gap:]) // The first column has no gap before it.
		}
	}
	waits := func(w io.Writer, k kindResult) {
		fmt.Fprintf(w, "%s\t%s\t", quantile(k.waits, 0.5), quantile(k.waits, 0.99))
	}
	if !narrow {
		table(titles+times, func(w io.Writer, k kindResult) { counts(w, k); waits(w, k) })
	} else {
		table(titles, counts)
		table("\t"+times, func(w io.Writer, k kindResult) { fmt.Fprint(w, k.kind, "\t"); waits(w, k) })
	}
	all := r.kinds[len(r.kinds)-1]
	rate := func(d time.Duration) float64 { return float64(all.inserted) / d.Seconds() }
	fmt.Fprintf(out, "\n%s%s\n",
		wrapped(width, "p50 and p99 are the times from insert to start, of jobs that were ready at once; "+
			"the emails include one tenant's large batch."),
		wrapped(width, fmt.Sprintf(
			"%d jobs inserted in %.1f s (%.0f/s), all finished after %.1f s (%.0f/s): the demo's pace, not the queue's limit.",
			all.inserted, r.inserted.Seconds(), rate(r.inserted), r.took.Seconds(), rate(r.took))))
	for _, c := range r.checks {
		word := "ok: "
		if !c.ok {
			word = "FAILED: "
		}
		text := word + c.text
		if width > 0 {
			text = wrapped(width, text)
		} else {
			text += "\n" // One line per check, for grep.
		}
		_, _ = io.WriteString(out, text)
	}
}

// quantile returns a quantile of sorted durations, in milliseconds.
func quantile(sorted []time.Duration, q float64) string {
	if len(sorted) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f ms", sorted[int(q*float64(len(sorted)-1))].Seconds()*1000)
}
