package pawl_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

// model is what the verbs are to do, in memory. One queue, "default". Time is two moments: now and later.
type model struct {
	jobs    []*mJob // In the order of their ids.
	byID    map[pawl.ID]*mJob
	held    []*mHeld // Every claim of a job ever, the lost ones too.
	holds   map[[2]string]*mHold
	waits   []mWait
	loose   []mLoose
	lines   map[string][]mTurn
	halts   map[string]*mJob
	paused  bool
	policy  pawl.Queue
	tickets int // Drawn so far: the order within a lane.
	revived float64
}

const (
	stateGone   pawlstate.State = "gone"
	laneReturn                  = -32768
	laneSuspect                 = -32769
)

type mJob struct {
	id                     pawl.ID
	n                      int // Its name in a trace.
	state                  pawlstate.State
	reason                 string
	attempt, crashes, most int
	epoch                  int
	channel                string
	priority               int
	ordered, constrained   bool
	key, scope             string
	untilStart             bool
	later                  bool // Its time has not come.
	lapsed                 bool // The time of its reservation has.
	lane, place            int  // Of its ready ticket.
}

type mHold struct {
	job              *mJob
	live, untilStart bool
	kept, past       bool // Kept until a time; that time has come.
}

type mWait struct {
	parent, child *mJob
	on            string
	hold          bool
}

type mLoose struct {
	job    *mJob
	own    bool // Not put down by a child that came too late.
	became string
}

type mTurn struct {
	job *mJob
	pos float64
}

// mLease is a claimed batch.
type mLease struct{ expired, gone bool }

type mHeld struct {
	info        *pawl.JobInfo
	job         *mJob
	epoch       int
	constrained bool
	limits      bool // It was claimed with a permit.
	permit      bool // It has it still.
	lease       *mLease
}

func newModel() *model {
	return &model{byID: map[pawl.ID]*mJob{}, holds: map[[2]string]*mHold{}, lines: map[string][]mTurn{}, halts: map[string]*mJob{}}
}

func (j *mJob) live() bool {
	switch j.state {
	case pawlstate.Completed, pawlstate.Cancelled, pawlstate.Dead, stateGone:
		return false
	}
	return true
}

// ours says whether the claim still has the job.
func (h *mHeld) ours() bool { return h.job.state == pawlstate.Running && h.job.epoch == h.epoch }

func (m *model) mostOf(j *mJob) int {
	return cmp.Or(j.most, m.policy.MaxAttempts, 20)
}

// ready gives a job its ticket in ready.
func (m *model) ready(j *mJob, returned bool) {
	j.state, j.later = pawlstate.Ready, false
	switch {
	case j.crashes >= 2:
		j.lane = laneSuspect
	case returned:
		j.lane = laneReturn
	default:
		j.lane = j.priority
	}
	m.tickets++
	j.place = m.tickets
}

// ticket is for a job that waits for nothing but its time.
func (m *model) ticket(j *mJob) {
	if j.later {
		j.state = pawlstate.Scheduled
	} else {
		m.ready(j, false)
	}
}

func (m *model) issue(j *mJob) {
	if j.state != pawlstate.Waiting {
		return
	}
	for _, w := range m.waits {
		if w.child == j {
			return
		}
	}
	if j.ordered && (m.halts[j.channel] != nil || m.lines[j.channel][0].job != j) {
		return
	}
	m.ticket(j)
}

func (m *model) queueUp(j *mJob, pos float64) {
	m.leave(j)
	line := append(m.lines[j.channel], mTurn{j, pos})
	slices.SortFunc(line, func(a, b mTurn) int { return cmp.Compare(a.pos, b.pos) })
	m.lines[j.channel] = line
}

// leave takes a job out of its line and says whether it was in it.
func (m *model) leave(j *mJob) bool {
	before := len(m.lines[j.channel])
	m.lines[j.channel] = slices.DeleteFunc(m.lines[j.channel], func(t mTurn) bool { return t.job == j })
	return len(m.lines[j.channel]) < before
}

// mSpec is a JobSpec as the model needs it.
type mSpec struct {
	spec    pawl.JobSpec
	parents []*mJob // As in AfterOK, AfterAny, AfterNotOK.
}

func (s *mSpec) isTied() bool {
	return s.spec.Ordered || s.spec.Unique.Key != "" || s.spec.Reserve > 0 || len(s.parents) > 0
}

