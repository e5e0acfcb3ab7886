// Package lanes remembers where in each FIFO lane to go on reading, and proves that nothing is skipped.
//
// A lane holds tickets in the order of their positions. Inserters add tickets, and claimers take them: a claimer
// reads a lane from some position upwards and deletes the tickets that it takes. A ticket's position never changes,
// and a position is never used twice.
//
// A [Set] is what one claimer remembers of its lanes. Everything in a Set is a cache: if it is lost, claims are
// slower for a while, and no ticket is lost.
//
// # Why claims start at a mark
//
// Deleted tickets pile up at the head of a lane. They stay there while any snapshot older than the deletion is open,
// and every reader has to step over them. So a claim does not start at the beginning of a lane. It starts at one of
// two marks:
//
//   - The mark is the highest position claimed so far.
//   - The safe mark is at or below the mark. No ticket is left at or below the safe mark, and none will ever
//     appear there.
//
// Between the safe mark and the mark there may be live tickets that earlier claims did not see. There are two
// reasons. An inserter draws its positions early and commits late, or another claimer has locked a ticket and rolls
// back.
//
// # How the safe mark advances
//
//  1. Let P be the mark. Every position up to P has been drawn.
//  2. In a later statement, read S, the number of the next transaction. Each transaction that drew a position up to P
//     drew it before S was read. It also had its transaction number before it drew the position: all inserters take
//     care of that. So its number is below S.
//  3. In some later snapshot the oldest running transaction is not below S. Then all transactions below S have ended.
//     The tickets up to P that this snapshot shows are all that will ever be there. The safe mark becomes P, or one
//     below the lowest ticket that is still there. That lowest ticket is read without skipping locked rows, because
//     a claimer that has locked a ticket may still roll back.
//
// # Sweeps
//
// A sweep reads the positions between the safe mark and the mark. Its cost grows with their number, so sweeps have a
// limited pace. If a lane is shallow, every claim sweeps it whole. If an old writing transaction keeps a lane deep,
// each claim sweeps one slice of it, and also takes tickets above the mark. So no claim waits for a whole sweep.
package lanes

import (
	"cmp"
	"slices"
	"time"
)

// A Key names a lane. Claims read the lanes of a queue by ascending priority.
type Key struct {
	Queue    string
	Priority int32
	Channel  string
}

// Priorities of the lanes that are not an inserter's choice. Both come before all other priorities.
const (
	Returned = -32768 // Tickets that were given back.
	Suspect  = -32769 // Tickets whose last two claimers crashed. They are claimed one at a time.
)

// A Set remembers the lanes of one claimer. It is not safe for concurrent use.
//
// A lane is ready, throttled or empty: see lane.state. Each state has an order of its own, so that the cost of a claim
// of k tickets is O(k log n) among n lanes. Of empty lanes, a Set keeps a few only.
type Set struct {
	known   map[Key]*lane
	sorted  index
	queues  map[string]*queue
	limited []*queue  // Queues with a limit of their own.
	held    *Holdings // What the jobs that were claimed hold now. It may be nil.

	readyQueues heap[*queue]        // The queues with ready lanes that are no suspects.
	readyWeight int                 // The sum of their weights.
	ready       int                 // The number of ready lanes, with the suspects.
	suspects    map[*lane]struct{}  // Ready lanes of suspects.
	throttled   heap[throttledLane] // The first to be asked again comes first.
	empty       []*lane             // The one that has not been read for the longest time comes first.
	unsettled   []*lane             // Lanes whose safe mark may advance, in the order in which surveys ask for them.
	due         map[*queue]struct{} // Queues whose next scheduled ticket is known.
	live        int                 // The number of live lanes.
	liveChannel int                 // The number of these that have a channel.
	reach       int                 // The number of lanes that the next claim reads, unless it needs more.

	turns        int64                     // The number of times a lane was served.
	weights      map[string]map[string]int // The weights of channels, by queue.
	weightsAt    time.Time                 // When the weights were last asked for.
	discoveredAt time.Time                 // When unknown lanes were last looked for.
	cursor       Key                       // The next discovery starts above this key.
	identity     string                    // Which server and which table the marks belong to.
}

