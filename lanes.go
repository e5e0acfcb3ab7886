package pawl

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// What a claimer remembers of the lanes it claims from. All of this is a cache: losing it costs time, never a job.
//
// Dead tickets pile up at the head of a lane, and stay while any snapshot older than them is open. So a claim does not start
// at a lane's beginning. It starts at the mark, the highest position claimed so far, or a little before, at the safe mark.
//
// Between the safe mark and the mark there may be live tickets that a claim passed by: a transaction that drew its positions
// early and committed late, a claimer that rolled back. Below the safe mark there are none. To advance it:
//
//  1. Take P, the mark. Every position up to P has been drawn.
//  2. In a later statement take S, the number of the next transaction. Whoever drew a position up to P did so before S was
//     read, and had a transaction number before it drew (all inserts see to that): its number is below S.
//  3. When in some later snapshot the oldest running transaction is not below S, all of those have ended. What that same
//     snapshot shows of tickets up to P is therefore all there will ever be: the safe mark becomes P, or one below the
//     lowest ticket still there, read without skipping locked rows (a claimer that holds one may yet roll back).
//
// A walk from the safe mark to the mark (a sweep) costs in proportion to their distance, so it has a pace: a busy shallow lane is
// swept by every claim, and one kept deep by an old writing transaction in slices, a slice beside what a claim takes above the mark,
// so that none waits for the whole walk.
type lanes struct {
	known        map[laneKey]*lane
	queues       map[string]*queueLanes
	served       int64
	weights      map[string]map[string]int // Of channels, by queue.
	weighedAt    time.Time                 // When those were read.
	discoveredAt time.Time                 // When lanes not known yet were last looked for.
	identity     string                    // The server and the table all of this is of: see moved.
}

type laneKey struct {
	queue    string
	priority int32
	channel  string
}

const (
	laneReturned = -32768 // Tickets of jobs that were given back: before all priorities.
	laneSuspect  = -32769 // Tickets of jobs that lost two leases: one at a time.

	sweepPerTicket = 2 * time.Microsecond // Pace of a sweep.
	sweepAtOnce    = 50_000               // Positions of it in one claim at most; twenty times that when there is nothing else to do.
	sweepAtLeast   = 1000                 // Positions that are worth a descent of the index.
	maxLanes       = 256                  // In one claim.
	maxAmong       = 1000                 // Jobs in one claim where there are channels, and 16 more a lane.
)

type lane struct {
	laneKey
	mark, safe int64
	pending    int64 // P, with S in below; 0: none.
	below      int64
	live       bool // May have tickets.
	served     int64
	seen       time.Time // Last ticket.

	swept    time.Time // Last slice of a sweep.
	cursor   int64     // It goes on above this.
	found    bool      // It has met tickets since it left the safe mark.
	clean    bool      // The last whole sweep met none.
	sweepNow bool      // There is nothing above the mark: sweep without delay.

	throttledUntil time.Time // A limit cut it short: not worth asking before.
}

// stretch is a part of a lane that a claim reads: positions above from, up to until.
type stretch struct {
	*lane
	from, until int64
	whole       bool // From the safe mark to the end.
	quota       int
	saw         int
	throttled   bool
	last        int64 // Position of the last ticket taken.
}

// stretches are what a claim reads of a lane now.
func (ln *lane) stretches(now time.Time, idle bool, quota int) []stretch {
	most := int64(sweepAtOnce)
	if idle {
		most *= 20
	}
	paced := min(int64(now.Sub(ln.swept)/sweepPerTicket), most)
	if ln.sweepNow {
		paced = most
	}
	above := stretch{lane: ln, from: ln.mark, until: math.MaxInt64, quota: quota}
	switch depth := ln.mark - ln.safe; {
	case depth <= paced:
		above.from, above.whole = ln.safe, true
		ln.swept, ln.cursor = now, ln.safe
		return []stretch{above}
	case paced < sweepAtLeast:
		return []stretch{above}
	}
	ln.swept, ln.cursor = now, max(ln.cursor, ln.safe)
	return []stretch{{lane: ln, from: ln.cursor, until: min(ln.cursor+paced, ln.mark), quota: quota}, above}
}

