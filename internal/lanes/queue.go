package lanes

import (
	"cmp"
	"slices"
	"time"
)

// A queue is what a Set remembers of one queue: its share of claims and its scheduled tickets.
//
// Scheduled tickets are ordered by a time, not by a position. When their time comes, a promotion moves them into a
// lane. The floor is to them what the safe mark is to a lane: no scheduled ticket is left at or before the floor, and
// none will ever appear there.
type queue struct {
	name   string
	weight int
	seen   time.Time // When it last had a lane or a scheduled ticket.
	chosen bool      // It was named by the caller, and is never forgotten.
	lanes  int       // The number of its known lanes.
	levels []*level  // By priority.
	ready  int       // The number of its ready lanes.
	turn   int64     // The value of Set.turns when one of its lanes was last served.
	at     int       // Its index in Set.readyQueues.

	limited     bool // It may have no room although the runner has.
	limit       int  // The slots that it may hold, if it is limited.
	room, share int  // What the plan in the making may take and should take.

	floor   time.Time
	moment  time.Time // P of the proof: every ticket that was due by this time has been promoted.
	below   int64     // S of the proof.
	pending bool
	dueAt   time.Time // When the next ticket is due, by this process's clock. Zero if none is known to be scheduled.
}

// firstFloor is before every time that the database can store.
var firstFloor = time.Unix(0, 0).UTC().AddDate(-4000, 0, 0)

// A level is a priority of a queue. Its channels share what it gets.
type level struct {
	priority int32
	ready    heap[*lane]

	chosen  []*lane // The lanes of the plan in the making.
	weights int     // The sum of their weights.
}

func (q *queue) index() *int { return &q.at }

// compare orders queues: the one that has waited longest comes first.
func (q *queue) compare(other *queue) int {
	if q.turn != other.turn {
		return cmp.Compare(q.turn, other.turn)
	}
	return cmp.Compare(q.name, other.name)
}

// level returns the level of a priority. Suspects have none.
func (q *queue) level(priority int32) *level {
	i, found := slices.BinarySearchFunc(q.levels, priority, func(l *level, p int32) int {
		return cmp.Compare(l.priority, p)
	})
	if !found {
		q.levels = slices.Insert(q.levels, i, &level{priority: priority})
	}
	return q.levels[i]
}

// leastUrgent returns the least urgent priority of the queue's ready lanes. It has one.
func (q *queue) leastUrgent() int32 {
	for _, l := range slices.Backward(q.levels) {
		if len(l.ready) > 0 {
			return l.priority
		}
	}
	return Suspect
}

func (s *Set) queue(name string) *queue {
	q := s.queues[name]
	if q == nil {
		q = &queue{name: name, weight: 1, floor: firstFloor}
		s.queues[name] = q
	}
	return q
}

// maxLaneless is how many queues a Set keeps whose lanes are forgotten, unless they were in use a moment ago.
const (
	maxLaneless = 256
	aMoment     = 2 * time.Second
)

// forgetQueues drops queues of which nothing is known but their floors. Each call looks at some.
func (s *Set) forgetQueues(idle time.Duration) {
	if len(s.queues) > maxLaneless {
		idle = min(idle, aMoment)
	}
	looked := 0
	for name, q := range s.queues {
		if looked++; looked > maxLaneless {
			return
		}
		if q.lanes == 0 && !q.chosen && q.dueAt.IsZero() && time.Since(q.seen) > idle {
			delete(s.queues, name)
		}
	}
}

// AddQueue makes a queue known. Its weight is 1.
func (s *Set) AddQueue(name string) { s.queue(name).chosen = true }

// SetWeight sets a queue's share of claims, relative to the other queues.
func (s *Set) SetWeight(name string, weight int) {
	q := s.queue(name)
	if q.ready > 0 {
		s.readyWeight += weight - q.weight
	}
	q.weight, q.chosen = weight, true
}

// LimitQueue sets how many slots a queue may hold at most.
func (s *Set) LimitQueue(name string, most int) {
	q := s.queue(name)
	q.limit = most
	if !q.limited {
		q.limited, q.chosen = true, true
		s.limited = append(s.limited, q)
	}
}

// Queues returns the names of the known queues, in no order. If all is false, it returns none.
func (s *Set) Queues(all bool) []string {
	names := []string{}
	if all {
		for name := range s.queues {
			names = append(names, name)
		}
	}
	return names
}

// FindScheduled records that a queue has scheduled tickets, and that some may be due.
func (s *Set) FindScheduled(name string) { s.setDue(s.queue(name), time.Now()) }

func (s *Set) setDue(q *queue, at time.Time) {
	if !q.dueAt.IsZero() {
		q.seen = time.Now()
	}
	if q.dueAt = at; at.IsZero() {
		delete(s.due, q)
		return
	}
	s.due[q] = struct{}{}
}

// DueQueues returns the queues that a promotion should look at: the queues with room whose next ticket is due by now,
// or, if all is true, all queues with room.
func (s *Set) DueQueues(now time.Time, all bool, room func(queue string) int) (names []string) {
	if all {
		for name := range s.queues {
			if room(name) > 0 {
				names = append(names, name)
			}
		}
		return names
	}
	for q := range s.due {
		if !q.dueAt.After(now) && room(q.name) > 0 {
			names = append(names, q.name)
		}
	}
	return names
}

// NextDue returns when the next scheduled ticket of any queue is due.
func (s *Set) NextDue() (at time.Time, ok bool) {
	for q := range s.due {
		if !ok || q.dueAt.Before(at) {
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
	s.setDue(q, next)
}
