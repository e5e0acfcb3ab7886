package pawl_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl"
)

func (w *world) insert(r *rand.Rand) error {
	specs := make([]mSpec, []int{1, 1, 1, 2, 3}[r.IntN(5)])
	for i := range specs {
		s := &specs[i].spec
		s.Args = Note{len(w.model.jobs)}
		s.Channel = []string{"", "a", "a", "b"}[r.IntN(4)]
		if chance(r, 4) {
			s.Delay = hour
		}
		if chance(r, 5) {
			s.MaxAttempts = 1 + r.IntN(2)
		}
		if chance(r, 3) {
			s.Ordered = true
		} else if chance(r, 4) {
			s.Priority = r.IntN(3) - 1
		}
		if chance(r, 4) {
			s.Unique = pawl.Unique{Key: []string{"x", "y"}[r.IntN(2)], Global: chance(r, 4), UntilStart: chance(r, 3),
				Replace: chance(r, 4), Reschedule: chance(r, 4)}
			if chance(r, 3) {
				s.Unique.Period = hour
			}
		}
		if chance(r, 6) {
			s.Reserve = hour
		}
		for chance(r, 5) {
			if parent, ok := pick(r, w.model.jobs); ok {
				specs[i].parents = append(specs[i].parents, parent)
				list := []*[]pawl.ID{&s.AfterOK, &s.AfterAny, &s.AfterNotOK}[r.IntN(3)]
				if !slices.Contains(*list, parent.id) {
					*list = append(*list, parent.id)
				}
				s.KeepWaiting = chance(r, 3)
			}
		}
		w.say("{%s}", specText(w.model, *s))
	}
	jobs := make([]pawl.JobSpec, len(specs))
	for i := range specs {
		jobs[i] = specs[i].spec
	}
	var results []pawl.InsertResult
	var wrong error
	err := w.do(r, func(c *pawl.Client) error {
		if len(jobs) > 1 {
			var err error
			results, err = c.InsertMany(w.ctx, jobs)
			return err
		}
		result, err := c.Insert(w.ctx, jobs[0])
		results = []pawl.InsertResult{result}
		return err
	}, func() bool { wrong = w.model.insert(specs, results); return false })
	return errors.Join(err, wrong)
}

