package pawl_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

// A model predicts in memory what the verbs do. It has one queue, "default". Time has two values: now and later.
type model struct {
	jobs         []*mJob // In the order of their ids.
	byID         map[pawl.ID]*mJob
	claims       []*mClaim // Every claim of a job ever, the lost ones too.
	keys         map[[2]string]*mUniqueKey
	dependencies []mDependency
	followups    []mFollowup
	lines        map[string][]mOrderedJob
	halted       map[string]*mJob
	paused       bool
	policy       pawl.Queue
	tickets      int // Drawn so far: the order within a lane.
	revived      float64
}

const stateGone pawlstate.State = "gone" // The job is deleted.

const (
	laneReturn  = -32768
	laneSuspect = -32769
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

type mUniqueKey struct {
	job              *mJob
	live, untilStart bool
	kept, past       bool // Kept until a time; that time has come.
}

type mDependency struct {
	parent, child *mJob
	on            string
	keepWaiting   bool
}

type mFollowup struct {
	job    *mJob
	own    bool // Not put down by a child that came too late.
	became string
}

type mOrderedJob struct {
	job *mJob
	pos float64
}

// mLease is a claimed batch.
type mLease struct{ expired, gone bool }

type mClaim struct {
	info        *pawl.JobInfo
	job         *mJob
	epoch       int
	constrained bool
	limits      bool // It was claimed with a permit.
	permit      bool // It has it still.
	lease       *mLease
}

func newModel() *model {
	return &model{byID: map[pawl.ID]*mJob{}, keys: map[[2]string]*mUniqueKey{}, lines: map[string][]mOrderedJob{},
		halted: map[string]*mJob{}}
}

func (j *mJob) live() bool {
	switch j.state {
	case pawlstate.Completed, pawlstate.Cancelled, pawlstate.Dead, stateGone:
		return false
	}
	return true
}

// isCurrent reports whether the claim still has the job.
func (h *mClaim) isCurrent() bool { return h.job.state == pawlstate.Running && h.job.epoch == h.epoch }

func (m *model) mostOf(j *mJob) int {
	return cmp.Or(j.most, m.policy.MaxAttempts, 20)
}

// ready gives a job a ready ticket.
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

// ticket gives a ticket to a job that waits for nothing but its time.
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
	for _, w := range m.dependencies {
		if w.child == j {
			return
		}
	}
	if j.ordered && (m.halted[j.channel] != nil || m.lines[j.channel][0].job != j) {
		return
	}
	m.ticket(j)
}

func (m *model) enqueue(j *mJob, pos float64) {
	m.leave(j)
	line := append(m.lines[j.channel], mOrderedJob{j, pos})
	slices.SortFunc(line, func(a, b mOrderedJob) int { return cmp.Compare(a.pos, b.pos) })
	m.lines[j.channel] = line
}

// leave removes a job from its ordered channel and reports whether it was in it.
func (m *model) leave(j *mJob) bool {
	before := len(m.lines[j.channel])
	m.lines[j.channel] = slices.DeleteFunc(m.lines[j.channel], func(t mOrderedJob) bool { return t.job == j })
	return len(m.lines[j.channel]) < before
}

// mSpec is a JobSpec as the model needs it.
type mSpec struct {
	spec    pawl.JobSpec
	parents []*mJob // As in AfterOK, AfterAny, AfterNotOK.
}

func (s *mSpec) isConstrained() bool {
	return s.spec.Ordered || s.spec.Unique.Key != "" || s.spec.Reserve > 0 || len(s.parents) > 0
}

// insert checks the results of an insert and adds the jobs.
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
		made[i] = &mJob{id: results[i].ID, state: pawlstate.Ready, epoch: -1, channel: s.spec.Channel,
			priority: s.spec.Priority,
			ordered:  s.spec.Ordered, key: s.spec.Unique.Key, untilStart: s.spec.Unique.UntilStart, most: s.spec.MaxAttempts,
			later:       s.spec.Delay > 0,
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
		has := m.keys[at]
		if has == nil || !has.live && (!has.kept || has.past) {
			if made[i] == nil {
				return fmt.Errorf("spec %d is a duplicate, but no job has its key", i)
			}
			m.keys[at] = &mUniqueKey{job: made[i], live: true, untilStart: u.UntilStart, kept: u.Period > 0}
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
	constrained := slices.ContainsFunc(specs, func(s mSpec) bool { return s.isConstrained() })
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
			m.enqueue(j, float64(j.id))
		}
	}
	for i, j := range made {
		if j == nil {
			continue
		}
		var waits []mDependency
		spec := specs[i].spec
		for _, after := range []struct {
			on  string
			ids []pawl.ID
		}{{"ok", spec.AfterOK}, {"any", spec.AfterAny}, {"not_ok", spec.AfterNotOK}} {
			for _, id := range after.ids {
				waits = append(waits, mDependency{m.byID[id], j, after.on, spec.KeepWaiting})
			}
		}
		for _, w := range waits {
			m.dependencies = append(m.dependencies, w)
			if w.parent.live() {
				w.parent.constrained = true
				continue
			}
			became := string(w.parent.state)
			if w.parent.state == stateGone {
				became = "deleted"
			}
			m.followups = append(m.followups, mFollowup{w.parent, false, became})
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

// text returns lines that must equal the lines from the database; see facts.
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
			add("ordered %q %d: job %d", channel, i+1, t.job.n)
		}
	}
	for at, h := range m.keys {
		add("key %s: job %d, live %t, until start %t", strings.Join(at[:], "/"), h.job.n, h.live, h.untilStart)
	}
	for _, w := range m.dependencies {
		add("job %d waits for %d: %s, keep waiting %t", w.child.n, w.parent.n, w.on, w.keepWaiting)
	}
	for _, l := range m.followups {
		add("followup: job %d %s", l.job.n, l.became)
	}
	for channel, j := range m.halted {
		add("halt %q: job %d", channel, j.n)
	}
	for _, h := range m.claims {
		if h.permit {
			add("permit of job %d", h.job.n)
		}
	}
	slices.Sort(lines)
	return lines
}

// facts selects the lines of text from the database: a subject, two jobs, an epoch, a text.
const facts = `
	select 'job', g.id, 0::bigint, coalesce(j.epoch, d.epoch, a.epoch),
	       format('%s%s, attempt %s, crashes %s', g.state, g.reason, g.attempt, coalesce(j.crashes, d.crashes, 0))
	from pawl.get($1::bigint[]) g left join pawl.job j using (id) left join pawl.dead d using (id) left join
		pawl.archive a using (id)
	union all select 'ordered', t.job_id, 0, 0, format('"%s" %s', t.channel, row_number() over (partition by t.channel
		order by t.pos)) from pawl.ordered_job t
	union all select 'key', h.job_id, 0, 0, format('%s/%s|live %s, until start %s', h.scope, h.key,
		case when h.live then 'true' else 'false' end, case when h.until_start then 'true' else 'false' end) from
			pawl.unique_key h
	union all select 'wait', w.child_id, w.parent_id, 0, format('%s, keep waiting %s', w.on_state, case when w.keep_waiting
		then 'true' else 'false' end) from pawl.dependency w
	union all select 'followup', l.job_id, 0, 0, l.became from pawl.followup l
	union all select 'halt', h.job_id, 0, 0, h.channel from pawl.halted_channel h
	union all select 'permit', p.job_id, 0, 0, '' from pawl.permit p
	union all select 'verify', coalesce(v.example, 0), 0, 0, v.problem from pawl.verify() v where v.jobs > 0`
