package lanes

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A plainPlan is what a claim reads by a plain walk over all lanes: the keys in order, and their quotas. It is the
// definition that Plan has to meet. It does without the bounds on the number of lanes.
type plainPlan struct {
	keys   []Key
	quotas map[Key]int
}

func planPlainly(s *Set, n int, room func(string) int, skipReturned bool) plainPlan {
	var chosen []*lane
	served, weight := map[string]int64{}, 0
	least := map[string]int32{}
	for _, ln := range s.known {
		if ln.live && ln.throttledUntil.IsZero() && ln.Priority != Suspect {
			if p, ok := least[ln.Queue]; !ok || ln.Priority > p {
				least[ln.Queue] = ln.Priority
			}
		}
	}
	for _, ln := range s.known {
		p, any := least[ln.Queue]
		urgent := any && !ln.live && ln.Priority < p
		if ln.Priority == Suspect || skipReturned && ln.Priority == Returned || room(ln.Queue) <= 0 ||
			!ln.live && !urgent || !ln.throttledUntil.IsZero() {
			continue
		}
		chosen = append(chosen, ln)
		if _, counted := served[ln.Queue]; !counted {
			weight += s.queues[ln.Queue].weight
		}
		served[ln.Queue] = s.queues[ln.Queue].turn
	}
	slices.SortFunc(chosen, func(a, b *lane) int {
		return cmp.Or(cmp.Compare(served[a.Queue], served[b.Queue]), cmp.Compare(a.Queue, b.Queue),
			cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.turn, b.turn), cmp.Compare(a.Channel, b.Channel))
	})
	sums := map[Key]int{}
	for _, ln := range chosen {
		sums[Key{ln.Queue, ln.Priority, ""}] += s.channelWeight(ln)
	}
	p := plainPlan{quotas: map[Key]int{}}
	for _, ln := range chosen {
		share := min(divideUp(n*s.queues[ln.Queue].weight, weight), room(ln.Queue))
		share = max(divideUp(share*s.channelWeight(ln), sums[Key{ln.Queue, ln.Priority, ""}]), 1)
		p.keys, p.quotas[ln.Key] = append(p.keys, ln.Key), share
	}
	return p
}

// Plan gives what a walk over all lanes gives, after any sequence of claims, surveys, limits and forgotten lanes.
func TestAPlanIsThatOfAPlainWalk(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		s := New()
		key := rapid.Custom(func(r *rapid.T) Key {
			return Key{
				rapid.SampledFrom([]string{"a", "b", "c"}).Draw(r, "queue"),
				rapid.SampledFrom([]int32{Suspect, Returned, 0, 5}).Draw(r, "priority"),
				rapid.SampledFrom([]string{"", "x", "y"}).Draw(r, "channel"),
			}
		})
		pos := int64(0)
		r.Repeat(map[string]func(*rapid.T){
			"find":   func(r *rapid.T) { s.Find(key.Draw(r, "key")) },
			"weigh":  func(r *rapid.T) { s.SetWeight(rapid.SampledFrom([]string{"a", "b"}).Draw(r, "queue"), 3) },
			"forget": func(*rapid.T) { s.Forget(0) },
			"weights": func(r *rapid.T) {
				s.SetChannelWeights(map[string]map[string]int{"a": {"x": rapid.IntRange(1, 4).Draw(r, "weight")}})
			},
			"claim": func(r *rapid.T) {
				idle := rapid.Bool().Draw(r, "idle")
				p := s.Plan(rapid.IntRange(1, 9).Draw(r, "n"), idle, roomy, rapid.Bool().Draw(r, "skip returned"))
				total := 0
				for _, st := range slices.Clone(p.Stretches) {
					for range rapid.IntRange(0, min(st.Quota, p.Most-total)).Draw(r, "tickets") {
						pos++
						total++
						s.RecordTicket(p, st.Key, pos)
					}
				}
				if len(p.Stretches) > 0 && rapid.Bool().Draw(r, "limited") {
					wait := rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(r, "wait")
					s.Throttle(p, p.Stretches[0].Key, wait)
				}
				s.Learn(p, total)
			},
			"permit": func(*rapid.T) { s.Unthrottle() },
			"survey": func(r *rapid.T) {
				if v := s.Survey(); v != nil {
					for i := range v.Lanes {
						v.Lanes[i].Low = rapid.SampledFrom([]int64{0, v.Lanes[i].Safe + 1}).Draw(r, "low")
					}
					s.Advance(v, 1, 1)
				}
			},
			"": func(r *rapid.T) {
				s.endThrottles(time.Now())
				checkFiled(r, s)
				n := rapid.IntRange(1, 15).Draw(r, "of the plan")
				skip := rapid.Bool().Draw(r, "skips returned")
				want := planPlainly(s, n, roomy, skip)
				fresh := map[*lane]lane{}
				for _, ln := range s.known {
					fresh[ln] = *ln
				}
				s.reach = maxLanes
				got := s.Plan(n, false, roomy, skip)
				var keys []Key
				for _, st := range got.Stretches {
					if !slices.Contains(keys, st.Key) {
						keys = append(keys, st.Key)
					}
					if st.Quota != want.quotas[st.Key] {
						r.Errorf("%v gives %d, want %d", st.Key, st.Quota, want.quotas[st.Key])
					}
				}
				slices.SortStableFunc(keys, byQueueOrder(s))
				if fmt.Sprint(keys) != fmt.Sprint(want.keys) {
					r.Errorf("reads\n%v, want\n%v", keys, want.keys)
				}
				for ln, before := range fresh {
					ln.fresh, ln.swept, ln.cursor = before.fresh, before.swept, before.cursor
				}
			},
		})
	})
}

