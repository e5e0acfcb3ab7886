package pawl_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

func (w *world) removal(r *rand.Rand, keep bool, verb func(*pawl.Client, pawl.Selector) (int64, error)) error {
	if chance(r, 3) { // By claims, fenced.
		hs := w.holders(r)
		if len(hs) == 0 {
			return nil
		}
		var ours []*mJob
		for _, h := range hs {
			if h.isCurrent() {
				ours = append(ours, h.job)
			}
		}
		var n int64
		err := w.do(r, func(c *pawl.Client) (err error) { n, err = verb(c, infos(hs)); return err },
			func() bool { w.model.remove(ours, keep); return len(ours) > 0 })
		if err == nil && n != int64(len(ours)) {
			err = fmt.Errorf("%d were removed, want %d", n, len(ours))
		}
		return err
	}
	jobs := w.some(r, (*mJob).live)
	if len(jobs) == 0 {
		return nil
	}
	var n int64
	done, want := false, int64(0)
	err := w.do(r, func(c *pawl.Client) (err error) { n, err = verb(c, pawl.Filter{IDs: idsOf(jobs)}); return err },
		func() bool { done, want = true, w.model.remove(jobs, keep); return want > 0 })
	if err == nil && done && n != want {
		err = fmt.Errorf("%d were removed, want %d", n, want)
	}
	return err
}

func (w *world) cancel(r *rand.Rand) error {
	return w.removal(r, true, func(c *pawl.Client, which pawl.Selector) (int64, error) { return c.Cancel(w.ctx, which) })
}

func (w *world) delete(r *rand.Rand) error {
	return w.removal(r, false, func(c *pawl.Client, which pawl.Selector) (int64, error) { return c.Delete(w.ctx, which) })
}

func (w *world) retry(r *rand.Rand) error {
	jobs := w.some(r, func(j *mJob) bool {
		return j.state == pawlstate.Dead || j.state == pawlstate.Cancelled || j.state == pawlstate.Scheduled
	})
	// Two of one key at once are an error.
	keys := map[string]bool{}
	jobs = slices.DeleteFunc(jobs, func(j *mJob) bool {
		at := j.scope + "/" + j.key
		twice := j.key != "" && keys[at]
		keys[at] = true
		return twice
	})
	if len(jobs) == 0 {
		return nil
	}
	var n int64
	done, want := false, int64(0)
	err := w.do(r, func(c *pawl.Client) (err error) { n, err = c.Retry(w.ctx, pawl.Filter{IDs: idsOf(jobs)}); return err },
		func() bool { done, want = true, w.model.retry(jobs); return false })
	if err == nil && done && n != want {
		err = fmt.Errorf("%d are retried, want %d", n, want)
	}
	return err
}

func (w *world) reservation(r *rand.Rand, verb func(*pawl.Client, []pawl.ID) error, then func(*mJob)) error {
	jobs := w.some(r, func(j *mJob) bool { return j.state == pawlstate.Reserved })
	if len(jobs) == 0 {
		return nil
	}
	expired := slices.ContainsFunc(jobs, func(j *mJob) bool { return j.state != pawlstate.Reserved || j.lapsed })
	slices.SortFunc(jobs, func(a, b *mJob) int { return a.n - b.n })
	err := w.do(r, func(c *pawl.Client) error { return verb(c, idsOf(jobs)) }, func() bool {
		for _, j := range jobs {
			if !expired {
				then(j)
			}
		}
		return false
	})
	switch {
	case expired && errors.Is(err, pawl.ErrExpired):
		return nil
	case expired:
		return fmt.Errorf("got %w, want ErrExpired", err)
	}
	return err
}

func (w *world) commit(r *rand.Rand) error {
	return w.reservation(r, func(c *pawl.Client, ids []pawl.ID) error { return c.CommitReserved(w.ctx, ids...) },
		func(j *mJob) { j.state = pawlstate.Waiting; w.model.issue(j) })
}

func (w *world) abort(r *rand.Rand) error {
	return w.reservation(r, func(c *pawl.Client, ids []pawl.ID) error { return c.AbortReserved(w.ctx, ids...) },
		func(j *mJob) { w.model.endJob(j, stateGone, "") })
}

func (w *world) keep(r *rand.Rand) error {
	return w.reservation(r, func(c *pawl.Client, ids []pawl.ID) error {
		return c.ExtendReserved(w.ctx, 2*hour, ids...)
	}, func(*mJob) {})
}

// makeDue makes all scheduled jobs due; see the function of this name.
func (w *world) makeDue(*rand.Rand) error {
	for _, j := range w.model.jobs {
		if j.state == pawlstate.Scheduled {
			j.later = false
		}
	}
	return pgx.BeginFunc(w.ctx, w.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(w.ctx, `select pg_current_xact_id(); with moved as (update pawl.scheduled s set run_at =
			clock_timestamp() returning s.job_id, s.run_at)
			update pawl.job j set run_at = m.run_at from moved m where j.id = m.job_id`)
		return err
	})
}

