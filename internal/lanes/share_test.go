package lanes

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// Slots given one by one to the party that would then hold the least for its weight end at the same level.
func TestWaterLevelDividesLikeOneSlotAfterTheOther(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(1, 100).Draw(r, "slots")
		all := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) party {
			return party{rapid.IntRange(1, 9).Draw(r, "weight"), rapid.IntRange(0, 40).Draw(r, "held")}
		}), 1, 12).Draw(r, "parties")
		weights, sum := 0, 0
		var holders []party
		for _, p := range all {
			if weights += p.weight; p.held > 0 {
				holders = append(holders, p)
			}
		}
		level := waterLevel(n, weights, holders)
		want := make([]int, len(all))
		for range n {
			least := 0
			for i, p := range all {
				if (p.held+want[i]+1)*all[least].weight < (all[least].held+want[least]+1)*p.weight {
					least = i
				}
			}
			want[least]++
		}
		for i, p := range all {
			got := p.fill(level)
			sum += got
			if got < want[i]-1 || got > want[i]+1 {
				r.Errorf("%d slots for %v: number %d gets %d, one after the other %d", n, all, i, got, want[i])
			}
			if got > 0 && float64(p.held+got-1) > level*float64(p.weight) {
				r.Errorf("%d slots for %v: number %d gets %d, more than its share", n, all, i, got)
			}
		}
		if sum < n {
			r.Errorf("%d slots for %v: only %d are given", n, all, sum)
		}
	})
}

// What counts when a runner decides whether to claim is the sum over the queues of what counts of their channels.
func TestHoldingsCountLikeAPlainSum(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		h := NewHoldings()
		var jobs []*Holding
		name := rapid.SampledFrom([]string{"a", "b", "c"})
		r.Repeat(map[string]func(*rapid.T){
			"add": func(r *rapid.T) { jobs = append(jobs, h.Add(name.Draw(r, "queue"), name.Draw(r, "channel"))) },
			"remove": func(r *rapid.T) {
				if len(jobs) == 0 {
					r.Skip()
				}
				i := rapid.IntRange(0, len(jobs)-1).Draw(r, "job")
				h.Remove(jobs[i])
				jobs = append(jobs[:i], jobs[i+1:]...)
			},
			"limit": func(r *rapid.T) {
				for _, q := range h.queues {
					h.limitQueue(q, rapid.IntRange(1, 4).Draw(r, "of a queue"))
					for _, c := range q.channels {
						h.limitChannel(c, rapid.IntRange(1, 3).Draw(r, "of a channel"))
					}
				}
			},
			"": func(r *rapid.T) {
				few, held, channels := 0, 0, 0
				for _, q := range h.queues {
					counted := 0
					for _, c := range q.channels {
						counted += min(c.held, c.most)
						held += c.held
						channels++
					}
					few += min(counted, q.most)
				}
				if h.Few() != few || held != len(jobs) || channels > len(jobs)+1 {
					r.Errorf("%d count, want %d; %d are held of %d jobs in %d channels",
						h.Few(), few, held, len(jobs), channels)
				}
			},
		})
	})
}

func TestFreeSlotsGoToThoseThatHoldTheLeast(t *testing.T) {
	t.Parallel()
	s, h := known(Key{"slow", 0, ""}, Key{"fast", 0, ""}), NewHoldings()
	s.UseHoldings(h)
	hold := func(queue, channel string, n int) {
		for range n {
			h.Add(queue, channel)
		}
	}
	quotas := func(n int) map[string]int {
		got := map[string]int{}
		for _, st := range s.Plan(n, false, roomy, false).Stretches {
			got[st.Queue+st.Channel] += st.Quota
		}
		return got
	}
	hold("slow", "", 15)
	if got := quotas(17); got["fast"] != 16 || got["slow"] != 1 {
		t.Errorf("slow holds 15 of 32: %v, want 16 for fast and 1 for slow", got)
	}
	hold("slow", "", 16)
	if p := s.Plan(1, false, roomy, false); p.Stretches[0].Queue != "fast" {
		t.Errorf("slow holds 31 of 32: the free slot is first offered to %v", p.Stretches[0].Key)
	}
	s.CountShares(16)
	if h.Few() != 8 {
		t.Errorf("31 slots of slow count as %d, want its share of 16", h.Few())
	}
	fast := s.known[Key{"fast", 0, ""}]
	fast.live = false
	s.file(fast)
	if got := quotas(1); got["slow"] != 1 || len(got) != 1 {
		t.Errorf("fast has none: %v, want all for slow", got)
	}
	s.CountShares(16)
	if h.Few() != 16 {
		t.Errorf("31 slots count as %d while nothing else is ready, want all of 16", h.Few())
	}
	s.Find(Key{"slow", 0, "other"})
	if got := quotas(1); got["slowother"] != 1 {
		t.Errorf("another channel of slow: %v, want the slot for it", got)
	}
	if p := s.Plan(1, false, roomy, false); p.Stretches[0].Channel != "other" {
		t.Errorf("the free slot is first offered to %v", p.Stretches[0].Key)
	}
}

// A discovery of many lanes searches each gap once in a pass.
func TestGapsOfManyLanesComeInParts(t *testing.T) {
	t.Parallel()
	s := known()
	for i := range 2*maxGaps + 500 {
		s.Find(Key{"q", 0, fmt.Sprint(i)})
	}
	seen, parts := map[Key]bool{}, 0
	for parts == 0 || s.Continues() {
		lows, _ := s.Gaps(nil)
		for _, low := range lows {
			if seen[low] {
				t.Fatalf("the gap above %v comes twice", low)
			}
			seen[low] = true
		}
		parts++
	}
	if len(seen) != 2*maxGaps+501 || parts != 3 {
		t.Errorf("%d gaps in %d parts, want %d in 3", len(seen), parts, 2*maxGaps+501)
	}
}

// With all parties at their shares, a runner does not claim for each slot that becomes free.
func TestFullSharesAreNotFew(t *testing.T) {
	t.Parallel()
	s, h := New(), NewHoldings()
	s.UseHoldings(h)
	s.LimitQueue("limited", 2)
	for _, key := range []Key{{"q", 0, "a"}, {"q", 0, "b"}, {"q", 5, "a"}, {"limited", 0, ""}} {
		s.Find(key)
	}
	for range 2 {
		h.Add("limited", "")
	}
	for range 8 {
		h.Add("q", "a")
		h.Add("q", "b")
	}
	s.CountShares(16)
	if h.Few() < 16 {
		t.Errorf("18 slots count as %d although all hold their shares, want 16 or more", h.Few())
	}
}
