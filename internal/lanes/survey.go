package lanes

import (
	"math"
	"time"
)

// maxSurveyed is how many lanes one survey reads, at most. Of more lanes the next surveys read
// the others.
const maxSurveyed = 4 * maxLanes

// maxFloors is the same for queues.
const maxFloors = 64

// A Survey is what one snapshot of the database is asked, to advance safe marks and floors. The caller fills in each
// Low.
type Survey struct {
	Lanes  []LaneMark
	Queues []QueueFloor
}

// A LaneMark asks for the lowest position of a lane above Safe.
type LaneMark struct {
	Key
	Safe int64
	Need int64 // The question is worth its cost once all transactions below this number have ended.
	Low  int64 // The answer: the lowest position above Safe, or 0 if there is none or the question was skipped.

	lane *lane
	mark int64 // P of the proof, as it was before the snapshot.
}

// A QueueFloor asks for the earliest scheduled ticket of a queue after Floor.
type QueueFloor struct {
	Queue string
	Floor time.Time
	Need  int64
	Low   time.Time // The answer, or zero.
}

// Survey returns what to ask the next snapshot, or nil if there is nothing to ask.
//
// It asks for two kinds of lanes: those that seemed empty, and those whose safe mark may advance. A claim that finds
// enough elsewhere does not read the former. It also asks for the queues whose floor may advance. The first survey of
// a Set asks in any case, to learn the identity of the database.
func (s *Set) Survey() *Survey {
	v := &Survey{}
	for _, ln := range s.empty {
		v.add(ln)
	}
	for range min(len(s.unsettled), maxSurveyed-len(v.Lanes)) {
		ln := s.unsettled[0]
		s.unsettled[0] = nil
		s.unsettled = s.unsettled[1:]
		if ln.isGone || ln.mark == ln.safe {
			ln.isSettling = false
			continue
		}
		s.unsettled = append(s.unsettled, ln)
		if ln.state != empty {
			v.add(ln)
		}
	}
	for name, q := range s.queues {
		if q.moment.After(q.floor) && len(v.Queues) < maxFloors {
			v.Queues = append(v.Queues, QueueFloor{Queue: name, Floor: q.floor, Need: q.need()})
		}
	}
	if len(v.Lanes)+len(v.Queues) == 0 && s.identity != "" {
		return nil
	}
	return v
}

func (v *Survey) add(ln *lane) {
	v.Lanes = append(v.Lanes, LaneMark{Key: ln.Key, Safe: ln.safe, Need: ln.need(), lane: ln, mark: ln.mark})
}

// Advance applies the answers of a survey. oldest is the oldest transaction that ran in its snapshot, and next is the
// number of the next transaction, read in the same snapshot.
func (s *Set) Advance(v *Survey, oldest, next int64) {
	for i := range v.Lanes {
		m := &v.Lanes[i]
		m.lane.advance(m.Low, m.mark, oldest, next)
		s.file(m.lane)
	}
	for i := range v.Queues {
		f := &v.Queues[i]
		q := s.queue(f.Queue)
		q.advance(f.Low, q.moment, oldest, next)
	}
}

// need returns the transaction number below which all must have ended before the lane's lowest ticket is worth
// reading. A lane that seems empty is read in any case. If such a lane is deep, its sweep finds what is there.
func (ln *lane) need() int64 {
	switch {
	case !ln.live && ln.mark-ln.safe <= maxSlice:
		return 0
	case ln.pending > 0:
		return ln.below
	default:
		return math.MaxInt64
	}
}

// need is the same for a queue's scheduled tickets.
func (q *queue) need() int64 {
	if q.pending {
		return q.below
	}
	return math.MaxInt64
}

// advance applies one snapshot to a lane: steps 1 to 3 of the proof. low is the lowest position above the safe mark
// that the snapshot shows, or 0 if there is none. p is the mark as it was before the snapshot's statement was sent.
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

// advance is the same for a queue's scheduled tickets. A scheduled ticket's time is later than the clock was when the
// ticket was inserted. So a ticket with a time up to P was inserted before P, by a transaction that had its number
// then.
func (q *queue) advance(low time.Time, p time.Time, oldest, next int64) {
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
