package pawl

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// known are lanes with tickets, and nothing else known of them.
func known(keys ...laneKey) *lanes {
	l := &lanes{}
	l.reset()
	for _, key := range keys {
		l.find(key)
	}
	return l
}

func roomy(string) int { return 1000 }

func TestPlanOrder(t *testing.T) {
	t.Parallel()
	all := []laneKey{{"q", 5, ""}, {"q", 0, ""}, {"q", laneSuspect, ""}, {"q", -5, ""}, {"q", laneReturned, ""}, {"q", 7, ""}}
	for _, test := range []struct {
		name        string
		empty       []int32 // priorities of lanes that seem empty
		idle, fresh bool
		room        int
		want        []int32
	}{
		{name: "the returned, then by priority; no suspects", room: 9, want: []int32{laneReturned, -5, 0, 5, 7}},
		{name: "beside a suspect none of the returned", fresh: true, room: 9, want: []int32{-5, 0, 5, 7}},
		{name: "what seems empty and is less urgent is not asked", empty: []int32{5, 7}, room: 9, want: []int32{laneReturned, -5, 0}},
		{name: "what seems empty and is more urgent is", empty: []int32{laneReturned, -5}, room: 9, want: []int32{laneReturned, -5, 0, 5, 7}},
		{name: "idle: all, those that seem empty last", empty: []int32{-5, 7}, idle: true, room: 9, want: []int32{laneReturned, -5, 0, 5, 7}},
		{name: "all seem empty", empty: []int32{laneReturned, -5, 0, 5, 7}, room: 9},
		{name: "all seem empty, idle", empty: []int32{laneReturned, -5, 0, 5, 7}, idle: true, room: 9, want: []int32{laneReturned, -5, 0, 5, 7}},
		{name: "no room", idle: true, room: 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := known(all...)
			for _, priority := range test.empty {
				l.known[laneKey{"q", priority, ""}].live = false
			}
			p := l.plan(10, test.idle, func(string) int { return test.room }, test.fresh)
			var priorities []int32
			for _, s := range p.stretches {
				priorities = append(priorities, s.priority)
			}
			if !slices.Equal(priorities, test.want) {
				t.Errorf("asks %v, want %v", priorities, test.want)
			}
			if p.most != 10 {
				t.Errorf("takes %d at most, want 10", p.most)
			}
		})
	}
}

func TestPlanShares(t *testing.T) {
	t.Parallel()
	channels := func(queue string, n int) (keys []laneKey) {
		for i := range n {
			keys = append(keys, laneKey{queue, 0, fmt.Sprint(i)})
		}
		return keys
	}
	for _, test := range []struct {
		name    string
		keys    []laneKey
		weights map[string]int
		n       int
		want    map[string]int // most that a lane of the queue gives
	}{
		{name: "one lane", keys: channels("q", 1), n: 32, want: map[string]int{"q": 32}},
		{name: "four channels", keys: channels("q", 4), n: 32, want: map[string]int{"q": 8}},
		{name: "more channels than places", keys: channels("q", 100), n: 32, want: map[string]int{"q": 1}},
		{name: "a share is rounded up", keys: channels("q", 3), n: 32, want: map[string]int{"q": 11}},
		{name: "two queues", keys: append(channels("a", 1), channels("b", 1)...), n: 32, want: map[string]int{"a": 16, "b": 16}},
		{name: "by weight", keys: append(channels("a", 1), channels("b", 1)...), weights: map[string]int{"a": 3}, n: 32, want: map[string]int{"a": 24, "b": 8}},
		{name: "by weight, then channels", keys: append(channels("a", 6), channels("b", 2)...), weights: map[string]int{"a": 3}, n: 32, want: map[string]int{"a": 4, "b": 4}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := known(test.keys...)
			for queue, weight := range test.weights {
				l.queue(queue).weight = weight
			}
			p := l.plan(test.n, false, roomy, false)
			for _, s := range p.stretches {
				if s.quota != test.want[s.queue] {
					t.Errorf("%v gives at most %d, want %d", s.laneKey, s.quota, test.want[s.queue])
				}
			}
			if len(p.stretches) != len(test.keys) {
				t.Errorf("asks %d of %d lanes", len(p.stretches), len(test.keys))
			}
		})
	}
}