// A lane is what a Set remembers of one lane.
type lane struct {
	Key
	queue      *queue
	level      *level
	state      state
	at         int // Its index in the heap of its state.
	first      int // The index of its first stretch in plan.
	plan       *Plan
	quota      int  // What the plan in the making should take.
	counted    bool // It is counted as live.
	isSettling bool // It is in Set.unsettled.
	isGone     bool // It is forgotten.

	mark, safe int64
	pending    int64     // P of the proof, or 0 if no advance is under way.
	below      int64     // S of the proof.
	live       bool      // The lane may have tickets that the next claim finds.
	turn       int64     // The value of Set.turns when the lane was last served.
	seen       time.Time // When its last ticket was taken.

	fresh    int       // The next reads that start at the safe mark, whatever the depth: see freshReads.
	swept    time.Time // When the last slice of a sweep was read.
	cursor   int64     // The next slice starts above this position.
	found    bool      // The current sweep has met tickets.
	clean    bool      // The last complete sweep met none.
	sweepNow bool      // There is nothing above the mark: the next sweep does not wait for its pace.

	throttledUntil time.Time // A limit cut the lane short, and it is not worth asking before this time.
}

// A state of a lane says which order of its Set has it.
type state int8

const (
	unknown   state = iota
	ready           // It may have tickets.
	throttled       // A limit cut it short, and its time has not come.
	empty           // It seems empty.
)

const (
	// maxEmpty is the number of empty lanes that a Set keeps, at most. An idle claim reads all of them. A discovery finds
	// the others when they have tickets again.
	maxEmpty = maxLanes

	// freshReads is how many reads of a new lane start at the safe mark, whatever the distance to the mark. The distance
	// is in positions, of which most belong to other lanes. With these reads, a lane of one ticket is soon known as empty.
	freshReads = 3
)

func (ln *lane) index() *int { return &ln.at }

// compare orders the ready lanes of a level: the one that has waited longest comes first.
func (ln *lane) compare(other *lane) int {
	if ln.turn != other.turn {
		return cmp.Compare(ln.turn, other.turn)
	}
	return cmp.Compare(ln.Channel, other.Channel)
}

// A throttledLane orders lanes by the time until which they are throttled.
type throttledLane struct{ *lane }

func (t throttledLane) compare(other throttledLane) int {
	return t.throttledUntil.Compare(other.throttledUntil)
}

// New returns an empty Set.
func New() *Set {
	s := &Set{}
	s.Reset()
	return s
}

// Reset forgets everything, also the weights of queues.
func (s *Set) Reset() {
	*s = Set{
		known: map[Key]*lane{}, queues: map[string]*queue{}, suspects: map[*lane]struct{}{}, due: map[*queue]struct{}{},
		reach: maxLanes, held: s.held,
	}
}

// UseHoldings makes the Set share slots by what the jobs hold that were claimed before.
func (s *Set) UseHoldings(h *Holdings) { s.held = h }

// ResetIfMoved compares the identity of the database with the one that the marks belong to. If they differ, it
// forgets all lanes and returns true. It keeps the weights of the queues.
//
// After a failover to a standby that lagged, or after a restore, the database draws positions and transaction numbers
// a second time. The old marks would lie above tickets that were never claimed. Not every such change causes an
// error, because connection pools replace broken connections by themselves.
func (s *Set) ResetIfMoved(identity string) bool {
	before := s.identity
	s.identity = identity
	if before == "" || before == identity {
		return false
	}
	queues, turns, weights, weightsAt := s.queues, s.turns, s.weights, s.weightsAt
	s.Reset()
	s.identity, s.turns, s.weights, s.weightsAt = identity, turns, weights, weightsAt
	for name, q := range queues {
		if q.chosen {
			s.SetWeight(name, q.weight)
		}
		if q.limited {
			s.LimitQueue(name, q.limit)
		}
	}
	return true
}

