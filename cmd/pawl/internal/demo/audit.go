package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pawlhq/pawl"
)

// result holds the figures and the checks of the end.
type result struct {
	kinds    []kindResult // The last is the sum.
	inserted time.Duration
	took     time.Duration // From the first insert to the end of the last job.
	checks   []check
}

type kindResult struct {
	kind                               string
	inserted, completed, retried, dead int
	rescued                            int
	waits                              []time.Duration // From insert to start, sorted.
}

type check struct {
	ok   bool
	text string
}

type checker func(context.Context, *result, *load) error

// audit compares the inserted jobs with the tables. It does not rely on the reports of the workers.
func (db *database) audit(ctx context.Context, load *load, crew *crew) (*result, error) {
	r := &result{}
	all := kindResult{kind: "all"}
	crew.mu.Lock()
	defer crew.mu.Unlock()
	for _, kind := range kinds {
		k := kindResult{kind: kind, inserted: len(load.ids[kind]), waits: crew.waits[kind]}
		err := db.pool.QueryRow(ctx, `
			select count(*) filter (where state = 'completed'), count(*) filter (where attempt > 1),
			       count(*) filter (where state = 'dead'),
			       count(*) filter (where exists (select from unnest($2::bigint[], $3::integer[]) as u (id, epoch)
			                                      where u.id = x.id and u.epoch < x.epoch))
			from (select id, epoch, kind, state, attempt from pawl_demo.archive
			      union all select id, epoch, kind, 'dead', attempt from pawl_demo.dead) x
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
	err := db.pool.QueryRow(ctx, `
		select max(created_at) - min(created_at), max(finished_at) - min(created_at)
		from (select created_at, finished_at from pawl_demo.archive
		      union all select created_at, finished_at from pawl_demo.dead) x`).
		Scan(&r.inserted, &r.took)
	if err != nil {
		return nil, err
	}
	for _, check := range []checker{db.checkInvoices, db.checkLost, db.checkUndone, db.checkViolations} {
		if err := check(ctx, r, load); err != nil {
			return nil, err
		}
	}
	r.add(all.dead == load.hopeless, "%d jobs are dead: the %d that always fail", all.dead, load.hopeless)
	r.add(all.rescued > 0 && crew.rescued > 0, "%d jobs of the killed worker were rescued and finished", all.rescued)
	return r, nil
}

func (r *result) add(ok bool, format string, args ...any) {
	r.checks = append(r.checks, check{ok, fmt.Sprintf(format, args...)})
}

func (db *database) checkInvoices(ctx context.Context, r *result, load *load) error {
	var orders, rows, distinct, missing, strange int
	err := db.pool.QueryRow(ctx, `
		select (select count(*) from pawl_demo_app.orders),
		       count(*), count(distinct order_id),
		       (select count(*) from pawl_demo_app.orders o where not exists (
		         select from pawl_demo_app.invoice i where i.order_id = o.id and i.cents = o.cents)),
		       count(*) filter (where not exists (select from pawl_demo_app.orders o where o.id = order_id))
		from pawl_demo_app.invoice`).Scan(&orders, &rows, &distinct, &missing, &strange)
	r.add(orders == load.want["invoice"] && rows == orders && distinct == orders && missing+strange == 0,
		"every invoice was written exactly once: %d orders, %d invoices, %d distinct, %d missing, %d twice",
		orders, rows, distinct, missing, rows-distinct)
	return err
}

func (db *database) checkLost(ctx context.Context, r *result, load *load) error {
	all := r.kinds[len(r.kinds)-1]
	var lost, live int
	err := db.pool.QueryRow(ctx, `
		select (select count(*) from unnest($1::bigint[]) as u (id)
		        where (select count(*) from pawl_demo.find_archived(array[u.id]))
		            + (select count(*) from pawl_demo.dead d where d.id = u.id) <> 1),
		       (select count(*) from pawl_demo.job)`, load.inserted()).Scan(&lost, &live)
	r.add(lost == 0 && live == 0 && all.inserted == load.total() && all.inserted == all.completed+all.dead,
		"no job was lost: %d inserted = %d completed + %d dead", all.inserted, all.completed, all.dead)
	return err
}

func (db *database) checkUndone(ctx context.Context, r *result, load *load) error {
	if len(load.undone) == 0 {
		return nil
	}
	found := 0
	for _, id := range load.undone {
		if _, err := db.client.Get(ctx, id); err == nil {
			found++
		} else if !errors.Is(err, pawl.ErrNotFound) {
			return err
		}
	}
	r.add(found == 0, "%d jobs of rolled back transactions: %d exist", len(load.undone), found)
	return nil
}

func (db *database) checkViolations(ctx context.Context, r *result, _ *load) error {
	violations, err := db.client.Verify(ctx)
	r.add(len(violations) == 0, "verify finds %s", describe(violations))
	return err
}

func describe(violations []pawl.Finding) string {
	if len(violations) == 0 {
		return "no violation"
	}
	var all []string
	for _, f := range violations {
		all = append(all, f.Problem)
	}
	return strings.Join(all, "; ")
}

// failed returns an error if a check failed.
func (r *result) failed() error {
	for _, c := range r.checks {
		if !c.ok {
			return errors.New("demo: a check failed: " + c.text)
		}
	}
	return nil
}
