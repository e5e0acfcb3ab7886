package lanes

import (
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A model plays through the proof in the package comment: inserters commit late or roll back, and claimers roll back.
type model struct {
	lane    lane
	open    []*transaction
	number  int64          // The number of the next transaction.
	pos     int64          // The next position.
	tickets map[int64]bool // The committed tickets; true if a claimer has locked one.
}

type transaction struct {
	number int64
	drawn  []int64 // By an inserter.
	locked []int64 // By a claimer.
}

// The safe mark must never pass a position whose ticket may still appear.
func TestTheSafeMarkSkipsNoTicket(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		m := &model{number: 1, pos: 1, tickets: map[int64]bool{}}
		r.Repeat(map[string]func(*rapid.T){
			"begin": m.begin, "draw": m.draw, "commit": m.commit, "roll back": m.rollBack, "claim": m.claim,
			"survey": m.survey, "": m.check,
		})
	})
}

// begin starts an inserter. A transaction has its number before it draws a position.
func (m *model) begin(*rapid.T) {
	m.open = append(m.open, &transaction{number: m.number})
	m.number++
}

func (m *model) draw(r *rapid.T) {
	tx := m.open[m.pick(r)]
	tx.drawn = append(tx.drawn, m.pos)
	m.pos++
}

func (m *model) commit(r *rapid.T) {
	tx := m.end(r)
	for _, p := range tx.drawn {
		m.tickets[p] = false
	}
	for _, p := range tx.locked {
		delete(m.tickets, p)
	}
}

func (m *model) rollBack(r *rapid.T) {
	for _, p := range m.end(r).locked {
		m.tickets[p] = false
	}
}

// pick returns the index of an open transaction.
func (m *model) pick(r *rapid.T) int {
	if len(m.open) == 0 {
		r.Skip()
	}
	return rapid.IntRange(0, len(m.open)-1).Draw(r, "transaction")
}

func (m *model) end(r *rapid.T) *transaction {
	i := m.pick(r)
	tx := m.open[i]
	m.open = slices.Delete(m.open, i, i+1)
	return tx
}

// claim takes tickets for the claimer whose lane this is, or locks them for another one.
func (m *model) claim(r *rapid.T) {
	start := m.lane.mark
	if rapid.Bool().Draw(r, "from the safe mark") {
		start = m.lane.safe
	}
	other := rapid.Bool().Draw(r, "by another claimer, whose transaction stays open")
	tx := &transaction{number: m.number}
	for _, p := range slices.Sorted(maps.Keys(m.tickets)) {
		if p <= start || m.tickets[p] {
			continue
		}
		if other {
			m.tickets[p] = true
			tx.locked = append(tx.locked, p)
		} else {
			delete(m.tickets, p)
			m.lane.mark = max(m.lane.mark, p)
		}
	}
	m.number++
	if other {
		m.open = append(m.open, tx)
	}
}

func (m *model) survey(*rapid.T) {
	low, oldest := int64(0), m.number
	for p := range m.tickets {
		if p > m.lane.safe && (low == 0 || p < low) {
			low = p
		}
	}
	for _, tx := range m.open {
		oldest = min(oldest, tx.number)
	}
	m.lane.advance(low, m.lane.mark, oldest, m.number)
}

func (m *model) check(r *rapid.T) {
	for p := range m.tickets {
		if p <= m.lane.safe {
			r.Fatalf("the ticket at %d is at or below the safe mark %d", p, m.lane.safe)
		}
	}
	for _, tx := range m.open {
		for _, p := range tx.drawn {
			if p <= m.lane.safe {
				r.Fatalf("position %d of an open transaction is at or below the safe mark %d", p, m.lane.safe)
			}
		}
	}
}

func TestTheSafeMarkAdvancesWhenOlderTransactionsHaveEnded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name                 string
		lane                 lane
		low, p, oldest, next int64
		safe, pending, below int64
	}{
		{"the first survey", lane{mark: 10}, 0, 10, 100, 100, 0, 10, 100},
		{"an older transaction still runs", lane{mark: 20, pending: 10, below: 100}, 0, 20, 99, 150, 0, 10, 100},
		{"all older transactions have ended", lane{mark: 20, pending: 10, below: 100}, 0, 20, 100, 150, 10, 20, 150},
		{"a ticket is left below", lane{mark: 20, pending: 10, below: 100}, 7, 20, 100, 150, 6, 20, 150},
		{"a ticket is left above", lane{mark: 20, pending: 10, below: 100}, 15, 20, 100, 150, 10, 20, 150},
		{"the mark never goes back", lane{mark: 20, safe: 8, pending: 10, below: 100}, 5, 20, 100, 150, 8, 20, 150},
		{"nothing left to advance", lane{mark: 10, pending: 10, below: 100}, 0, 10, 100, 150, 10, 0, 100},
	} {
		ln := test.lane
		ln.advance(test.low, test.p, test.oldest, test.next)
		if ln.safe != test.safe || ln.pending != test.pending || ln.pending > 0 && ln.below != test.below {
			t.Errorf("%s: safe %d, pending %d below %d; want %d, %d, %d",
				test.name, ln.safe, ln.pending, ln.below, test.safe, test.pending, test.below)
		}
	}
}

func TestAFloorAdvancesWhenOlderTransactionsHaveEnded(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	q := queue{floor: at(0)}
	q.advance(time.Time{}, at(10), 100, 100)
	if !q.pending || !q.moment.Equal(at(10)) || !q.floor.Equal(at(0)) {
		t.Errorf("after the first survey: %+v", q)
	}
	q.advance(time.Time{}, at(10), 99, 150)
	if !q.pending || !q.floor.Equal(at(0)) {
		t.Errorf("while an older transaction runs: %+v", q)
	}
	q.advance(at(7), at(10), 100, 150)
	if want := at(7).Add(-time.Microsecond); !q.floor.Equal(want) {
		t.Errorf("with a ticket left at 7 the floor is %v, want %v", q.floor, want)
	}
	q.advance(at(30), at(20), 200, 200)
	if !q.floor.Equal(at(10)) {
		t.Errorf("with a ticket left later than P the floor is %v, want %v", q.floor, at(10))
	}
}
