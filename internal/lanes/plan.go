package lanes

import (
	"cmp"
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

	first map[*lane]int // The index of each lane's first stretch.
}

// NewPlan returns an empty Plan, to be filled with AddTicket.
func NewPlan() *Plan { return &Plan{first: map[*lane]int{}} }

// AddTicket adds one ticket to a Plan that was made with NewPlan. A Set learns nothing from such a plan.
func (p *Plan) AddTicket(key Key, pos int64) {
	p.add(Stretch{Key: key, lane: &lane{Key: key}, From: pos - 1, Until: pos, Quota: 1})
	p.Most++
}

func (p *Plan) add(stretches ...Stretch) {
	p.first[stretches[0].lane] = len(p.Stretches)
	p.Stretches = append(p.Stretches, stretches...)
}

// ClaimSize returns how many of n tickets one claim takes. Where there are channels, claims are short: a discovery,
// and with it the first ticket of a new channel, waits for the end of the claim. If there are more lanes, a claim
// costs more and takes more.
func (s *Set) ClaimSize(n int) int {
	live, channels := 0, false
	for _, ln := range s.known {
		if ln.live {
			live++
			channels = channels || ln.Channel != ""
		}
	}
	if !channels {
		return n
	}
	return min(n, maxWithChannels+maxMoreForLane*live)
}

// Plan returns a claim of up to n tickets.
//
// Queues share the claim by their weights. Within a queue the returned tickets come first, then the priorities in
// order. The channels of one priority take turns and share by their weights. Suspect lanes are left out: see
// PlanSuspect.
//
// room returns how many tickets of a queue may be taken. If idle is true, the claim also reads lanes that seemed
// empty. If skipReturned is true, the claim reads no lane of returned tickets.
func (s *Set) Plan(n int, idle bool, room func(queue string) int, skipReturned bool) *Plan {
	now := time.Now()
	s.endThrottles(now)
	d := &draft{set: s, urgent: s.urgentLanes(), served: map[string]int64{}}
	d.choose(idle, room, skipReturned)
	lanes := d.firstInOrder()
	shares := d.levelWeights(lanes)
	p := NewPlan()
	p.Most = n
	for _, ln := range lanes {
		p.add(ln.stretches(now, idle, d.quota(ln, n, shares))...)
	}
	return p
}

// PlanSuspect returns a claim of one ticket from a suspect lane, or nil if there is none.
func (s *Set) PlanSuspect(room func(queue string) int) *Plan {
	for _, ln := range s.known {
		if ln.Priority == Suspect && ln.live && room(ln.Queue) > 0 {
			p := NewPlan()
			p.Most = 1
			p.add(ln.stretches(time.Now(), true, 1)...)
			return p
		}
	}
	return nil
}

// urgentLanes returns lanes that seemed empty and that come before a live lane of their queue. They are worth a read
// with every claim: an urgent ticket must not wait until the next survey finds it.
func (s *Set) urgentLanes() map[*lane]bool {
	lowest := map[string]int32{} // The least urgent live lane of each queue.
	for _, ln := range s.known {
		if !ln.live {
			continue
		}
		if p, known := lowest[ln.Queue]; !known || ln.Priority > p {
			lowest[ln.Queue] = ln.Priority
		}
	}
	urgent := map[*lane]bool{}
	if len(lowest) == 0 {
		return urgent
	}
	for _, ln := range s.known {
		if !ln.live && ln.Priority < lowest[ln.Queue] && len(urgent) < maxUrgent {
			urgent[ln] = true
		}
	}
	return urgent
}

// A draft is a Plan in the making.
type draft struct {
	set    *Set
	urgent map[*lane]bool
	rooms  map[string]int // By queue.
	chosen []*lane
	served map[string]int64 // When each queue with a chosen lane was last served.
	weight int              // The sum of the weights of these queues.
}

// choose selects the lanes that are worth a read.
func (d *draft) choose(idle bool, room func(queue string) int, skipReturned bool) {
	d.rooms = make(map[string]int, len(d.set.queues))
	for name := range d.set.queues {
		d.rooms[name] = room(name)
	}
	for _, ln := range d.set.known {
		switch {
		case ln.Priority == Suspect, skipReturned && ln.Priority == Returned:
			continue
		case !ln.live && !idle && !d.urgent[ln], d.rooms[ln.Queue] <= 0, !ln.throttledUntil.IsZero():
			continue
		}
		d.chosen = append(d.chosen, ln)
		last, counted := d.served[ln.Queue]
		if !counted {
			d.weight += d.set.queues[ln.Queue].weight
		}
		d.served[ln.Queue] = max(last, ln.turn)
	}
}