// byQueueOrder puts urgent lanes, which come in no particular order within their priority, where a walk has them.
func byQueueOrder(s *Set) func(a, b Key) int {
	return func(a, b Key) int {
		if a.Queue != b.Queue {
			return 0
		}
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), s.known[a].compare(s.known[b]))
	}
}

// checkFiled compares the orders of a Set with its lanes.
func checkFiled(r *rapid.T, s *Set) {
	ready, weight, live := 0, 0, 0
	queues := map[*queue]int{}
	for _, ln := range s.known {
		if ln.live {
			live++
		}
		if ln.live && ln.throttledUntil.IsZero() {
			if ready++; ln.Priority != Suspect {
				queues[ln.queue]++
			}
		}
	}
	for q, n := range queues {
		if weight += q.weight; q.ready != n {
			r.Errorf("%s counts %d ready lanes, want %d", q.name, q.ready, n)
		}
	}
	if s.Ready() != ready || s.live != live || s.readyWeight != weight || len(s.readyQueues) != len(queues) {
		r.Errorf("%d ready, %d live, weight %d, %d queues; want %d, %d, %d, %d",
			s.Ready(), s.live, s.readyWeight, len(s.readyQueues), ready, live, weight, len(queues))
	}
	sorted := 0
	last := Key{}
	for ln := range s.sorted.from(Key{}) {
		if sorted++; sorted > 1 && last.compare(ln.Key) >= 0 {
			r.Errorf("%v comes after %v", ln.Key, last)
		}
		last = ln.Key
	}
	if sorted != len(s.known) {
		r.Errorf("%d lanes are sorted, %d are known", sorted, len(s.known))
	}
}

// A claim among many lanes costs about what it costs among few, and what was emptied is forgotten.
func TestManyLanesComeAndGo(t *testing.T) {
	t.Parallel()
	const many = 20_000
	s := New()
	for i := range many {
		s.Find(Key{"q", 0, fmt.Sprint(i)})
	}
	left := map[Key]bool{}
	for key := range s.known {
		left[key] = true
	}
	for claims := 0; s.More(); claims++ {
		if claims > many {
			t.Fatal("the lanes do not become empty")
		}
		p := s.Plan(16, false, roomy, false)
		if len(p.Stretches) > maxLanes || claims > 0 && claims < 100 && len(p.Stretches) > maxLanes/2 {
			t.Fatalf("claim %d of 16 reads %d stretches", claims, len(p.Stretches))
		}
		total := 0
		for _, st := range p.Stretches {
			if left[st.Key] && total < p.Most {
				delete(left, st.Key)
				total++
				s.RecordTicket(p, st.Key, int64(claims+1))
			}
		}
		s.Learn(p, total)
	}
	if len(left) > 0 || len(s.known) > maxEmpty {
		t.Errorf("%d tickets are left, %d lanes are known; want none and at most %d", len(left), len(s.known), maxEmpty)
	}
}