// passReservations passes the time limits of reservations and of kept keys.
func (w *world) passReservations(*rand.Rand) error {
	for _, j := range w.model.jobs {
		j.lapsed = j.lapsed || j.state == pawlstate.Reserved
	}
	for _, h := range w.model.keys {
		h.past = h.kept
	}
	return w.exec(`update pawl.blocked set expires_at = clock_timestamp() - interval '1 second' where expires_at is not
		null;
		update pawl.unique_key set keep_until = clock_timestamp() - interval '1 second' where keep_until is not null`)
}

func (w *world) expire(*rand.Rand) error {
	w.model.expire()
	return w.exec("select pawl.expire(1000)")
}

func (w *world) change(r *rand.Rand) error {
	jobs := w.some(r, (*mJob).live)
	if len(jobs) == 0 {
		return nil
	}
	slices.SortFunc(jobs, func(a, b *mJob) int { return a.n - b.n })
	var later *bool
	var priority *int
	most := 0
	var parts []string
	if chance(r, 2) {
		yes := chance(r, 2)
		later = &yes
		parts = append(parts, fmt.Sprintf(`"delay": %d`, map[bool]int{true: 3600}[yes]))
	}
	if chance(r, 2) {
		p := r.IntN(3) - 1
		priority = &p
		parts = append(parts, fmt.Sprintf(`"priority": %d`, p))
	}
	if chance(r, 3) {
		most = 1 + r.IntN(3)
		parts = append(parts, fmt.Sprintf(`"max_attempts": %d`, most))
	}
	changes := "{" + strings.Join(parts, ", ") + "}"
	w.say("%s", changes)
	ids, want := make([]int64, len(jobs)), []string{}
	for i, j := range jobs {
		ids[i] = int64(j.id)
	}
	rows, _ := w.pool.Query(w.ctx, "select became from pawl.update($1::bigint[], $2::text::jsonb)", ids, changes)
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, j := range jobs {
		if became := w.model.change(j, later, priority, most); became != "" {
			want = append(want, became)
		}
	}
	if err == nil && !slices.Equal(got, want) {
		err = fmt.Errorf("changes became %v, want %v", got, want)
	}
	return err
}

func (w *world) pause(r *rand.Rand) error {
	// Paused, half the verbs have nothing to do: rarely for long.
	if w.model.paused = !w.model.paused && chance(r, 2); w.model.paused {
		w.say("on")
		return w.client.PauseQueue(w.ctx, "default")
	}
	return w.client.ResumeQueue(w.ctx, "default")
}

func (w *world) put(policy pawl.Queue) error {
	policy.Name, policy.Backoff = "default", pawl.Backoff{Base: hour}
	w.model.policy = policy
	return w.client.PutQueue(w.ctx, policy)
}

func (w *world) setPolicy(r *rand.Rand) error {
	policy := pawl.Queue{
		MaxRunning: []int{0, 1, 3}[r.IntN(3)], ChannelMaxRunning: []int{0, 1, 2}[r.IntN(3)], HaltOnDead: chance(r, 2),
		MaxAttempts: []int{0, 2}[r.IntN(2)],
	}
	if chance(r, 3) {
		policy.Weights = map[string]int{"a": 3}
	}
	w.say("%d at once, %d of a channel, halt %t, attempts %d", policy.MaxRunning, policy.ChannelMaxRunning,
		policy.HaltOnDead, policy.MaxAttempts)
	return w.put(policy)
}

func (w *world) runFollowups(*rand.Rand) error {
	w.model.runFollowups()
	return w.exec("select * from pawl.run_followups(1000)")
}

func (w *world) resume(r *rand.Rand) error {
	channel := []string{"", "a", "b"}[r.IntN(3)]
	for _, c := range []string{"", "a", "b"} {
		if w.model.halted[c] != nil && !chance(r, 8) {
			channel = c
		}
	}
	w.say("%q", channel)
	stood := false
	return w.do(r, func(c *pawl.Client) error {
		err := c.ResumeChannel(w.ctx, "default", channel)
		if stood = err == nil; errors.Is(err, pawl.ErrNotFound) {
			err = nil
		}
		if stood != (w.model.halted[channel] != nil) {
			err = fmt.Errorf("resumed %t, stood %t", stood, w.model.halted[channel] != nil)
		}
		return err
	}, func() bool {
		if stood {
			delete(w.model.halted, channel)
			if line := w.model.lines[channel]; len(line) > 0 {
				w.model.issue(line[0].job)
			}
		}
		return false
	})
}