// learn draws the conclusions of a claim that took total tickets of at most most.
func (ln *lane) learn(s *stretch, total, most int) {
	full, short := s.saw >= s.quota, total < most
	switch {
	case s.throttled:
		ln.live = true // Nothing is known of what is there.
	case s.whole:
		if full || short {
			ln.live, ln.sweepNow = full, false
		}
	case s.until < math.MaxInt64: // A slice of a sweep.
		if s.saw > 0 {
			ln.found, ln.clean = true, false
		}
		if full || !short {
			ln.cursor = max(ln.cursor, s.last)
			return
		}
		if ln.cursor = s.until; ln.cursor >= s.mark {
			ln.clean, ln.found, ln.cursor = !ln.found, false, ln.safe
		}
	case full:
		ln.live, ln.sweepNow = true, false
	case short:
		ln.live, ln.sweepNow = !ln.clean, !ln.clean
		ln.clean = false
	}
}

// queueLanes is what is known of a queue: its scheduled tickets (floor is their safe mark, a time) and its share of claims.
type queueLanes struct {
	weight  int
	floor   time.Time
	moment  time.Time // P: everything due by then has been promoted.
	below   int64
	pending bool
	dueAt   time.Time // By this process's clock; zero: nothing is scheduled, as far as known.
}

func (l *lanes) reset() { *l = lanes{known: map[laneKey]*lane{}, queues: map[string]*queueLanes{}} }

// moved says whether the database is another than what is known is of, and then forgets that. Failed over to a standby that lagged,
// or restored, it draws positions and transaction numbers once more: marks would lie above tickets nobody has claimed. Not every
// change shows as an error, for pools and poolers replace broken connections by themselves.
func (l *lanes) resetIfMoved(history string) bool {
	known := l.identity
	l.identity = history
	if known == "" || known == history {
		return false
	}
	queues := l.queues
	l.known, l.queues, l.discoveredAt = map[laneKey]*lane{}, map[string]*queueLanes{}, time.Time{}
	for name, q := range queues {
		l.queue(name).weight = q.weight
	}
	return true
}

// find says that a lane has tickets.
func (l *lanes) find(key laneKey) *lane {
	ln := l.known[key]
	if ln == nil {
		ln = &lane{laneKey: key}
		l.known[key] = ln
	}
	ln.live, ln.seen = true, time.Now()
	l.queue(key.queue)
	return ln
}

func (l *lanes) queue(name string) *queueLanes {
	q := l.queues[name]
	if q == nil {
		q = &queueLanes{weight: 1, floor: time.Unix(0, 0).UTC().AddDate(-4000, 0, 0)}
		l.queues[name] = q
	}
	return q
}

// atOnce is how many of n jobs one claim takes. Where there are channels it is short, for the next look, and the first job of a new
// channel, wait for its end; with more lanes a claim costs more, and takes more.
func (l *lanes) atOnce(n int) int {
	lanes, channels := 0, false
	for _, ln := range l.known {
		if ln.live {
			lanes++
			channels = channels || ln.channel != ""
		}
	}
	if !channels {
		return n
	}
	return min(n, maxAmong+16*lanes)
}

// plan is one claim: what it reads, in this order, and how many jobs it takes at most.
type plan struct {
	stretches []stretch
	most      int
	first     map[*lane]int // Of each lane, its first stretch.
}