// insert checks what became of specs, and puts them in.
func (m *model) insert(specs []mSpec, results []pawl.InsertResult) error {
	order := make([]int, len(specs))
	for i := range order {
		order[i] = i
	}
	scope := func(u pawl.Unique) string {
		if u.Global {
			return ""
		}
		return "default"
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := specs[a].spec.Unique, specs[b].spec.Unique
		return cmp.Or(cmp.Compare(scope(x), scope(y)), cmp.Compare(x.Key, y.Key))
	})
	made := make([]*mJob, len(specs))
	changes := make([]func(), len(specs)) // Of jobs of this very call, by duplicates in it.
	for i, s := range specs {
		if results[i].Duplicate {
			continue
		}
		made[i] = &mJob{id: results[i].ID, state: pawlstate.Ready, epoch: -1, channel: s.spec.Channel, priority: s.spec.Priority,
			ordered: s.spec.Ordered, key: s.spec.Unique.Key, untilStart: s.spec.Unique.UntilStart, most: s.spec.MaxAttempts, later: s.spec.Delay > 0,
			constrained: s.spec.Ordered || s.spec.Unique.Key != ""}
		if s.spec.Unique.Key != "" {
			made[i].scope = scope(s.spec.Unique)
		}
		made[i].n = len(m.jobs)
		m.jobs = append(m.jobs, made[i])
		if m.byID[made[i].id] != nil {
			return fmt.Errorf("the id %d was given twice", made[i].id)
		}
		m.byID[made[i].id] = made[i]
	}
	for _, i := range order {
		u := specs[i].spec.Unique
		if u.Key == "" {
			if made[i] == nil {
				return fmt.Errorf("spec %d is a duplicate without a key", i)
			}
			continue
		}
		at := [2]string{scope(u), u.Key}
		has := m.holds[at]
		if has == nil || !has.live && (!has.kept || has.past) {
			if made[i] == nil {
				return fmt.Errorf("spec %d is a duplicate, but nobody has its key", i)
			}
			m.holds[at] = &mHold{job: made[i], live: true, untilStart: u.UntilStart, kept: u.Period > 0}
			continue
		}
		if made[i] != nil {
			return fmt.Errorf("spec %d was put in, but job %d has its key", i, has.job.n)
		}
		if has.job.id != results[i].ID {
			return fmt.Errorf("spec %d is a duplicate of %d, want %d", i, results[i].ID, has.job.id)
		}
		var later *bool
		if yes := true; u.Reschedule && specs[i].spec.Delay > 0 {
			later = &yes
		}
		if u.Replace || later != nil {
			if slices.Contains(made, has.job) {
				changes[i] = func() {
					m.change(has.job, later, nil, 0)
					has.job.epoch = -1
				}
			} else {
				m.change(has.job, later, nil, 0)
			}
		}
	}
	constrained := slices.ContainsFunc(specs, func(s mSpec) bool { return s.isTied() })
	for i, j := range made {
		if j == nil {
			continue
		}
		if !constrained {
			m.ticket(j)
			continue
		}
		j.state = pawlstate.Waiting
		if specs[i].spec.Reserve > 0 {
			j.state = pawlstate.Reserved
		}
		if j.ordered {
			m.queueUp(j, float64(j.id))
		}
	}
	for i, j := range made {
		if j == nil {
			continue
		}
		var waits []mWait
		spec := specs[i].spec
		for _, after := range []struct {
			on  string
			ids []pawl.ID
		}{{"ok", spec.AfterOK}, {"any", spec.AfterAny}, {"not_ok", spec.AfterNotOK}} {
			for _, id := range after.ids {
				waits = append(waits, mWait{m.byID[id], j, after.on, spec.KeepWaiting})
			}
		}
		for _, w := range waits {
			m.waits = append(m.waits, w)
			if w.parent.live() {
				w.parent.constrained = true
				continue
			}
			became := string(w.parent.state)
			if w.parent.state == stateGone {
				became = "deleted"
			}
			m.loose = append(m.loose, mLoose{w.parent, false, became})
		}
	}
	for _, j := range made {
		if j != nil {
			m.issue(j)
		}
	}
	for _, change := range changes {
		if change != nil {
			change()
		}
	}
	return nil
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

// promote is what a claim begins with.
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

func (m *model) permits(channel *string) (n int) {
	for _, h := range m.held {
		if h.permit && (channel == nil || h.job.channel == *channel) {
			n++
		}
	}
	return n
}

// room is how many more of a channel may run by the limits.
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

// claim checks what a claim of n took, and takes it.
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
			return fmt.Errorf("the claim took job %d, which is %s, paused %t, room %d", j.n, j.state, m.paused, m.room(j.channel))
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
			return fmt.Errorf("the claim took %d of channel %q, there is room for %d", per[j.channel], j.channel, m.room(j.channel))
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
		m.held = append(m.held, &mHeld{info: info, job: j, epoch: j.epoch, constrained: j.constrained, limits: limits, lease: lease})
		j.state = pawlstate.Running
		for at, h := range m.holds {
			switch {
			case h.job != j || !h.untilStart:
			case h.kept && !h.past:
				h.live = false
			default:
				delete(m.holds, at)
			}
		}
	}
	for _, h := range m.held[len(m.held)-len(infos):] {
		h.permit = h.limits
	}
	return nil
}

