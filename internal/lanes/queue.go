package lanes

import (
	"time"
)

// A queue is what a Set remembers of one queue: its share of claims and its scheduled tickets.
//
// Scheduled tickets are ordered by a time, not by a position. When their time comes, a promotion moves them into a
// lane. The floor is to them what the safe mark is to a lane: no scheduled ticket is left at or before the floor, and
// none will ever appear there.
type queue struct {
	weight  int
	floor   time.Time
	moment  time.Time // P of the proof: every ticket that was due by this time has been promoted.
	below   int64     // S of the proof.
	pending bool
	dueAt   time.Time // When the next ticket is due, by this process's clock. Zero if none is known to be scheduled.
}

// firstFloor is before every time that the database can store.
var firstFloor = time.Unix(0, 0).UTC().AddDate(-4000, 0, 0)

func (s *Set) queue(name string) *queue {
	q := s.queues[name]
	if q == nil {
		q = &queue{weight: 1, floor: firstFloor}
		s.queues[name] = q
	}
	return q
}

// AddQueue makes a queue known. Its weight is 1.
func (s *Set) AddQueue(name string) { s.queue(name) }

// SetWeight sets a queue's share of claims, relative to the other queues.
func (s *Set) SetWeight(name string, weight int) { s.queue(name).weight = weight }

// Queues returns the names of the known queues, in no order.
func (s *Set) Queues() []string {
	names := make([]string, 0, len(s.queues))
	for name := range s.queues {
		names = append(names, name)
	}
	return names
}

// FindScheduled records that a queue has scheduled tickets, and that some may be due.
func (s *Set) FindScheduled(name string) { s.queue(name).dueAt = time.Now() }

// DueQueues returns the queues that a promotion should look at: the queues with room whose next ticket is due by now,
// or, if all is true, all queues with room.
func (s *Set) DueQueues(now time.Time, all bool, room func(queue string) int) (names []string) {
	for name, q := range s.queues {
		if room(name) > 0 && (all || !q.dueAt.IsZero() && !q.dueAt.After(now)) {
			names = append(names, name)
		}
	}
	return names
}

// NextDue returns when the next scheduled ticket of any queue is due.
func (s *Set) NextDue() (at time.Time, ok bool) {
	for _, q := range s.queues {
		if !q.dueAt.IsZero() && (!ok || q.dueAt.Before(at)) {
			at, ok = q.dueAt, true
		}
	}
	return at, ok
}

// Floor returns the time up to which a promotion of the queue need not read.
func (s *Set) Floor(name string) time.Time { return s.queue(name).floor }

// RecordPromotion records a promotion of the queue. If complete is true, it moved all tickets that were due at
// moment, by the database's clock. next is when the next ticket is due, by this process's clock, or zero if none is
// scheduled.
func (s *Set) RecordPromotion(name string, moment time.Time, complete bool, next time.Time) {
	q := s.queue(name)
	if complete && !q.pending {
		q.moment = moment
	}
	q.dueAt = next
}
