package lanes

import (
	"cmp"
	"math"
	"slices"
	"time"
)

const (
	maxLanes  = 256 // The lanes that one claim reads, at most.
	maxUrgent = 16  // The urgent lanes that seemed empty and that one claim reads, at most.

	// Where there are channels, a claim takes at most this many tickets, and some more for each lane.
	maxWithChannels = 1000
	maxMoreForLane  = 16
)

// A Plan is one claim: what it reads, in this order, and how many tickets it takes at most.
type Plan struct {
	Stretches []Stretch
	Most      int

	lanes    int  // The number of lanes that it reads.
	broad    bool // It reads all lanes that are worth it.
	leftover bool // A lane has given all of its share, and the claim is not full.
	last     *lane
}

// NewPlan returns an empty Plan, to be filled with AddTicket.
func NewPlan() *Plan { return &Plan{} }

// AddTicket adds one ticket to a Plan that was made with NewPlan. A Set learns nothing from such a plan.
func (p *Plan) AddTicket(key Key, pos int64) {
	ln := &lane{Key: key, isGone: true}
	p.add(ln, Stretch{Key: key, lane: ln, From: pos - 1, Until: pos, Quota: 1})
	p.Most++
}

func (p *Plan) add(ln *lane, stretches ...Stretch) {
	ln.plan, ln.first = p, len(p.Stretches)
	p.Stretches = append(p.Stretches, stretches...)
	p.lanes++
}

// ClaimSize returns how many of n tickets one claim takes. Where there are channels, claims are short: a discovery,
// and with it the first ticket of a new channel, waits for the end of the claim. If there are more lanes, a claim
// costs more and takes more.
func (s *Set) ClaimSize(n int) int {
	if s.liveChannel == 0 {
		return n
	}
	return min(n, maxWithChannels+maxMoreForLane*s.live)
}

// Plan returns a claim of up to n tickets.
//
// Queues share the slots by their weights: see Holdings. Within a queue the returned tickets come first, then the
// priorities in order. The channels of one priority take turns and share by their weights. Suspect lanes are left out:
// see PlanSuspect.
//
// room returns how many tickets of a queue may be taken. If idle is true, the claim also reads lanes that seemed
// empty. If skipReturned is true, the claim reads no lane of returned tickets.
func (s *Set) Plan(n int, idle bool, room func(queue string) int, skipReturned bool) *Plan {
	d := s.draft(n, idle, skipReturned)
	d.level = s.waterLevel(n, func(q *queue) bool { return room(q.name) <= 0 }, d.idleWeight(room)-d.skippedWeight())
	var full []*queue // Queues that hold their share already.
	for q := range s.readyQueues.inOrder {
		if len(d.lanes) >= d.limit {
			break
		}
		q.room = min(room(q.name), n)
		if q.room <= 0 {
			continue
		}
		if d.share(q) == 0 {
			full = append(full, q)
			continue
		}
		d.chooseReady(q)
	}
	for _, q := range full {
		d.chooseReady(q)
	}
	d.chooseEmpty(room)
	return d.plan()
}

// PlanQueue is Plan for one queue alone.
func (s *Set) PlanQueue(name string, n int, idle bool, skipReturned bool) *Plan {
	d := s.draft(n, idle, skipReturned)
	q := s.queue(name)
	q.room, d.level = n, math.Inf(1)
	if q.ready > 0 {
		d.chooseReady(q)
	}
	d.chooseEmpty(func(queue string) int {
		if queue != name {
			return 0
		}
		return n
	})
	return d.plan()
}

// Share returns how many of n free slots a queue should get. room returns how many tickets of a queue may be taken.
func (s *Set) Share(name string, n int, room func(queue string) int) int {
	q := s.queue(name)
	if q.ready == 0 {
		return n
	}
	level := s.waterLevel(n, func(q *queue) bool { return room(q.name) <= 0 }, 0)
	return min(party{weight: q.weight, held: s.held.Queue(name)}.fill(level), n)
}