// end finishes a live job.
func (m *model) end(j *mJob, state pawlstate.State, reason string) {
	j.state, j.reason = state, reason
	if !j.constrained {
		return
	}
	for at, h := range m.holds {
		switch {
		case h.job != j:
		case h.kept && !h.past:
			h.live = false
		default:
			delete(m.holds, at)
		}
	}
	became := string(state)
	if state == stateGone {
		became = "deleted"
	}
	m.loose = append(m.loose, mLoose{j, true, became})
}

// answer is Complete, Fail and Release; it says who lost.
func (m *model) answer(hs []*mHeld, outcome string, later bool) (lost []*mHeld, settles bool) {
	for _, h := range hs {
		settles = settles || h.constrained
		j := h.job
		if !h.ours() {
			lost = append(lost, h)
		} else {
			used := j.attempt
			if outcome != "snooze" && outcome != "release" {
				used++
			}
			switch {
			case outcome == "complete":
				j.attempt = used
				m.end(j, pawlstate.Completed, "")
			case outcome == "cancel":
				j.attempt = used
				m.end(j, pawlstate.Cancelled, "")
			case outcome == "dead" || outcome == "retry" && used >= m.mostOf(j):
				reason := "attempts"
				if outcome == "dead" {
					reason = "handler"
				}
				j.attempt = used
				m.end(j, pawlstate.Dead, reason)
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

// extend says who lost.
func (m *model) extend(hs []*mHeld) (lost []*mHeld) {
	var split *mLease
	parts := map[*mLease]bool{}
	for _, h := range hs {
		if !h.ours() {
			lost = append(lost, h)
			continue
		}
		if _, known := parts[h.lease]; !known {
			parts[h.lease] = slices.ContainsFunc(m.held, func(o *mHeld) bool { return o.lease == h.lease && o.ours() && !slices.Contains(hs, o) })
		}
	}
	for _, h := range hs {
		if !h.ours() {
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
	held := slices.Clone(m.held)
	slices.SortStableFunc(held, func(a, b *mHeld) int { return cmp.Compare(a.job.id, b.job.id) })
	for _, h := range held {
		if !h.lease.expired || h.lease.gone || !h.ours() {
			continue
		}
		j := h.job
		j.crashes++
		if j.crashes >= 3 {
			m.end(j, pawlstate.Dead, "poison")
			continue
		}
		j.epoch++
		m.ready(j, true)
		j.place = place
	}
	for _, h := range m.held {
		h.lease.gone = h.lease.gone || h.lease.expired
	}
	m.tickets = max(m.tickets, place)
}

// remove is Cancel and Delete by id; it says how many.
func (m *model) remove(jobs []*mJob, keep bool) (n int64) {
	jobs = slices.Clone(jobs)
	slices.SortFunc(jobs, func(a, b *mJob) int { return cmp.Compare(a.id, b.id) })
	for _, j := range jobs {
		switch {
		case j.live() && keep:
			m.end(j, pawlstate.Cancelled, "")
			n++
		case j.live():
			m.end(j, stateGone, "")
			n++
		case !keep && j.state != stateGone:
			j.state = stateGone
			n++
		}
	}
	return n
}

func (m *model) keyIsFree(j *mJob) bool {
	h := m.holds[[2]string{j.scope, j.key}]
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
			j.constrained = j.ordered || j.key != "" || slices.ContainsFunc(m.waits, func(w mWait) bool { return w.parent == j })
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
			h := m.holds[at]
			if h == nil || h.job != j && h.past {
				h = &mHold{}
				m.holds[at] = h
			}
			h.job, h.live, h.untilStart = j, true, j.untilStart
		}
		if j.ordered {
			m.loose = slices.DeleteFunc(m.loose, func(l mLoose) bool { return l.job == j })
			pos := float64(j.id)
			m.leave(j)
			if line := m.lines[j.channel]; m.halts[j.channel] == j {
				delete(m.halts, j.channel)
			} else if slices.ContainsFunc(m.waits, func(w mWait) bool { return w.parent == j }) {
				ticket := []pawlstate.State{pawlstate.Ready, pawlstate.Scheduled, pawlstate.Running}
				if len(line) > 0 && line[0].pos > pos && slices.Contains(ticket, line[0].job.state) {
					line[0].pos, pos = pos, line[0].pos
				}
			} else {
				m.revived += 1e-4
				pos = float64(m.jobs[len(m.jobs)-1].id) + m.revived
			}
			m.queueUp(j, pos)
			m.issue(m.lines[j.channel][0].job)
		}
		m.issue(j)
	}
	return n
}

// settle is one pass; it says whether another may find more.
func (m *model) settle() (more bool) {
	ends := m.loose
	m.loose = nil
	for _, end := range ends {
		j := end.job
		if end.own && j.ordered {
			if m.leave(j) && end.became == "dead" && m.policy.HaltOnDead && m.halts[j.channel] == nil {
				m.halts[j.channel] = j
			}
			if line := m.lines[j.channel]; len(line) > 0 {
				m.issue(line[0].job)
			}
		}
		var mine []mWait
		for _, w := range m.waits {
			if w.parent == j {
				mine = append(mine, w)
			}
		}
		slices.SortStableFunc(mine, func(a, b mWait) int { return cmp.Compare(a.child.id, b.child.id) })
		drop := func(which func(mWait) bool) { m.waits = slices.DeleteFunc(m.waits, which) }
		for _, w := range mine {
			switch {
			case !w.child.live():
				drop(func(o mWait) bool { return o.child == w.child })
			case w.on == "any" || w.on == "ok" && end.became == "completed" || w.on == "not_ok" && (end.became == "dead" || end.became == "cancelled"):
				drop(func(o mWait) bool { return o == w })
				m.issue(w.child)
			case !(w.hold && end.became == "dead"):
				drop(func(o mWait) bool { return o.child == w.child })
				m.remove([]*mJob{w.child}, true)
				more = true
			}
		}
	}
	return more
}

func (m *model) settleAll() {
	for len(m.loose) > 0 && m.settle() {
	}
}

func (m *model) expire() {
	for at, h := range m.holds {
		if !h.live && h.past {
			delete(m.holds, at)
		}
	}
	for _, j := range m.jobs {
		if j.state == pawlstate.Reserved && j.lapsed {
			m.end(j, stateGone, "")
		}
	}
}

// lines of text that the database's must equal; see facts.
func (m *model) text() []string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, j := range m.jobs {
		if j.state == stateGone {
			continue
		}
		crashes := j.crashes
		if j.state == pawlstate.Completed || j.state == pawlstate.Cancelled {
			crashes = 0
		}
		add("job %d: %s%s, attempt %d, crashes %d, epoch %d", j.n, j.state, j.reason, j.attempt, crashes, j.epoch)
	}
	for channel, line := range m.lines {
		for i, t := range line {
			add("turn %q %d: job %d", channel, i+1, t.job.n)
		}
	}
	for at, h := range m.holds {
		add("key %s: job %d, live %t, until start %t", strings.Join(at[:], "/"), h.job.n, h.live, h.untilStart)
	}
	for _, w := range m.waits {
		add("job %d waits for %d: %s, hold %t", w.child.n, w.parent.n, w.on, w.hold)
	}
	for _, l := range m.loose {
		add("loose: job %d %s", l.job.n, l.became)
	}
	for channel, j := range m.halts {
		add("halt %q: job %d", channel, j.n)
	}
	for _, h := range m.held {
		if h.permit {
			add("permit of job %d", h.job.n)
		}
	}
	slices.Sort(lines)
	return lines
}

// facts are the database's side of text: what, two jobs, an epoch, a text.
const facts = `
	select 'job', g.id, 0::bigint, coalesce(j.epoch, d.epoch, a.epoch),
	       format('%s%s, attempt %s, crashes %s', g.state, g.reason, g.attempt, coalesce(j.crashes, d.crashes, 0))
	from pawl.get($1::bigint[]) g left join pawl.job j using (id) left join pawl.dead d using (id) left join pawl.archive a using (id)
	union all select 'turn', t.job_id, 0, 0, format('"%s" %s', t.channel, row_number() over (partition by t.channel order by t.pos)) from pawl.ordered_job t
	union all select 'key', h.job_id, 0, 0, format('%s/%s|live %s, until start %s', h.scope, h.key,
		case when h.live then 'true' else 'false' end, case when h.until_start then 'true' else 'false' end) from pawl.unique_key h
	union all select 'wait', w.child_id, w.parent_id, 0, format('%s, hold %s', w.on_state, case when w.keep_waiting then 'true' else 'false' end) from pawl.dependency w
	union all select 'loose', l.job_id, 0, 0, l.became from pawl.followup l
	union all select 'halt', h.job_id, 0, 0, h.channel from pawl.halted_channel h
	union all select 'permit', p.job_id, 0, 0, '' from pawl.permit p
	union all select 'verify', coalesce(v.example, 0), 0, 0, v.problem from pawl.verify() v where v.jobs > 0`