// Find records that a lane has tickets.
func (s *Set) Find(key Key) { s.find(key) }

func (s *Set) find(key Key) *lane {
	ln := s.known[key]
	if ln == nil {
		q := s.queue(key.Queue)
		ln = &lane{Key: key, queue: q, level: q.level(key.Priority), fresh: freshReads}
		q.lanes++
		s.known[key] = ln
		s.sorted.insert(ln)
	}
	ln.live, ln.seen = true, time.Now()
	s.file(ln)
	return ln
}

// file moves a lane to where its state belongs. It follows each change of a lane.
func (s *Set) file(ln *lane) {
	if ln.isGone {
		return
	}
	if ln.live != ln.counted {
		ln.counted = ln.live
		s.countLive(ln)
	}
	if ln.fresh == 0 && ln.mark > ln.safe && !ln.isSettling {
		ln.isSettling = true
		s.unsettled = append(s.unsettled, ln)
	}
	now := empty
	switch {
	case !ln.throttledUntil.IsZero():
		now = throttled
	case ln.live:
		now = ready
	}
	if now == ln.state {
		return
	}
	s.leave(ln)
	ln.state = now
	s.enter(ln)
}

func (s *Set) countLive(ln *lane) {
	change := 1
	if !ln.live {
		change = -1
	}
	s.live += change
	if ln.Channel != "" {
		s.liveChannel += change
	}
}

func (s *Set) leave(ln *lane) {
	q := ln.queue
	switch {
	case ln.state == throttled:
		s.throttled.remove(throttledLane{ln})
	case ln.state == empty:
		i := slices.Index(s.empty, ln)
		s.empty = slices.Delete(s.empty, i, i+1)
	case ln.state != ready:
		return
	case ln.Priority == Suspect:
		s.ready--
		delete(s.suspects, ln)
	default:
		s.ready--
		ln.level.ready.remove(ln)
		if q.ready--; q.ready == 0 {
			s.readyQueues.remove(q)
			s.readyWeight -= q.weight
		}
	}
}

func (s *Set) enter(ln *lane) {
	q := ln.queue
	switch {
	case ln.state == throttled:
		s.throttled.push(throttledLane{ln})
	case ln.state == empty:
		s.empty = append(s.empty, ln)
		if len(s.empty) > maxEmpty {
			s.forget(s.empty[0])
		}
	case ln.Priority == Suspect:
		s.ready++
		s.suspects[ln] = struct{}{}
	default:
		s.ready++
		ln.level.ready.push(ln)
		if q.ready++; q.ready == 1 {
			s.readyQueues.push(q)
			s.readyWeight += q.weight
		}
	}
}

// More reports whether a lane that is not throttled is believed to have tickets left.
func (s *Set) More() bool { return s.ready > 0 }

// Ready returns the number of these lanes.
func (s *Set) Ready() int { return s.ready }

// Forget drops lanes that have been empty for longer than idle, and queues that have no lanes.
func (s *Set) Forget(idle time.Duration) {
	for _, ln := range slices.Clone(s.empty) {
		if ln.mark == ln.safe && time.Since(ln.seen) > idle {
			s.forget(ln)
		}
	}
	s.forgetQueues(idle)
}

// forget drops an empty lane. If the lane has tickets again, or late ones, a discovery finds it and reads it from its
// beginning.
func (s *Set) forget(ln *lane) {
	s.leave(ln)
	ln.state, ln.isGone = unknown, true
	delete(s.known, ln.Key)
	s.sorted.remove(ln)
	ln.queue.lanes--
	ln.queue.seen = time.Now()
}
