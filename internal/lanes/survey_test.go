package lanes

import (
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The model plays through the proof in the package comment: inserters that commit late or roll back, and claimers
// that roll back. The safe mark must never pass a position whose ticket may still appear.
func TestTheSafeMarkSkipsNoTicket(t *testing.T) {
	t.Parallel()
	type transaction struct {
		number int64
		drawn  []int64 // By an inserter.
		locked []int64 // By a claimer.
	}
	rapid.Check(t, func(r *rapid.T) {
		var ln lane
		var open []*transaction
		number, pos := int64(1), int64(1)
		tickets := map[int64]bool{} // The committed tickets; true if a claimer has locked one.
		end := func(i int) *transaction {
			tx := open[i]
			open = slices.Delete(open, i, i+1)
			return tx
		}
		pick := func(r *rapid.T) int {
			if len(open) == 0 {
				r.Skip()
			}
			return rapid.IntRange(0, len(open)-1).Draw(r, "transaction")
		}
		r.Repeat(map[string]func(*rapid.T){
			"begin": func(r *rapid.T) { // A transaction has its number before it draws a position.
				open = append(open, &transaction{number: number})
				number++
			},
			"draw": func(r *rapid.T) {
				tx := open[pick(r)]
				tx.drawn = append(tx.drawn, pos)
				pos++
			},
			"commit": func(r *rapid.T) {
				tx := end(pick(r))
				for _, p := range tx.drawn {
					tickets[p] = false
				}
				for _, p := range tx.locked {
					delete(tickets, p)
				}
			},
			"roll back": func(r *rapid.T) {
				for _, p := range end(pick(r)).locked {
					tickets[p] = false
				}
			},
			"claim": func(r *rapid.T) {
				start := ln.mark
				if rapid.Bool().Draw(r, "from the safe mark") {
					start = ln.safe
				}
				other := rapid.Bool().Draw(r, "by another claimer, whose transaction stays open")
				tx := &transaction{number: number}
				for _, p := range slices.Sorted(maps.Keys(tickets)) {
					if p <= start || tickets[p] {
						continue
					}
					if other {
						tickets[p] = true
						tx.locked = append(tx.locked, p)
					} else {
						delete(tickets, p)
						ln.mark = max(ln.mark, p)
					}
				}
				number++
				if other {
					open = append(open, tx)
				}
			},
			"survey": func(r *rapid.T) {
				low, oldest := int64(0), number
				for p := range tickets {
					if p > ln.safe && (low == 0 || p < low) {
						low = p
					}
				}
				for _, tx := range open {
					oldest = min(oldest, tx.number)
				}
				ln.advance(low, ln.mark, oldest, number)
			},
			"": func(r *rapid.T) {
				for p := range tickets {
					if p <= ln.safe {
						r.Fatalf("the ticket at %d is at or below the safe mark %d", p, ln.safe)
					}
				}
				for _, tx := range open {
					for _, p := range tx.drawn {
						if p <= ln.safe {
							r.Fatalf("position %d of an open transaction is at or below the safe mark %d", p, ln.safe)
						}
					}
				}
			},
		})
	})
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
