package pawl_test

import (
	"cmp"
	"slices"

	"github.com/pawlhq/pawl/pawlstate"
)

// remove is Cancel and Delete by id. It returns the number of changed jobs.
func (m *model) remove(jobs []*mJob, keep bool) (n int64) {
	jobs = slices.Clone(jobs)
	slices.SortFunc(jobs, func(a, b *mJob) int { return cmp.Compare(a.id, b.id) })
	for _, j := range jobs {
		switch {
		case j.live() && keep:
			m.endJob(j, pawlstate.Cancelled, "")
			n++
		case j.live():
			m.endJob(j, stateGone, "")
			n++
		case !keep && j.state != stateGone:
			j.state = stateGone
			n++
		}
	}
	return n
}

func (m *model) keyIsFree(j *mJob) bool {
	h := m.keys[[2]string{j.scope, j.key}]
	return j.key == "" || h == nil || h.job == j || !h.live && (!h.kept || h.past)
}

func (m *model) retry(jobs []*mJob) (n int64) {
	jobs = slices.Clone(jobs)
	slices.SortFunc(jobs, func(a, b *mJob) int { return cmp.Compare(a.id, b.id) })
	var risen []*mJob
	place := m.tickets + 1
	for _, j := range jobs {
		switch {
		case (j.state == pawlstate.Dead || j.state == pawlstate.Cancelled) && m.keyIsFree(j):
			n++
			j.epoch++
			j.crashes, j.later, j.reason = 0, false, ""
			if j.attempt >= m.mostOf(j) {
				j.most = j.attempt + 1
			}
			j.constrained = j.ordered || j.key != "" ||
				slices.ContainsFunc(m.dependencies, func(w mDependency) bool { return w.parent == j })
			if j.constrained {
				j.state = pawlstate.Waiting
				risen = append(risen, j)
			} else {
				m.ready(j, false)
				j.place = place
			}
		case j.state == pawlstate.Scheduled:
			n++
			j.epoch++
			m.ready(j, false)
			j.place = place
		}
	}
	for _, j := range risen {
		if j.key != "" {
			at := [2]string{j.scope, j.key}
			h := m.keys[at]
			if h == nil || h.job != j && h.past {
				h = &mUniqueKey{}
				m.keys[at] = h
			}
			h.job, h.live, h.untilStart = j, true, j.untilStart
		}
		if j.ordered {
			m.followups = slices.DeleteFunc(m.followups, func(l mFollowup) bool { return l.job == j })
			pos := float64(j.id)
			m.leave(j)
			if line := m.lines[j.channel]; m.halted[j.channel] == j {
				delete(m.halted, j.channel)
			} else if slices.ContainsFunc(m.dependencies, func(w mDependency) bool { return w.parent == j }) {
				ticket := []pawlstate.State{pawlstate.Ready, pawlstate.Scheduled, pawlstate.Running}
				if len(line) > 0 && line[0].pos > pos && slices.Contains(ticket, line[0].job.state) {
					line[0].pos, pos = pos, line[0].pos
				}
			} else {
				m.revived += 1e-4
				pos = float64(m.jobs[len(m.jobs)-1].id) + m.revived
			}
			m.enqueue(j, pos)
			m.issue(m.lines[j.channel][0].job)
		}
		m.issue(j)
	}
	return n
}

// runFollowups makes one pass. It reports whether another pass may find more.
func (m *model) runFollowups() (more bool) {
	ends := m.followups
	m.followups = nil
	for _, end := range ends {
		j := end.job
		if end.own && j.ordered {
			if m.leave(j) && end.became == "dead" && m.policy.HaltOnDead && m.halted[j.channel] == nil {
				m.halted[j.channel] = j
			}
			if line := m.lines[j.channel]; len(line) > 0 {
				m.issue(line[0].job)
			}
		}
		var mine []mDependency
		for _, w := range m.dependencies {
			if w.parent == j {
				mine = append(mine, w)
			}
		}
		slices.SortStableFunc(mine, func(a, b mDependency) int { return cmp.Compare(a.child.id, b.child.id) })
		drop := func(which func(mDependency) bool) { m.dependencies = slices.DeleteFunc(m.dependencies, which) }
		for _, w := range mine {
			switch {
			case !w.child.live():
				drop(func(o mDependency) bool { return o.child == w.child })
			case w.on == "any" || w.on == "ok" && end.became == "completed" || w.on == "not_ok" &&
				(end.became == "dead" || end.became == "cancelled"):
				drop(func(o mDependency) bool { return o == w })
				m.issue(w.child)
			case !(w.keepWaiting && end.became == "dead"):
				drop(func(o mDependency) bool { return o.child == w.child })
				m.remove([]*mJob{w.child}, true)
				more = true
			}
		}
	}
	return more
}

func (m *model) runAllFollowups() {
	for len(m.followups) > 0 && m.runFollowups() {
	}
}

func (m *model) expire() {
	for at, h := range m.keys {
		if !h.live && h.past {
			delete(m.keys, at)
		}
	}
	for _, j := range m.jobs {
		if j.state == pawlstate.Reserved && j.lapsed {
			m.endJob(j, stateGone, "")
		}
	}
}

func (m *model) change(j *mJob, later *bool, priority *int, most int) (became string) {
	switch {
	case !j.live():
		return ""
	case j.ordered && priority != nil && *priority != 0:
		return "ordered"
	case j.state == pawlstate.Running:
		return "running"
	}
	j.epoch++
	if later != nil {
		j.later = *later
	}
	if priority != nil {
		j.priority = *priority
	}
	j.most = cmp.Or(most, j.most)
	if j.state == pawlstate.Ready || j.state == pawlstate.Scheduled {
		m.ticket(j)
	}
	return "changed"
}

// promote makes due jobs ready. Each claim begins with it.
func (m *model) promote() {
	for _, j := range m.jobs {
		if j.state == pawlstate.Scheduled && !j.later {
			place := m.tickets + 1 // Those moved together have no order.
			m.ready(j, false)
			j.place = place
			m.tickets = place - 1
		}
	}
	m.tickets++
}
