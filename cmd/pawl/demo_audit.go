package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/pawlhq/pawl"
)

// demoResult is what the books say at the end.
type demoResult struct {
	kinds    []kindResult // The last is their sum.
	inserted time.Duration
	took     time.Duration // From the first insert to the last job's finish.
	checks   []demoCheck
}

type kindResult struct {
	kind                               string
	inserted, completed, retried, dead int
	rescued                            int
	waits                              []time.Duration // Sorted.
}

type demoCheck struct {
	ok   bool
	text string
}

// audit compares what was inserted with what is in the tables; it does not believe what the workers told.
func (b *demoDatabase) audit(ctx context.Context, load *demoLoad, crew *crew) (*demoResult, error) {
	r := &demoResult{}
	all := kindResult{kind: "all"}
	crew.mu.Lock()
	defer crew.mu.Unlock()
	for _, kind := range demoKinds {
		k := kindResult{kind: kind, inserted: len(load.ids[kind]), waits: crew.waits[kind]}
		err := b.pool.QueryRow(ctx, `
			select count(*) filter (where state = 'completed'), count(*) filter (where attempt > 1), count(*) filter (where state = 'dead'),
			       count(*) filter (where exists (select from unnest($2::bigint[], $3::integer[]) as u (id, epoch) where u.id = x.id and u.epoch < x.epoch))
			from (select id, epoch, kind, state, attempt from pawl_demo.archive union all select id, epoch, kind, 'dead', attempt from pawl_demo.dead) x
			where kind = $1`, kind, load.orphans.ids, load.orphans.epochs).Scan(&k.completed, &k.retried, &k.dead, &k.rescued)
		if err != nil {
			return nil, err
		}
		slices.Sort(k.waits)
		r.kinds = append(r.kinds, k)
		all.inserted += k.inserted
		all.completed += k.completed
		all.retried += k.retried
		all.rescued += k.rescued
		all.dead += k.dead
		all.waits = append(all.waits, k.waits...)
	}
	slices.Sort(all.waits)
	r.kinds = append(r.kinds, all)
	err := b.pool.QueryRow(ctx, `
		select max(created_at) - min(created_at), max(finished_at) - min(created_at)
		from (select created_at, finished_at from pawl_demo.archive union all select created_at, finished_at from pawl_demo.dead) x`).
		Scan(&r.inserted, &r.took)
	if err != nil {
		return nil, err
	}
	for _, check := range []func(context.Context, *demoResult, *demoLoad) error{b.checkInvoices, b.checkLost, b.checkUndone, b.checkInvariant} {
		if err := check(ctx, r, load); err != nil {
			return nil, err
		}
	}
	r.check(all.dead == load.hopeless, "%d jobs are dead: the %d made to fail every time", all.dead, load.hopeless)
	r.check(all.rescued > 0 && crew.rescued > 0, "%d jobs held by the killed worker were rescued and finished", all.rescued)
	return r, nil
}

func (r *demoResult) check(ok bool, format string, args ...any) {
	r.checks = append(r.checks, demoCheck{ok, fmt.Sprintf(format, args...)})
}

func (b *demoDatabase) checkInvoices(ctx context.Context, r *demoResult, load *demoLoad) error {
	var orders, rows, distinct, missing, strange int
	err := b.pool.QueryRow(ctx, `
		select (select count(*) from pawl_demo_app.orders),
		       count(*), count(distinct order_id),
		       (select count(*) from pawl_demo_app.orders o where not exists (select from pawl_demo_app.invoice i where i.order_id = o.id and i.cents = o.cents)),
		       count(*) filter (where not exists (select from pawl_demo_app.orders o where o.id = order_id))
		from pawl_demo_app.invoice`).Scan(&orders, &rows, &distinct, &missing, &strange)
	r.check(orders == load.want["invoice"] && rows == orders && distinct == orders && missing+strange == 0,
		"every invoice was written exactly once: %d orders, %d invoices, %d distinct, %d missing, %d twice", orders, rows, distinct, missing, rows-distinct)
	return err
}

func (b *demoDatabase) checkLost(ctx context.Context, r *demoResult, load *demoLoad) error {
	all := r.kinds[len(r.kinds)-1]
	var lost, live int
	err := b.pool.QueryRow(ctx, `
		select (select count(*) from unnest($1::bigint[]) as u (id)
		        where (select count(*) from pawl_demo.archive a where a.id = u.id) + (select count(*) from pawl_demo.dead d where d.id = u.id) <> 1),
		       (select count(*) from pawl_demo.job)`, load.inserted()).Scan(&lost, &live)
	r.check(lost == 0 && live == 0 && all.inserted == load.total() && all.inserted == all.completed+all.dead,
		"no job was lost: %d inserted = %d completed + %d dead", all.inserted, all.completed, all.dead)
	return err
}

func (b *demoDatabase) checkUndone(ctx context.Context, r *demoResult, load *demoLoad) error {
	if len(load.undone) == 0 {
		return nil
	}
	found := 0
	for _, id := range load.undone {
		if _, err := b.client.Get(ctx, id); err == nil {
			found++
		} else if !errors.Is(err, pawl.ErrNotFound) {
			return err
		}
	}
	r.check(found == 0, "%d jobs of rolled back transactions: %d exist", len(load.undone), found)
	return nil
}

func (b *demoDatabase) checkInvariant(ctx context.Context, r *demoResult, _ *demoLoad) error {
	findings, err := b.client.Verify(ctx)
	r.check(len(findings) == 0, "verify finds %s", orNothing(findings))
	return err
}

func orNothing(findings []pawl.Finding) string {
	if len(findings) == 0 {
		return "nothing broken"
	}
	var all []string
	for _, f := range findings {
		all = append(all, f.Problem)
	}
	return strings.Join(all, "; ")
}

// failed is an error if a check did not hold.
func (r *demoResult) failed() error {
	for _, c := range r.checks {
		if !c.ok {
			return errors.New("demo: a check failed: " + c.text)
		}
	}
	return nil
}

// print writes the summary; width 0 is no terminal.
func (r *demoResult) print(out io.Writer, width int) {
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
		w.Flush()
		fmt.Fprintln(out)
		for line := range strings.Lines(text.String()) {
			io.WriteString(out, line[gap:]) // The first column needs none.
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
		wrapped(width, "p50 and p99 are from insert to start, of jobs ready at once; emails wait in a flood of one tenant's."),
		wrapped(width, fmt.Sprintf("%d jobs inserted in %.1f s (%.0f/s), all finished after %.1f s (%.0f/s): the demo's pace, not the queue's limit.",
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
			text += "\n" // One line a check, for whoever greps.
		}
		io.WriteString(out, text)
	}
}

// quantile is of sorted durations.
func quantile(sorted []time.Duration, q float64) string {
	if len(sorted) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f ms", sorted[int(q*float64(len(sorted)-1))].Seconds()*1000)
}
