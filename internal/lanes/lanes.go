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
type Set struct {
	known  map[Key]*lane
	queues map[string]*queue

	turns        int64                     // The number of times a lane was served.
	weights      map[string]map[string]int // The weights of channels, by queue.
	weightsAt    time.Time                 // When the weights were last asked for.
	discoveredAt time.Time                 // When unknown lanes were last looked for.
	identity     string                    // Which server and which table the marks belong to.
}

// A lane is what a Set remembers of one lane.
type lane struct {
	Key
	mark, safe int64
	pending    int64     // P of the proof, or 0 if no advance is under way.
	below      int64     // S of the proof.
	live       bool      // The lane may have tickets that the next claim finds.
	turn       int64     // The value of Set.turns when the lane was last served.
	seen       time.Time // When its last ticket was taken.

	swept    time.Time // When the last slice of a sweep was read.
	cursor   int64     // The next slice starts above this position.
	found    bool      // The current sweep has met tickets.
	clean    bool      // The last complete sweep met none.
	sweepNow bool      // There is nothing above the mark: the next sweep does not wait for its pace.

	throttledUntil time.Time // A limit cut the lane short, and it is not worth asking before this time.
}

// New returns an empty Set.
func New() *Set {
	s := &Set{}
	s.Reset()
	return s
}

// Reset forgets everything, also the weights of queues.
func (s *Set) Reset() { *s = Set{known: map[Key]*lane{}, queues: map[string]*queue{}} }

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
	queues := s.queues
	s.known, s.queues, s.discoveredAt = map[Key]*lane{}, map[string]*queue{}, time.Time{}
	for name, q := range queues {
		s.SetWeight(name, q.weight)
	}
	return true
}

// Find records that a lane has tickets.
func (s *Set) Find(key Key) { s.find(key) }

func (s *Set) find(key Key) *lane {
	ln := s.known[key]
	if ln == nil {
		ln = &lane{Key: key}
		s.known[key] = ln
	}
	ln.live, ln.seen = true, time.Now()
	s.queue(key.Queue)
	return ln
}

// More reports whether a lane that is not throttled is believed to have tickets left.
func (s *Set) More() bool {
	for _, ln := range s.known {
		if ln.live && ln.throttledUntil.IsZero() {
			return true
		}
	}
	return false
}

// Forget drops lanes that have been empty for longer than idle. Otherwise channels that come and go would fill the
// memory.
func (s *Set) Forget(idle time.Duration) {
	for key, ln := range s.known {
		if !ln.live && ln.mark == ln.safe && time.Since(ln.seen) > idle {
			delete(s.known, key)
		}
	}
}