// plan lays out a claim of up to n jobs: queues by weight, in each the returned first, then priorities in order, channels of
// one priority in turn with equal quotas. room says how many more a queue may have running. With idle, lanes that seemed
// empty are asked too. With fresh, none of the returned: a suspect is running, and no other struck job should beside it.
func (l *lanes) plan(n int, idle bool, room func(queue string) int, fresh bool) *plan {
	now := time.Now()
	var chosen []*lane
	weight := 0
	counted := map[string]bool{}
	lowest := map[string]int32{} // The least urgent live lane of each queue.
	for _, ln := range l.known {
		if !ln.throttledUntil.After(now) {
			ln.throttledUntil = time.Time{}
		}
		if ln.live {
			if p, known := lowest[ln.queue]; !known || ln.priority > p {
				lowest[ln.queue] = ln.priority
			}
		}
	}
	const mostUrgent = 16
	urgent := map[*lane]bool{} // They seemed empty, but what comes there must not wait for the next survey.
	for _, ln := range l.known {
		if !ln.live && len(lowest) > 0 && ln.priority < lowest[ln.queue] && len(urgent) < mostUrgent {
			urgent[ln] = true
		}
	}
	rooms := map[string]int{}
	for name := range l.queues {
		rooms[name] = room(name)
	}
	for _, ln := range l.known {
		if ln.priority == laneSuspect || fresh && ln.priority == laneReturned || !ln.live && !idle && !urgent[ln] || rooms[ln.queue] <= 0 || ln.throttledUntil.After(now) {
			continue
		}
		chosen = append(chosen, ln)
		if !counted[ln.queue] {
			counted[ln.queue] = true
			weight += l.queues[ln.queue].weight
		}
	}
	served := map[string]int64{}
	for _, ln := range chosen {
		served[ln.queue] = max(served[ln.queue], ln.served)
	}
	compare := func(a, b *lane) int {
		if early := a.live || urgent[a]; early != (b.live || urgent[b]) {
			if early {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(served[a.queue], served[b.queue]), cmp.Compare(a.queue, b.queue),
			cmp.Compare(a.priority, b.priority), cmp.Compare(a.served, b.served), cmp.Compare(a.channel, b.channel))
	}
	// The first maxLanes of the order. There may be tens of thousands: to sort them all took longer than the claim.
	asked := make([]*lane, 0, min(len(chosen), maxLanes))
	for _, ln := range chosen {
		if len(asked) == maxLanes {
			if compare(ln, asked[maxLanes-1]) >= 0 {
				continue
			}
			asked = asked[:maxLanes-1]
		}
		i, _ := slices.BinarySearchFunc(asked, ln, compare)
		asked = slices.Insert(asked, i, ln)
	}
	p := &plan{most: n, first: map[*lane]int{}}
	heft := func(ln *lane) int { return max(l.weights[ln.queue][ln.channel], 1) }
	level := map[laneKey]int{} // Weight of the lanes of a queue and priority.
	for _, ln := range asked {
		level[laneKey{queue: ln.queue, priority: ln.priority}] += heft(ln)
	}
	for _, ln := range asked {
		share := n
		if weight > 0 && len(counted) > 1 {
			share = (n*l.queues[ln.queue].weight + weight - 1) / weight
		}
		share = min(share, rooms[ln.queue])
		if all := level[laneKey{queue: ln.queue, priority: ln.priority}]; all > heft(ln) {
			share = (share*heft(ln) + all - 1) / all
		}
		p.add(ln.stretches(now, idle, max(share, 1))...)
	}
	return p
}

// suspects is a claim of one job from a suspect lane; nil if there is none known.
func (l *lanes) suspects(room func(queue string) int) *plan {
	for _, ln := range l.known {
		if ln.priority == laneSuspect && ln.live && room(ln.queue) > 0 {
			p := &plan{most: 1, first: map[*lane]int{}}
			p.add(ln.stretches(time.Now(), true, 1)...)
			return p
		}
	}
	return nil
}

func (p *plan) add(stretches ...stretch) {
	p.first[stretches[0].lane] = len(p.stretches)
	p.stretches = append(p.stretches, stretches...)
}

// took notes a ticket taken, and says from which stretch.
func (l *lanes) recordTicket(p *plan, key laneKey, pos int64) (i int) {
	ln := l.known[key]
	if ln == nil {
		return len(p.stretches) // Forgotten while the claim was under way.
	}
	i, ok := p.first[ln]
	if !ok {
		return len(p.stretches)
	}
	if pos > p.stretches[i].until {
		i++
	}
	ln.mark = max(ln.mark, pos)
	s := &p.stretches[i]
	s.saw, s.last = s.saw+1, max(s.last, pos)
	return i
}

// block notes that a limit cut a lane short.
func (l *lanes) throttle(p *plan, key laneKey, wait time.Duration) {
	ln := l.known[key]
	if i, ok := p.first[ln]; ok {
		for ; i < len(p.stretches) && p.stretches[i].lane == ln; i++ {
			p.stretches[i].throttled = true
		}
		ln.throttledUntil = time.Now().Add(wait)
	}
}

// unblock has all lanes asked again: a permit may be free.
func (l *lanes) unthrottle() {
	for _, ln := range l.known {
		ln.throttledUntil = time.Time{}
	}
}

// nextUnblocked is when the first of the blocked lanes is worth asking again.
func (l *lanes) nextUnthrottled() (at time.Time, ok bool) {
	for _, ln := range l.known {
		if ln.live && !ln.throttledUntil.IsZero() && (!ok || ln.throttledUntil.Before(at)) {
			at, ok = ln.throttledUntil, true
		}
	}
	return at, ok
}

// learn draws the conclusions of a claim that took total tickets.
func (l *lanes) learn(p *plan, total int) {
	now := time.Now()
	for i := range p.stretches {
		s := &p.stretches[i]
		if s.saw > 0 {
			l.served++
			s.served, s.seen = l.served, now
		}
		s.lane.learn(s, total, p.most)
	}
}

// more says whether any lane is known to have tickets left.
func (l *lanes) more() bool {
	for _, ln := range l.known {
		if ln.live && ln.throttledUntil.IsZero() {
			return true
		}
	}
	return false
}

// gaps are the stretches of all lanes between those known, where lanes.sql looks for more: of the chosen queues, or of all.
func (l *lanes) gaps(chosen []string) (lows, highs []laneKey) {
	keys := make([]laneKey, 0, len(l.known))
	for key := range l.known {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b laneKey) int {
		return cmp.Or(cmp.Compare(a.queue, b.queue), cmp.Compare(a.priority, b.priority), cmp.Compare(a.channel, b.channel))
	})
	stretch := func(low, high laneKey, keys []laneKey) {
		for _, key := range keys {
			lows, highs = append(lows, low), append(highs, key)
			low = key
		}
		lows, highs = append(lows, low), append(highs, high)
	}
	const first, last = math.MinInt32, math.MaxInt32
	if chosen == nil {
		stretch(laneKey{"", first, ""}, laneKey{"\U0010FFFF", last, ""}, keys)
		return lows, highs
	}
	for _, queue := range chosen {
		var own []laneKey
		for _, key := range keys {
			if key.queue == queue {
				own = append(own, key)
			}
		}
		stretch(laneKey{queue, first, ""}, laneKey{queue, last, ""}, own)
	}
	return lows, highs
}