func TestPlanTakesTurns(t *testing.T) {
	t.Parallel()
	l := known(laneKey{"q", 0, "a"}, laneKey{"q", 0, "b"}, laneKey{"q", 0, "c"})
	served := map[string]int{}
	for range 30 {
		p := l.plan(1, false, roomy, false)
		first := p.stretches[0]
		served[first.channel]++
		l.recordTicket(p, first.laneKey, 1)
		l.learn(p, 1)
	}
	if served["a"] != 10 || served["b"] != 10 || served["c"] != 10 {
		t.Errorf("the turns were %v, want ten each", served)
	}
}

func TestPlanIsBounded(t *testing.T) {
	t.Parallel()
	l := known()
	for i := range 3 * maxLanes {
		l.find(laneKey{"q", 0, fmt.Sprint(i)})
	}
	asked := map[string]bool{}
	for range 3 {
		p := l.plan(1000, false, roomy, false)
		if len(p.stretches) != maxLanes {
			t.Fatalf("asks %d lanes, want %d", len(p.stretches), maxLanes)
		}
		for _, ln := range p.stretches {
			asked[ln.channel] = true
			l.recordTicket(p, ln.laneKey, 1)
		}
		l.learn(p, maxLanes)
	}
	if len(asked) != 3*maxLanes {
		t.Errorf("in three claims %d of %d channels had a turn", len(asked), 3*maxLanes)
	}
}

func TestSuspects(t *testing.T) {
	t.Parallel()
	l := known(laneKey{"q", 0, ""})
	if p := l.suspects(roomy); p != nil {
		t.Errorf("there is no suspect, and %+v", p)
	}
	l.find(laneKey{"q", laneSuspect, ""})
	if p := l.suspects(roomy); p == nil || p.most != 1 || len(p.stretches) != 1 || p.stretches[0].quota != 1 || p.stretches[0].priority != laneSuspect {
		t.Errorf("the plan is %+v, want one job of the suspects", p)
	}
	if p := l.suspects(func(string) int { return 0 }); p != nil {
		t.Errorf("there is no room, and %+v", p)
	}
}

func TestStretches(t *testing.T) {
	t.Parallel()
	const end = math.MaxInt64
	now := time.Now()
	for _, test := range []struct {
		name               string
		mark, safe, cursor int64
		swept              time.Duration // ago
		hasty, idle        bool
		want               [][2]int64
	}{
		{name: "nothing between", mark: 10, safe: 10, want: [][2]int64{{10, end}}},
		{name: "little between", mark: 1000, safe: 10, swept: 10 * time.Millisecond, want: [][2]int64{{10, end}}},
		{name: "much between, just swept", mark: 2_000_000, safe: 10, swept: time.Millisecond, want: [][2]int64{{2_000_000, end}}},
		{name: "a slice is due", mark: 2_000_000, safe: 10, swept: 10 * time.Millisecond, want: [][2]int64{{10, 5010}, {2_000_000, end}}},
		{name: "a slice further on", mark: 2_000_000, safe: 10, cursor: 7000, swept: 10 * time.Millisecond, want: [][2]int64{{7000, 12_000}, {2_000_000, end}}},
		{name: "the safe mark went by", mark: 2_000_000, safe: 9000, cursor: 7000, swept: 10 * time.Millisecond, want: [][2]int64{{9000, 14_000}, {2_000_000, end}}},
		{name: "a slice is bounded", mark: 2_000_000, safe: 10, swept: time.Hour, want: [][2]int64{{10, 50_010}, {2_000_000, end}}},
		{name: "the last slice", mark: 2_000_000, safe: 10, cursor: 1_990_000, swept: time.Hour, want: [][2]int64{{1_990_000, 2_000_000}, {2_000_000, end}}},
		{name: "with nothing else to do", mark: 2_000_000, safe: 10, swept: time.Hour, idle: true, want: [][2]int64{{10, 1_000_010}, {2_000_000, end}}},
		{name: "empty above the mark", mark: 2_000_000, safe: 10, hasty: true, want: [][2]int64{{10, 50_010}, {2_000_000, end}}},
	} {
		ln := &lane{mark: test.mark, safe: test.safe, cursor: test.cursor, sweepNow: test.hasty, swept: now.Add(-test.swept)}
		var got [][2]int64
		for _, s := range ln.stretches(now, test.idle, 1) {
			got = append(got, [2]int64{s.from, s.until})
			if s.whole != (s.from == test.safe && s.until == end) {
				t.Errorf("%s: whole is %t in %+v", test.name, s.whole, s)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: reads %v, want %v", test.name, got, test.want)
		}
	}
}

func TestLearn(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		saw   int
		total int
		whole bool
		live  bool
		hasty bool
	}{
		{"as many as asked for", 5, 5, false, true, false},
		{"fewer, but others filled the claim", 2, 10, true, true, false},
		{"fewer from the safe mark: empty", 2, 2, true, false, false},
		{"none from the safe mark: empty", 0, 0, true, false, false},
		{"none from the mark: look below it", 0, 0, false, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := known(laneKey{"q", 0, ""})
			ln := l.known[laneKey{"q", 0, ""}]
			p := &plan{most: 10, first: map[*lane]int{}}
			p.add(stretch{lane: ln, until: math.MaxInt64, whole: test.whole, quota: 5})
			for i := range test.saw {
				l.recordTicket(p, ln.laneKey, int64(100-i))
			}
			l.learn(p, test.total)
			if ln.live != test.live || ln.sweepNow != test.hasty {
				t.Errorf("live is %t, want %t; hasty is %t, want %t", ln.live, test.live, ln.sweepNow, test.hasty)
			}
			if test.saw > 0 && ln.mark != 100 {
				t.Errorf("the mark is %d, want the highest position taken", ln.mark)
			}
		})
	}
}