func specText(m *model, s pawl.JobSpec) string {
	var parts []string
	add := func(yes bool, format string, args ...any) {
		if yes {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	names := func(ids []pawl.ID) (list []int) {
		for _, id := range ids {
			list = append(list, m.byID[id].n)
		}
		return list
	}
	add(s.Channel != "", "channel %s", s.Channel)
	add(s.Ordered, "ordered")
	add(s.Priority != 0, "priority %d", s.Priority)
	add(s.Delay > 0, "later")
	add(s.MaxAttempts > 0, "attempts %d", s.MaxAttempts)
	add(s.Unique.Key != "", "unique %+v", s.Unique)
	add(s.Reserve > 0, "reserved")
	add(s.AfterOK != nil, "after ok %v", names(s.AfterOK))
	add(s.AfterAny != nil, "after any %v", names(s.AfterAny))
	add(s.AfterNotOK != nil, "after not ok %v", names(s.AfterNotOK))
	add(s.KeepWaiting, "hold")
	return strings.Join(parts, ", ")
}

func (w *world) claim(r *rand.Rand) error {
	n := []int{1, 1, 2, 3, 10}[r.IntN(5)]
	w.say("%d", n)
	var jobs pawl.Jobs
	var err error
	fresh := true
	switch dice := r.IntN(10); {
	case dice < 5:
		// A client that knows lanes rescues once a second: let there be nothing to rescue.
		if err := w.rescue(r); err != nil {
			return err
		}
		fresh = false
		jobs, err = w.client.Claim(w.ctx, "default", n, hour)
	case dice < 7:
		w.say("(by a new client)")
		w.model.rescue()
		jobs, err = w.fresh().Claim(w.ctx, "default", n, hour)
	default:
		w.say("(in a transaction)")
		back := dice == 9
		err = pgx.BeginFunc(w.ctx, w.pool, func(tx pgx.Tx) error {
			if jobs, err = w.client.With(tx).Claim(w.ctx, "default", n, hour); err == nil && back {
				return errRolledBack
			}
			return err
		})
		if errors.Is(err, errRolledBack) {
			w.say("(rolled back)")
			return nil
		}
	}
	if err != nil {
		return err
	}
	for _, info := range jobs {
		if j := w.model.byID[info.ID]; j != nil {
			w.say("-> %d", j.n)
		}
	}
	return w.model.claim(n, fresh, jobs)
}

// holders chooses the claims of one to three jobs, sometimes lost ones.
func (w *world) holders(r *rand.Rand) (hs []*mClaim) {
	list := w.model.claims
	if !chance(r, 4) {
		list = nil
		for _, h := range w.model.claims {
			if h.isCurrent() {
				list = append(list, h)
			}
		}
	}
	for range []int{1, 1, 1, 2, 3}[r.IntN(5)] {
		if h, ok := pick(r, list); ok && !slices.ContainsFunc(hs, func(o *mClaim) bool { return o.job == h.job }) {
			hs = append(hs, h)
		}
	}
	slices.SortFunc(hs, func(a, b *mClaim) int { return a.job.n - b.job.n })
	for _, h := range hs {
		w.say("%d", h.job.n)
		if !h.isCurrent() {
			w.say("(lost)")
		}
	}
	return hs
}

func infos(hs []*mClaim) (jobs pawl.Jobs) {
	for _, h := range hs {
		jobs = append(jobs, h.info)
	}
	return jobs
}

// lostJobs compares the jobs that an error reports as lost with the claims that lost their job. It returns any other
// error.
func lostJobs(hs []*mClaim, err error) (lost []*mClaim, other error) {
	var several pawl.JobErrors
	switch {
	case err == nil:
		return nil, nil
	case !errors.Is(err, pawl.ErrLeaseLost):
		return nil, err
	case errors.As(err, &several):
		for _, h := range hs {
			if errors.Is(several[h.job.id], pawl.ErrLeaseLost) {
				lost = append(lost, h)
			}
		}
		return lost, nil
	default:
		return hs, nil
	}
}

// finish runs a verb on claimed jobs.
func (w *world) finish(r *rand.Rand, outcome string, later bool, verb func(*pawl.Client, pawl.Jobs) error) error {
	hs := w.holders(r)
	if len(hs) == 0 {
		return nil
	}
	var lost []*mClaim
	for _, h := range hs {
		if !h.isCurrent() {
			lost = append(lost, h)
		}
	}
	var heard []*mClaim
	err := w.do(r, func(c *pawl.Client) (err error) {
		heard, err = lostJobs(hs, verb(c, infos(hs)))
		return err
	}, func() (settles bool) {
		_, settles = w.model.finish(hs, outcome, later)
		return settles
	})
	if err == nil && !slices.Equal(heard, lost) {
		err = fmt.Errorf("%d were told that they had lost, want %d", len(heard), len(lost))
	}
	return err
}

func (w *world) complete(r *rand.Rand) error {
	archive := chance(r, 5)
	return w.finish(r, "complete", false, func(c *pawl.Client, jobs pawl.Jobs) error {
		for _, job := range jobs {
			job.Keep = archive
		}
		return c.Complete(w.ctx, jobs)
	})
}

func (w *world) fail(r *rand.Rand) error {
	outcomes := []struct {
		name  string
		later bool
		err   error
	}{
		{"retry", true, errBoom}, {"retry", false, pawl.RetryAfter(0, errBoom)},
		{"retry", true, pawl.RetryAfter(hour, errBoom)},
		{"snooze", false, pawl.Snooze(0)}, {"snooze", true, pawl.Snooze(hour)}, {"cancel", false, pawl.Cancel(errBoom)},
		{"dead", false, pawl.Dead(errBoom)},
		{"dead", false, pawl.Dead(errBoom)},
	}
	o, _ := pick(r, outcomes)
	w.say("%s, later %t:", o.name, o.later)
	return w.finish(r, o.name, o.later, func(c *pawl.Client, jobs pawl.Jobs) error { return c.Fail(w.ctx, jobs, o.err) })
}

func (w *world) release(r *rand.Rand) error {
	after := []time.Duration{0, 0, hour}[r.IntN(3)]
	w.say("%v:", after)
	return w.finish(r, "release", after > 0, func(c *pawl.Client, jobs pawl.Jobs) error {
		return c.Release(w.ctx, jobs, after)
	})
}

func (w *world) extend(r *rand.Rand) error {
	hs := w.holders(r)
	if len(hs) == 0 {
		return nil
	}
	heard, err := lostJobs(hs, w.client.Extend(w.ctx, infos(hs), 2*hour))
	if lost := w.model.extend(hs); err == nil && !slices.Equal(heard, lost) {
		err = fmt.Errorf("%d were told that they had lost, want %d", len(heard), len(lost))
	}
	return err
}

// lose expires the lease of a claim.
func (w *world) lose(r *rand.Rand) error {
	hs := w.holders(r)
	if len(hs) == 0 {
		return nil
	}
	h := hs[0]
	if !h.isCurrent() {
		return nil
	}
	h.lease.expired = true
	return w.exec(`update pawl.lease l set expires_at = clock_timestamp() - interval '1 second'
		where exists (select from unnest(l.jobs, l.epochs) u (id, epoch) where u.id = $1 and u.epoch =
			$2)`, int64(h.job.id), h.epoch)
}

func (w *world) rescue(*rand.Rand) error {
	w.model.rescue()
	return w.exec("select * from pawl.rescue(1000, true, true)")
}

// reclaim drops the permits of expired leases. It may only drop permits of claims that have lost their job.
func (w *world) reclaim(*rand.Rand) error {
	if err := w.exec("select pawl.drop_stale_permits()"); err != nil {
		return err
	}
	rows, _ := w.pool.Query(w.ctx, "select job_id from pawl.permit")
	list, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return err
	}
	left := map[pawl.ID]int{}
	for _, id := range list {
		left[pawl.ID(id)]++
	}
	for _, h := range w.model.claims {
		switch {
		case !h.permit || h.isCurrent():
		case h.lease.gone:
			h.permit = false
		default:
			have := 0
			for _, o := range w.model.claims {
				if o.permit && o.job == h.job && !o.lease.gone {
					have++
				}
			}
			h.permit = have <= left[h.job.id]
		}
	}
	return nil
}