// surveyed are the lanes to be looked at in a survey: those whose safe mark may move, and those that seemed empty, because a claim
// that finds enough elsewhere does not ask them. Of very many it is a part, by chance. And the queues whose floor may move.
func (l *lanes) lanesToAdvance() (lanes []*lane, queues []string) {
	for _, ln := range l.known {
		if (ln.mark > ln.safe || !ln.live) && len(lanes) < 4*maxLanes {
			lanes = append(lanes, ln)
		}
	}
	for name, q := range l.queues {
		if q.moment.After(q.floor) {
			queues = append(queues, name)
		}
	}
	return lanes, queues
}

// need is the transaction number up to which all must have ended for a look at the lane's lowest ticket to be worth its cost.
// A lane that seems empty is looked at anyway, unless that is deep: then its sweep will tell.
func (ln *lane) need() int64 {
	switch {
	case !ln.live && ln.mark-ln.safe <= sweepAtOnce:
		return 0
	case ln.pending > 0:
		return ln.below
	default:
		return math.MaxInt64
	}
}

// need is the same for a queue's scheduled tickets.
func (q *queueLanes) need() int64 {
	if q.pending {
		return q.below
	}
	return math.MaxInt64
}

// advance applies one snapshot: low is the lowest position above the safe mark that it shows, 0 for none. P is the mark as it
// was when the snapshot's statement was sent.
func (ln *lane) advance(low, p, oldest, next int64) {
	if low > 0 {
		ln.live = true
	}
	if ln.pending > 0 && oldest >= ln.below {
		safe := ln.pending
		if low > 0 {
			safe = min(safe, low-1)
		}
		ln.safe = max(ln.safe, safe)
		ln.pending = 0
	}
	if ln.pending == 0 && p > ln.safe {
		ln.pending, ln.below = p, next
	}
}

// advance is the same for a queue's scheduled tickets. A ticket goes there only if its time was ahead by the clock of the
// statement that put it in, so that one with a time up to P was put in before P, by a transaction that had its number.
func (q *queueLanes) advance(low time.Time, p time.Time, oldest, next int64) {
	if q.pending && oldest >= q.below {
		floor := q.moment
		if !low.IsZero() && !low.After(floor) {
			floor = low.Add(-time.Microsecond)
		}
		if floor.After(q.floor) {
			q.floor = floor
		}
		q.pending = false
	}
	if !q.pending && p.After(q.floor) {
		q.moment, q.below, q.pending = p, next, true
	}
}

// forget drops lanes long empty, so that channels that came and went do not fill the memory.
func (l *lanes) forget(idle time.Duration) {
	for key, ln := range l.known {
		if !ln.live && ln.mark == ln.safe && time.Since(ln.seen) > idle {
			delete(l.known, key)
		}
	}
}
