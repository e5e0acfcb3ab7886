package lanes

import (
	"fmt"
	"slices"
	"testing"
)

// known returns a Set that knows lanes with tickets, and nothing else about them.
func known(keys ...Key) *Set {
	s := New()
	for _, key := range keys {
		s.Find(key)
	}
	return s
}

func roomy(string) int { return 1000 }

func TestAPlanReadsReturnedTicketsFirstAndThenByPriority(t *testing.T) {
	t.Parallel()
	all := []Key{{"q", 5, ""}, {"q", 0, ""}, {"q", Suspect, ""}, {"q", -5, ""}, {"q", Returned, ""}, {"q", 7, ""}}
	for _, test := range []struct {
		name       string
		empty      []int32 // The priorities of the lanes that seem empty.
		idle, skip bool
		room       int
		want       []int32
	}{
		{name: "returned tickets, then by priority; no suspects", room: 9, want: []int32{Returned, -5, 0, 5, 7}},
		{name: "returned tickets skipped", skip: true, room: 9, want: []int32{-5, 0, 5, 7}},
		{
			name:  "lanes that seem empty and are less urgent",
			empty: []int32{5, 7}, room: 9, want: []int32{Returned, -5, 0},
		},
		{
			name:  "lanes that seem empty and are more urgent",
			empty: []int32{Returned, -5}, room: 9, want: []int32{Returned, -5, 0, 5, 7},
		},
		{
			name:  "idle: all lanes, also those that seem empty",
			empty: []int32{-5, 7}, idle: true, room: 9, want: []int32{Returned, -5, 0, 5, 7},
		},
		{name: "all lanes seem empty", empty: []int32{Returned, -5, 0, 5, 7}, room: 9},
		{
			name:  "all lanes seem empty, idle",
			empty: []int32{Returned, -5, 0, 5, 7}, idle: true, room: 9, want: []int32{Returned, -5, 0, 5, 7},
		},
		{name: "no room", idle: true, room: 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := known(all...)
			for _, priority := range test.empty {
				ln := l.known[Key{"q", priority, ""}]
				ln.live = false
				l.file(ln)
			}
			p := l.Plan(10, test.idle, func(string) int { return test.room }, test.skip)
			var priorities []int32
			for _, s := range p.Stretches {
				priorities = append(priorities, s.Priority)
			}
			if !slices.Equal(priorities, test.want) {
				t.Errorf("reads the priorities %v, want %v", priorities, test.want)
			}
			if p.Most != 10 {
				t.Errorf("takes %d at most, want 10", p.Most)
			}
		})
	}
}

func TestQueuesAndChannelsShareAClaim(t *testing.T) {
	t.Parallel()
	channels := func(queue string, n int) (keys []Key) {
		for i := range n {
			keys = append(keys, Key{queue, 0, fmt.Sprint(i)})
		}
		return keys
	}
	for _, test := range []struct {
		name    string
		keys    []Key
		weights map[string]int
		n       int
		want    map[string]int // The quota of each lane of the queue.
	}{
		{name: "one lane", keys: channels("q", 1), n: 32, want: map[string]int{"q": 32}},
		{name: "four channels", keys: channels("q", 4), n: 32, want: map[string]int{"q": 8}},
		{name: "more channels than tickets", keys: channels("q", 100), n: 32, want: map[string]int{"q": 1}},
		{name: "a share is rounded up", keys: channels("q", 3), n: 32, want: map[string]int{"q": 11}},
		{
			name: "two queues",
			keys: append(channels("a", 1), channels("b", 1)...), n: 32, want: map[string]int{"a": 16, "b": 16},
		},
		{
			name: "by weight",
			keys: append(channels("a", 1), channels("b", 1)...), weights: map[string]int{"a": 3}, n: 32,
			want: map[string]int{"a": 24, "b": 8},
		},
		{
			name: "by weight, then channels",
			keys: append(channels("a", 6), channels("b", 2)...), weights: map[string]int{"a": 3}, n: 32,
			want: map[string]int{"a": 4, "b": 4},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := known(test.keys...)
			for queue, weight := range test.weights {
				l.SetWeight(queue, weight)
			}
			p := l.Plan(test.n, false, roomy, false)
			for _, s := range p.Stretches {
				if s.Quota != test.want[s.Queue] {
					t.Errorf("%v has the quota %d, want %d", s.Key, s.Quota, test.want[s.Queue])
				}
			}
			if len(p.Stretches) != len(test.keys) {
				t.Errorf("reads %d of %d lanes", len(p.Stretches), len(test.keys))
			}
		})
	}
}

func TestChannelsTakeTurns(t *testing.T) {
	t.Parallel()
	l := known(Key{"q", 0, "a"}, Key{"q", 0, "b"}, Key{"q", 0, "c"})
	served := map[string]int{}
	for range 30 {
		p := l.Plan(1, false, roomy, false)
		first := p.Stretches[0]
		served[first.Channel]++
		l.RecordTicket(p, first.Key, 1)
		l.Learn(p, 1)
	}
	if served["a"] != 10 || served["b"] != 10 || served["c"] != 10 {
		t.Errorf("the channels came first %v times, want ten each", served)
	}
}

func TestEveryLaneIsReadAlthoughAPlanIsBounded(t *testing.T) {
	t.Parallel()
	l := known()
	for i := range 3 * maxLanes {
		l.Find(Key{"q", 0, fmt.Sprint(i)})
	}
	asked := map[string]bool{}
	for range 3 {
		p := l.Plan(1000, false, roomy, false)
		if len(p.Stretches) != maxLanes {
			t.Fatalf("reads %d lanes, want %d", len(p.Stretches), maxLanes)
		}
		for _, ln := range p.Stretches {
			asked[ln.Channel] = true
			l.RecordTicket(p, ln.Key, 1)
		}
		l.Learn(p, maxLanes)
	}
	if len(asked) != 3*maxLanes {
		t.Errorf("three claims read %d of %d channels", len(asked), 3*maxLanes)
	}
}

func TestSuspectsAreClaimedOneAtATime(t *testing.T) {
	t.Parallel()
	l := known(Key{"q", 0, ""})
	if p := l.PlanSuspect(roomy); p != nil {
		t.Errorf("without a suspect the plan is %+v, want nil", p)
	}
	l.Find(Key{"q", Suspect, ""})
	p := l.PlanSuspect(roomy)
	if p == nil || p.Most != 1 || len(p.Stretches) != 1 ||
		p.Stretches[0].Quota != 1 || p.Stretches[0].Priority != Suspect {
		t.Errorf("the plan is %+v, want one ticket of the suspect lane", p)
	}
	if p := l.PlanSuspect(func(string) int { return 0 }); p != nil {
		t.Errorf("without room the plan is %+v, want nil", p)
	}
}

func TestATicketOfAForgottenLaneChangesNothing(t *testing.T) {
	t.Parallel()
	l := known()
	l.RecordTicket(NewPlan(), Key{"q", 0, ""}, 5)
	if len(l.known) != 0 {
		t.Error("the ticket made the lane known again")
	}
}