// waterLevel divides n free slots among the queues with ready lanes. Of queues with a limit of their own, it leaves
// out those that excluded selects. more is the weight of other queues that take part.
func (s *Set) waterLevel(n int, excluded func(*queue) bool, more int) float64 {
	weights := s.readyWeight + more
	out := func(q *queue) bool { return q.limited && excluded(q) }
	for _, q := range s.limited {
		if q.ready > 0 && out(q) {
			weights -= q.weight
		}
	}
	var parties []party
	if s.held != nil {
		for name, h := range s.held.queues {
			if q := s.queues[name]; h.held > 0 && q != nil && q.ready > 0 && !out(q) {
				parties = append(parties, party{weight: q.weight, held: h.held})
			}
		}
	}
	return waterLevel(n, weights, parties)
}

// PlanSuspect returns a claim of one ticket from a suspect lane, or nil if there is none.
func (s *Set) PlanSuspect(room func(queue string) int) *Plan {
	for ln := range s.suspects {
		if room(ln.Queue) > 0 {
			p := &Plan{Most: 1, broad: true}
			p.add(ln, ln.stretches(time.Now(), true, 1)...)
			return p
		}
	}
	return nil
}

// A draft is a Plan in the making.
type draft struct {
	set                *Set
	n                  int
	idle, skipReturned bool
	limit              int     // The number of lanes, at most.
	level              float64 // Up to it, queues get slots: see waterLevel.
	lanes              []*lane
	urgent             []*lane // Empty lanes that come before a ready lane of their queue.
}

func (s *Set) draft(n int, idle, skipReturned bool) *draft {
	s.endThrottles(time.Now())
	d := &draft{set: s, n: n, idle: idle, skipReturned: skipReturned}
	d.limit = min(maxLanes, max(s.reach, n+n/4+4))
	d.findUrgent()
	return d
}

// findUrgent finds lanes that seem empty and that come before a ready lane of their queue. They are worth a read with
// every claim: an urgent ticket must not wait until the next survey finds it.
func (d *draft) findUrgent() {
	for _, ln := range d.set.empty {
		if len(d.urgent) == maxUrgent {
			return
		}
		if ln.queue.ready > 0 && d.readable(ln) && ln.Priority < ln.queue.leastUrgent() {
			d.urgent = append(d.urgent, ln)
		}
	}
}

func (d *draft) readable(ln *lane) bool {
	return ln.Priority != Suspect && !(d.skipReturned && ln.Priority == Returned)
}

// idleWeight returns the weights of the queues whose known lanes all seem empty, if the claim reads these.
func (d *draft) idleWeight(room func(queue string) int) (weight int) {
	if !d.idle {
		return 0
	}
	counted := map[*queue]bool{}
	for _, ln := range d.set.empty {
		if q := ln.queue; q.ready == 0 && !counted[q] && d.readable(ln) && room(q.name) > 0 {
			counted[q] = true
			weight += q.weight
		}
	}
	return weight
}

// skippedWeight returns the weights of the queues whose ready lanes are all left out.
func (d *draft) skippedWeight() (weight int) {
	if !d.skipReturned {
		return 0
	}
	for _, q := range d.set.readyQueues { // All queues: returned tickets are skipped only while a suspect runs.
		if q.leastUrgent() == Returned {
			weight += q.weight
		}
	}
	return weight
}

// share returns how many tickets a queue should give.
func (d *draft) share(q *queue) int {
	if math.IsInf(d.level, 1) {
		return q.room
	}
	return min(party{weight: q.weight, held: d.set.held.Queue(q.name)}.fill(d.level), q.room)
}

