package pawl_test

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

func (m *model) permits(channel *string) (n int) {
	for _, h := range m.claims {
		if h.permit && (channel == nil || h.job.channel == *channel) {
			n++
		}
	}
	return n
}

// room returns how many more jobs of a channel may run.
func (m *model) room(channel string) int {
	n := 1 << 30
	if most := m.policy.MaxRunning; most > 0 {
		n = most - m.permits(nil)
	}
	if most := m.policy.ChannelMaxRunning; most > 0 {
		n = min(n, most-m.permits(&channel))
	}
	return max(n, 0)
}

// claim checks the jobs that a claim of n returned, and marks them as running.
func (m *model) claim(n int, fresh bool, infos pawl.Jobs) error {
	m.promote()
	var free []*mJob
	for _, j := range m.jobs {
		if j.state == pawlstate.Ready && !m.paused && m.room(j.channel) > 0 {
			free = append(free, j)
		}
	}
	if len(infos) == 0 {
		if len(free) > 0 {
			return fmt.Errorf("the claim found nothing; job %d might have been had", free[0].n)
		}
		return nil
	}
	if len(infos) > n {
		return fmt.Errorf("the claim took %d, asked for %d", len(infos), n)
	}
	taken := map[*mJob]bool{}
	per := map[string]int{}
	for _, info := range infos {
		j := m.byID[info.ID]
		switch {
		case j == nil:
			return fmt.Errorf("the claim took %d, which is unknown", info.ID)
		case !slices.Contains(free, j):
			return fmt.Errorf("the claim took job %d, which is %s, paused %t, room %d", j.n, j.state, m.paused,
				m.room(j.channel))
		case taken[j]:
			return fmt.Errorf("the claim took job %d twice", j.n)
		case info.Attempt != j.attempt+1:
			return fmt.Errorf("the claim says attempt %d of job %d, want %d", info.Attempt, j.n, j.attempt+1)
		case info.MaxAttempts != m.mostOf(j):
			return fmt.Errorf("the claim says of job %d at most %d attempts, want %d", j.n, info.MaxAttempts, m.mostOf(j))
		case j.crashes >= 2 && len(infos) > 1:
			return fmt.Errorf("the suspect %d was claimed with others", j.n)
		}
		taken[j] = true
		per[j.channel]++
		if per[j.channel] > m.room(j.channel) {
			return fmt.Errorf("the claim took %d of channel %q, there is room for %d", per[j.channel], j.channel,
				m.room(j.channel))
		}
	}
	if most := m.policy.MaxRunning; most > 0 && len(infos) > most-m.permits(nil) {
		return fmt.Errorf("the claim took %d, %d have permits, at most %d may", len(infos), m.permits(nil), most)
	}
	first, urgent := 1<<30, 1<<30
	for _, j := range free {
		urgent = min(urgent, j.lane)
		if taken[j] {
			first = min(first, j.lane)
			continue
		}
		for k := range taken {
			if k.lane == j.lane && k.channel == j.channel && k.place > j.place {
				return fmt.Errorf("the claim took job %d before job %d of the same lane", k.n, j.n)
			}
		}
	}
	if fresh && first > urgent {
		return fmt.Errorf("the claim took from lane %d, there is something in %d", first, urgent)
	}
	lease := &mLease{}
	for _, info := range infos {
		j := m.byID[info.ID]
		limits := m.policy.MaxRunning > 0 || m.policy.ChannelMaxRunning > 0
		m.claims = append(m.claims, &mClaim{info: info, job: j, epoch: j.epoch, constrained: j.constrained, limits: limits,
			lease: lease})
		j.state = pawlstate.Running
		for at, h := range m.keys {
			switch {
			case h.job != j || !h.untilStart:
			case h.kept && !h.past:
				h.live = false
			default:
				delete(m.keys, at)
			}
		}
	}
	for _, h := range m.claims[len(m.claims)-len(infos):] {
		h.permit = h.limits
	}
	return nil
}

// endJob finishes a live job.
func (m *model) endJob(j *mJob, state pawlstate.State, reason string) {
	j.state, j.reason = state, reason
	if !j.constrained {
		return
	}
	for at, h := range m.keys {
		switch {
		case h.job != j:
		case h.kept && !h.past:
			h.live = false
		default:
			delete(m.keys, at)
		}
	}
	became := string(state)
	if state == stateGone {
		became = "deleted"
	}
	m.followups = append(m.followups, mFollowup{j, true, became})
}

// finish is Complete, Fail and Release. It returns the claims that had lost their job.
func (m *model) finish(hs []*mClaim, outcome string, later bool) (lost []*mClaim, settles bool) {
	for _, h := range hs {
		settles = settles || h.constrained
		j := h.job
		if !h.isCurrent() {
			lost = append(lost, h)
		} else {
			used := j.attempt
			if outcome != "snooze" && outcome != "release" {
				used++
			}
			switch {
			case outcome == "complete":
				j.attempt = used
				m.endJob(j, pawlstate.Completed, "")
			case outcome == "cancel":
				j.attempt = used
				m.endJob(j, pawlstate.Cancelled, "")
			case outcome == "dead" || outcome == "retry" && used >= m.mostOf(j):
				reason := "attempts"
				if outcome == "dead" {
					reason = "handler"
				}
				j.attempt = used
				m.endJob(j, pawlstate.Dead, reason)
			default:
				j.attempt = used
				j.epoch++
				if outcome != "release" {
					j.crashes = 0
				}
				if later {
					j.later, j.state = true, pawlstate.Scheduled
				} else {
					m.ready(j, outcome == "release")
					j.place = m.tickets
				}
			}
		}
		h.permit = false
	}
	// Tickets drawn by one statement have no order.
	place := m.tickets
	for _, h := range hs {
		if h.job.state == pawlstate.Ready && !slices.Contains(lost, h) {
			h.job.place = place
		}
	}
	return lost, settles
}

// extend returns the claims that had lost their job.
func (m *model) extend(hs []*mClaim) (lost []*mClaim) {
	var split *mLease
	parts := map[*mLease]bool{}
	for _, h := range hs {
		if !h.isCurrent() {
			lost = append(lost, h)
			continue
		}
		if _, known := parts[h.lease]; !known {
			parts[h.lease] = slices.ContainsFunc(m.claims, func(o *mClaim) bool {
				return o.lease == h.lease && o.isCurrent() && !slices.Contains(hs, o)
			})
		}
	}
	for _, h := range hs {
		if !h.isCurrent() {
			continue
		}
		if !parts[h.lease] {
			h.lease.expired = false
			continue
		}
		if split == nil {
			split = &mLease{}
		}
		h.lease = split
	}
	return lost
}

func (m *model) rescue() {
	place := m.tickets + 1
	held := slices.Clone(m.claims)
	slices.SortStableFunc(held, func(a, b *mClaim) int { return cmp.Compare(a.job.id, b.job.id) })
	for _, h := range held {
		if !h.lease.expired || h.lease.gone || !h.isCurrent() {
			continue
		}
		j := h.job
		j.crashes++
		if j.crashes >= 3 {
			m.endJob(j, pawlstate.Dead, "poison")
			continue
		}
		j.epoch++
		m.ready(j, true)
		j.place = place
	}
	for _, h := range m.claims {
		h.lease.gone = h.lease.gone || h.lease.expired
	}
	m.tickets = max(m.tickets, place)
}
