package lanes

import (
	"math"
	"slices"
	"testing"
	"time"
)

func TestAClaimSweepsWhatItsPaceAllows(t *testing.T) {
	t.Parallel()
	const end = math.MaxInt64
	now := time.Now()
	for _, test := range []struct {
		name               string
		mark, safe, cursor int64
		swept              time.Duration // Before now.
		sweepNow, idle     bool
		want               [][2]int64
	}{
		{name: "nothing to sweep", mark: 10, safe: 10, want: [][2]int64{{10, end}}},
		{name: "a shallow lane", mark: 1000, safe: 10, swept: 10 * time.Millisecond, want: [][2]int64{{10, end}}},
		{
			name: "a deep lane, just swept",
			mark: 2_000_000, safe: 10, swept: time.Millisecond, want: [][2]int64{{2_000_000, end}},
		},
		{
			name: "a slice",
			mark: 2_000_000, safe: 10, swept: 10 * time.Millisecond, want: [][2]int64{{10, 5010}, {2_000_000, end}},
		},
		{
			name: "the next slice",
			mark: 2_000_000, safe: 10, cursor: 7000, swept: 10 * time.Millisecond,
			want: [][2]int64{{7000, 12_000}, {2_000_000, end}},
		},
		{
			name: "the safe mark has passed the cursor",
			mark: 2_000_000, safe: 9000, cursor: 7000, swept: 10 * time.Millisecond,
			want: [][2]int64{{9000, 14_000}, {2_000_000, end}},
		},
		{
			name: "the longest slice",
			mark: 2_000_000, safe: 10, swept: time.Hour, want: [][2]int64{{10, 50_010}, {2_000_000, end}},
		},
		{
			name: "the last slice",
			mark: 2_000_000, safe: 10, cursor: 1_990_000, swept: time.Hour,
			want: [][2]int64{{1_990_000, 2_000_000}, {2_000_000, end}},
		},
		{
			name: "the longest slice when idle",
			mark: 2_000_000, safe: 10, swept: time.Hour, idle: true,
			want: [][2]int64{{10, 1_000_010}, {2_000_000, end}},
		},
		{
			name: "nothing above the mark",
			mark: 2_000_000, safe: 10, sweepNow: true, want: [][2]int64{{10, 50_010}, {2_000_000, end}},
		},
	} {
		ln := &lane{mark: test.mark, safe: test.safe, cursor: test.cursor, sweepNow: test.sweepNow}
		ln.swept = now.Add(-test.swept)
		var got [][2]int64
		for _, s := range ln.stretches(now, test.idle, 1) {
			got = append(got, [2]int64{s.From, s.Until})
			if s.whole != (s.From == test.safe && s.Until == end) {
				t.Errorf("%s: whole is %t in %+v", test.name, s.whole, s)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: reads %v, want %v", test.name, got, test.want)
		}
	}
}

func TestALaneLearnsWhetherItHasTickets(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		saw      int
		total    int
		whole    bool
		live     bool
		sweepNow bool
	}{
		{"the quota", 5, 5, false, true, false},
		{"fewer, but other lanes filled the claim", 2, 10, true, true, false},
		{"fewer, from the safe mark: empty", 2, 2, true, false, false},
		{"none, from the safe mark: empty", 0, 0, true, false, false},
		{"none above the mark: sweep below it", 0, 0, false, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := known(Key{"q", 0, ""})
			ln := l.known[Key{"q", 0, ""}]
			p := NewPlan()
			p.Most = 10
			p.add(ln, Stretch{Key: ln.Key, lane: ln, Until: math.MaxInt64, whole: test.whole, Quota: 5})
			for i := range test.saw {
				l.RecordTicket(p, ln.Key, int64(100-i))
			}
			l.Learn(p, test.total)
			if ln.live != test.live || ln.sweepNow != test.sweepNow {
				t.Errorf("live is %t, want %t; sweepNow is %t, want %t",
					ln.live, test.live, ln.sweepNow, test.sweepNow)
			}
			if test.saw > 0 && ln.mark != 100 {
				t.Errorf("the mark is %d, want the highest position taken", ln.mark)
			}
		})
	}
}

// All tickets of a deep lane lie below its mark. The slices of a sweep find every one before the lane seems empty.
func TestASweepFindsAllTicketsBelowTheMark(t *testing.T) {
	t.Parallel()
	l := known(Key{"q", 0, ""})
	ln := l.known[Key{"q", 0, ""}]
	ln.mark, ln.swept, ln.fresh = 300_000, time.Now(), 0
	left := []int64{10, 11, 12, 60_000, 299_999}
	for claims := 0; ln.live; claims++ {
		if claims > 20 {
			t.Fatalf("after 20 claims the lane still seems live; the tickets %v are left", left)
		}
		p := l.Plan(2, false, roomy, false)
		total := 0
		for _, s := range p.Stretches {
			for i, saw := 0, 0; i < len(left) && saw < s.Quota && total < p.Most; {
				if left[i] > s.From && left[i] <= s.Until {
					l.RecordTicket(p, s.Key, left[i])
					left = slices.Delete(left, i, i+1)
					saw, total = saw+1, total+1
				} else {
					i++
				}
			}
		}
		l.Learn(p, total)
	}
	if len(left) > 0 {
		t.Errorf("the lane seems empty, but the tickets %v are left", left)
	}
}