// chooseReady adds the first ready lanes of a queue, and its urgent ones.
func (d *draft) chooseReady(q *queue) {
	q.share = max(d.share(q), 1)
	most := divideUp(d.limit*q.share, d.n)
	for _, l := range q.levels {
		if d.skipReturned && l.priority == Returned {
			continue
		}
		for _, ln := range d.urgent {
			if ln.level == l {
				d.choose(ln)
			}
		}
		for ln := range l.ready.inOrder {
			if most == 0 || len(d.lanes) >= d.limit {
				break
			}
			most--
			d.choose(ln)
		}
	}
}

// chooseEmpty adds the lanes that seem empty to an idle claim.
func (d *draft) chooseEmpty(room func(queue string) int) {
	if !d.idle {
		return
	}
	left := make([]*lane, 0, len(d.set.empty))
	for _, ln := range d.set.empty {
		if d.readable(ln) && !slices.Contains(d.urgent, ln) && room(ln.Queue) > 0 {
			left = append(left, ln)
		}
	}
	slices.SortFunc(left, func(a, b *lane) int {
		return cmp.Or(a.queue.compare(b.queue), cmp.Compare(a.Priority, b.Priority), a.compare(b))
	})
	for _, ln := range left[:min(len(left), max(maxLanes-len(d.lanes), 0))] {
		ln.queue.room = min(room(ln.Queue), d.n)
		ln.queue.share = max(d.share(ln.queue), 1)
		d.choose(ln)
	}
}

// choose adds a lane.
func (d *draft) choose(ln *lane) {
	d.lanes = append(d.lanes, ln)
	l := ln.level
	l.chosen = append(l.chosen, ln)
	l.weights += d.set.channelWeight(ln)
}

// plan returns the claim of the chosen lanes. Within a level, channels that hold their share come last.
func (d *draft) plan() *Plan {
	p := &Plan{Most: d.n, lanes: 0, broad: len(d.lanes) < d.limit, Stretches: make([]Stretch, 0, len(d.lanes))}
	now := time.Now()
	for _, ln := range d.lanes {
		if ln.level.weights > 0 {
			d.divide(ln.queue, ln.level)
		}
	}
	for from := 0; from < len(d.lanes); {
		to := from + 1
		for to < len(d.lanes) && d.lanes[to].level == d.lanes[from].level {
			to++
		}
		for _, ln := range d.lanes[from:to] {
			if ln.quota > 0 {
				p.add(ln, ln.stretches(now, d.idle, ln.quota)...)
			}
		}
		for _, ln := range d.lanes[from:to] {
			if ln.quota == 0 {
				p.add(ln, ln.stretches(now, d.idle, 1)...)
			}
		}
		from = to
	}
	return p
}

// divide sets the quotas of the chosen lanes of a level: their shares of the queue's share.
func (d *draft) divide(q *queue, l *level) {
	var parties []party
	held := d.set.held != nil && d.set.held.Queue(q.name) > 0
	of := func(ln *lane) party {
		p := party{weight: d.set.channelWeight(ln)}
		if held {
			p.held = d.set.held.channel(ln.Queue, ln.Channel)
		}
		return p
	}
	if held {
		for _, ln := range l.chosen {
			if p := of(ln); p.held > 0 {
				parties = append(parties, p)
			}
		}
	}
	level := waterLevel(q.share, l.weights, parties)
	for _, ln := range l.chosen {
		ln.quota = of(ln).fill(level)
	}
	clear(l.chosen)
	l.chosen, l.weights = l.chosen[:0], 0
}

func divideUp(a, b int) int { return (a + b - 1) / b }

func (s *Set) channelWeight(ln *lane) int { return max(s.weights[ln.Queue][ln.Channel], 1) }

// RecordTicket records that a claim took the ticket at pos, and returns the index of the stretch that it came from.
// For a lane that was forgotten while the claim was under way, it returns len(p.Stretches).
func (s *Set) RecordTicket(p *Plan, key Key, pos int64) (stretch int) {
	ln := p.last
	if ln == nil || ln.Key != key {
		ln = s.known[key]
		p.last = ln
	}
	if ln == nil || ln.plan != p {
		return len(p.Stretches)
	}
	i := ln.first
	if pos > p.Stretches[i].Until {
		i++
	}
	ln.mark = max(ln.mark, pos)
	st := &p.Stretches[i]
	st.saw, st.last = st.saw+1, max(st.last, pos)
	return i
}