// firstInOrder returns the first maxLanes of the chosen lanes, in order. There may be tens of thousands of lanes, and
// to sort them all took longer than the claim.
func (d *draft) firstInOrder() []*lane {
	first := make([]*lane, 0, min(len(d.chosen), maxLanes))
	for _, ln := range d.chosen {
		if len(first) == maxLanes {
			if d.compare(ln, first[maxLanes-1]) >= 0 {
				continue
			}
			first = first[:maxLanes-1]
		}
		i, _ := slices.BinarySearchFunc(first, ln, d.compare)
		first = slices.Insert(first, i, ln)
	}
	return first
}

// compare orders lanes: first those that may have tickets, then by the queue that has waited longest, by priority,
// and by the channel that has waited longest.
func (d *draft) compare(a, b *lane) int {
	if early := a.live || d.urgent[a]; early != (b.live || d.urgent[b]) {
		if early {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(d.served[a.Queue], d.served[b.Queue]), cmp.Compare(a.Queue, b.Queue),
		cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.turn, b.turn), cmp.Compare(a.Channel, b.Channel))
}

// A level is a priority of a queue. Its channels share what it gets.
type level struct {
	queue    string
	priority int32
}

// levelWeights returns the sum of the weights of each level's lanes.
func (d *draft) levelWeights(lanes []*lane) map[level]int {
	sums := map[level]int{}
	for _, ln := range lanes {
		sums[level{ln.Queue, ln.Priority}] += d.set.channelWeight(ln)
	}
	return sums
}

// quota returns how many of n tickets a lane gives at most: its share of its queue's share. Shares are rounded up.
func (d *draft) quota(ln *lane, n int, levels map[level]int) int {
	share := n
	if d.weight > 0 && len(d.served) > 1 {
		share = divideUp(n*d.set.queues[ln.Queue].weight, d.weight)
	}
	share = min(share, d.rooms[ln.Queue])
	weight := d.set.channelWeight(ln)
	if all := levels[level{ln.Queue, ln.Priority}]; all > weight {
		share = divideUp(share*weight, all)
	}
	return max(share, 1)
}

func divideUp(a, b int) int { return (a + b - 1) / b }

func (s *Set) channelWeight(ln *lane) int { return max(s.weights[ln.Queue][ln.Channel], 1) }

// RecordTicket records that a claim took the ticket at pos, and returns the index of the stretch that it came from.
// For a lane that was forgotten while the claim was under way, it returns len(p.Stretches).
func (s *Set) RecordTicket(p *Plan, key Key, pos int64) (stretch int) {
	ln := s.known[key]
	if ln == nil {
		return len(p.Stretches)
	}
	i, ok := p.first[ln]
	if !ok {
		return len(p.Stretches)
	}
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
		if st.saw > 0 {
			s.turns++
			st.lane.turn, st.lane.seen = s.turns, now
		}
		st.lane.learn(st, total, p.Most)
	}
}

// Throttle records that a limit cut a lane short, and that the lane is not worth asking before wait has passed.
func (s *Set) Throttle(p *Plan, key Key, wait time.Duration) {
	ln := s.known[key]
	i, ok := p.first[ln]
	if !ok {
		return
	}
	for ; i < len(p.Stretches) && p.Stretches[i].lane == ln; i++ {
		p.Stretches[i].throttled = true
	}
	ln.throttledUntil = time.Now().Add(wait)
}

// Unthrottle makes the next claim ask all lanes again, because a permit may be free.
func (s *Set) Unthrottle() {
	for _, ln := range s.known {
		ln.throttledUntil = time.Time{}
	}
}

// endThrottles makes this claim ask the lanes again whose time has come.
func (s *Set) endThrottles(now time.Time) {
	for _, ln := range s.known {
		if !ln.throttledUntil.After(now) {
			ln.throttledUntil = time.Time{}
		}
	}
}

// NextUnthrottled returns when the first of the throttled lanes is worth asking again.
func (s *Set) NextUnthrottled() (at time.Time, ok bool) {
	for _, ln := range s.known {
		if ln.live && !ln.throttledUntil.IsZero() && (!ok || ln.throttledUntil.Before(at)) {
			at, ok = ln.throttledUntil, true
		}
	}
	return at, ok
}