// A deep lane with tickets below its mark alone: every one is found, in slices, and only then does it seem empty.
func TestASweepFindsAll(t *testing.T) {
	t.Parallel()
	l := known(laneKey{"q", 0, ""})
	ln := l.known[laneKey{"q", 0, ""}]
	ln.mark, ln.swept = 300_000, time.Now()
	left := []int64{10, 11, 12, 60_000, 299_999}
	for claims := 0; ln.live; claims++ {
		if claims > 20 {
			t.Fatalf("after 20 claims the lane still seems live; left are %v", left)
		}
		p := l.plan(2, false, roomy, false)
		total := 0
		for _, s := range p.stretches {
			for i, saw := 0, 0; i < len(left) && saw < s.quota && total < p.most; {
				if left[i] > s.from && left[i] <= s.until {
					l.recordTicket(p, s.laneKey, left[i])
					left = slices.Delete(left, i, i+1)
					saw, total = saw+1, total+1
				} else {
					i++
				}
			}
		}
		l.learn(p, total)
	}
	if len(left) > 0 {
		t.Errorf("the lane seems empty, and left are %v", left)
	}
}

func TestTookOfAForgottenLane(t *testing.T) {
	t.Parallel()
	l := known()
	l.recordTicket(&plan{}, laneKey{"q", 0, ""}, 5) // Must not panic.
	if len(l.known) != 0 {
		t.Error("a lane came of it")
	}
}

func TestGaps(t *testing.T) {
	t.Parallel()
	const first, last = math.MinInt32, math.MaxInt32
	l := known(laneKey{"b", 0, "x"}, laneKey{"a", 5, ""}, laneKey{"a", 0, ""})
	top := laneKey{"\U0010FFFF", last, ""}
	lows, highs := l.gaps(nil)
	if want := []laneKey{{"", first, ""}, {"a", 0, ""}, {"a", 5, ""}, {"b", 0, "x"}}; !slices.Equal(lows, want) {
		t.Errorf("all queues: from %v, want %v", lows, want)
	}
	if want := []laneKey{{"a", 0, ""}, {"a", 5, ""}, {"b", 0, "x"}, top}; !slices.Equal(highs, want) {
		t.Errorf("all queues: to %v, want %v", highs, want)
	}
	lows, highs = l.gaps([]string{"a", "c"})
	if want := []laneKey{{"a", first, ""}, {"a", 0, ""}, {"a", 5, ""}, {"c", first, ""}}; !slices.Equal(lows, want) {
		t.Errorf("two queues: from %v, want %v", lows, want)
	}
	if want := []laneKey{{"a", 0, ""}, {"a", 5, ""}, {"a", last, ""}, {"c", last, ""}}; !slices.Equal(highs, want) {
		t.Errorf("two queues: to %v, want %v", highs, want)
	}
}