// Restart forgets the tickets that a claim of the plan took before it failed. The plan can then be carried out again.
func (p *Plan) Restart() {
	for i := range p.Stretches {
		st := &p.Stretches[i]
		st.saw, st.last, st.throttled = 0, 0, false
	}
}

// Learn updates the lanes of a plan after a claim that took total tickets, all of which were recorded.
func (s *Set) Learn(p *Plan, total int) {
	now := time.Now()
	for i := range p.Stretches {
		st := &p.Stretches[i]
		ln := st.lane
		full := total >= p.Most
		if st.saw > 0 {
			s.serve(ln, now)
			if st.saw > manyTickets {
				ln.fresh = 0
			}
			p.leftover = p.leftover || !full && st.saw >= st.Quota
		}
		ln.learn(st, total, p.Most)
		s.file(ln)
		if ln.plan = nil; ln.state == empty {
			s.touch(ln)
		}
	}
	switch {
	case total >= p.Most:
		s.reach /= 2
	case !p.broad:
		s.reach = maxLanes
	}
}

// manyTickets is how many tickets of one claim make a lane more than fresh.
const manyTickets = 16

// serve puts a lane and its queue at the end of their orders.
func (s *Set) serve(ln *lane, now time.Time) {
	s.turns++
	ln.turn, ln.seen = s.turns, now
	q := ln.queue
	if q == nil {
		return
	}
	if q.turn = s.turns; q.ready > 0 {
		s.readyQueues.fix(q)
	}
	if ln.state == ready && ln.Priority != Suspect {
		ln.level.ready.fix(ln)
	}
}

// touch puts an empty lane that was just read at the end of the empty ones.
func (s *Set) touch(ln *lane) {
	if i := slices.Index(s.empty, ln); i >= 0 {
		copy(s.empty[i:], s.empty[i+1:])
		s.empty[len(s.empty)-1] = ln
	}
}

// IsShort reports whether a claim left slots free although a lane has more tickets than its share. Another claim can
// take them.
func (p *Plan) IsShort() bool { return p.leftover }

// Throttle records that a limit cut a lane short, and that the lane is not worth asking before wait has passed.
func (s *Set) Throttle(p *Plan, key Key, wait time.Duration) {
	ln := s.known[key]
	if ln == nil || ln.plan != p {
		return
	}
	for i := ln.first; i < len(p.Stretches) && p.Stretches[i].lane == ln; i++ {
		p.Stretches[i].throttled = true
	}
	s.leave(ln)
	ln.state = unknown
	ln.throttledUntil = time.Now().Add(wait)
	s.file(ln)
}

// Unthrottle makes the next claim ask all lanes again, because a permit may be free.
func (s *Set) Unthrottle() {
	for len(s.throttled) > 0 {
		s.unthrottle(s.throttled[0].lane)
	}
}

// endThrottles makes this claim ask the lanes again whose time has come.
func (s *Set) endThrottles(now time.Time) {
	for len(s.throttled) > 0 && !s.throttled[0].throttledUntil.After(now) {
		s.unthrottle(s.throttled[0].lane)
	}
}

func (s *Set) unthrottle(ln *lane) {
	s.leave(ln)
	ln.state, ln.throttledUntil = unknown, time.Time{}
	s.file(ln)
}

// NextUnthrottled returns when the first of the throttled lanes is worth asking again.
func (s *Set) NextUnthrottled() (at time.Time, ok bool) {
	if len(s.throttled) == 0 {
		return time.Time{}, false
	}
	return s.throttled[0].throttledUntil, true
}