func TestForget(t *testing.T) {
	t.Parallel()
	l := known()
	for _, name := range []string{"old", "live", "deep", "recent"} {
		ln := l.find(laneKey{"q", 0, name})
		ln.live, ln.seen = name == "live", time.Now().Add(-time.Hour)
	}
	l.known[laneKey{"q", 0, "deep"}].mark = 5
	l.known[laneKey{"q", 0, "recent"}].seen = time.Now()
	l.forget(time.Minute)
	var left []string
	for key := range maps.Keys(l.known) {
		left = append(left, key.channel)
	}
	slices.Sort(left)
	if want := []string{"deep", "live", "recent"}; !slices.Equal(left, want) {
		t.Errorf("left are %v, want %v", left, want)
	}
}

func TestAdvance(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name                 string
		lane                 lane
		low, p, oldest, next int64
		safe, pending, below int64
	}{
		{"the first survey", lane{mark: 10}, 0, 10, 100, 100, 0, 10, 100},
		{"somebody older still runs", lane{mark: 20, pending: 10, below: 100}, 0, 20, 99, 150, 0, 10, 100},
		{"all older have ended", lane{mark: 20, pending: 10, below: 100}, 0, 20, 100, 150, 10, 20, 150},
		{"a ticket is left below", lane{mark: 20, pending: 10, below: 100}, 7, 20, 100, 150, 6, 20, 150},
		{"a ticket is left above", lane{mark: 20, pending: 10, below: 100}, 15, 20, 100, 150, 10, 20, 150},
		{"it never goes back", lane{mark: 20, safe: 8, pending: 10, below: 100}, 5, 20, 100, 150, 8, 20, 150},
		{"nothing more to gain", lane{mark: 10, pending: 10, below: 100}, 0, 10, 100, 150, 10, 0, 100},
	} {
		ln := test.lane
		ln.advance(test.low, test.p, test.oldest, test.next)
		if ln.safe != test.safe || ln.pending != test.pending || ln.pending > 0 && ln.below != test.below {
			t.Errorf("%s: safe %d, pending %d below %d; want %d, %d, %d", test.name, ln.safe, ln.pending, ln.below, test.safe, test.pending, test.below)
		}
	}
}

// The reasoning at the head of lanes.go, played through: inserters that commit late, or not, and claimers that roll back. The safe
// mark must never pass a position whose ticket may yet be seen.
func TestTheSafeMarkHidesNothing(t *testing.T) {
	t.Parallel()
	type transaction struct {
		number int64
		drawn  []int64 // an inserter's
		held   []int64 // a claimer's
	}
	rapid.Check(t, func(r *rapid.T) {
		var ln lane
		var open []*transaction
		number, pos := int64(1), int64(1)
		tickets := map[int64]bool{} // committed; true: locked by a claimer
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
			"begin": func(r *rapid.T) { // Its number comes before its first position.
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
				for _, p := range tx.held {
					delete(tickets, p)
				}
			},
			"roll back": func(r *rapid.T) {
				for _, p := range end(pick(r)).held {
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
						tx.held = append(tx.held, p)
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
						r.Fatalf("the ticket at %d is hidden by the safe mark %d", p, ln.safe)
					}
				}
				for _, tx := range open {
					for _, p := range tx.drawn {
						if p <= ln.safe {
							r.Fatalf("position %d, drawn by a transaction under way, is hidden by the safe mark %d", p, ln.safe)
						}
					}
				}
			},
		})
	})
}

func TestAdvanceOfAFloor(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	q := queueLanes{floor: at(0)}
	q.advance(time.Time{}, at(10), 100, 100)
	if !q.pending || !q.moment.Equal(at(10)) || !q.floor.Equal(at(0)) {
		t.Errorf("after the first survey: %+v", q)
	}
	q.advance(time.Time{}, at(10), 99, 150)
	if !q.pending || !q.floor.Equal(at(0)) {
		t.Errorf("while somebody older runs: %+v", q)
	}
	q.advance(at(7), at(10), 100, 150)
	if want := at(7).Add(-time.Microsecond); !q.floor.Equal(want) {
		t.Errorf("with a ticket left at 7 the floor is %v, want %v", q.floor, want)
	}
	q.advance(at(30), at(20), 200, 200)
	if !q.floor.Equal(at(10)) {
		t.Errorf("with a ticket left above the floor is %v, want %v", q.floor, at(10))
	}
}
