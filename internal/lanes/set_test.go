package lanes

import (
	"maps"
	"math"
	"slices"
	"testing"
	"time"
)

func TestGapsLieBetweenTheKnownLanes(t *testing.T) {
	t.Parallel()
	const first, last = math.MinInt32, math.MaxInt32
	l := known(Key{"b", 0, "x"}, Key{"a", 5, ""}, Key{"a", 0, ""})
	top := Key{"\U0010FFFF", last, ""}
	lows, highs := l.Gaps(nil)
	if want := []Key{{"", first, ""}, {"a", 0, ""}, {"a", 5, ""}, {"b", 0, "x"}}; !slices.Equal(lows, want) {
		t.Errorf("all queues: from %v, want %v", lows, want)
	}
	if want := []Key{{"a", 0, ""}, {"a", 5, ""}, {"b", 0, "x"}, top}; !slices.Equal(highs, want) {
		t.Errorf("all queues: to %v, want %v", highs, want)
	}
	lows, highs = l.Gaps([]string{"a", "c"})
	if want := []Key{{"a", first, ""}, {"a", 0, ""}, {"a", 5, ""}, {"c", first, ""}}; !slices.Equal(lows, want) {
		t.Errorf("two queues: from %v, want %v", lows, want)
	}
	if want := []Key{{"a", 0, ""}, {"a", 5, ""}, {"a", last, ""}, {"c", last, ""}}; !slices.Equal(highs, want) {
		t.Errorf("two queues: to %v, want %v", highs, want)
	}
}

func TestLanesLongEmptyAreForgotten(t *testing.T) {
	t.Parallel()
	l := known()
	for _, name := range []string{"old", "live", "deep", "recent"} {
		ln := l.find(Key{"q", 0, name})
		ln.live, ln.seen = name == "live", time.Now().Add(-time.Hour)
		l.file(ln)
	}
	l.known[Key{"q", 0, "deep"}].mark = 5
	l.known[Key{"q", 0, "recent"}].seen = time.Now()
	l.Forget(time.Minute)
	var left []string
	for key := range maps.Keys(l.known) {
		left = append(left, key.Channel)
	}
	slices.Sort(left)
	if want := []string{"deep", "live", "recent"}; !slices.Equal(left, want) {
		t.Errorf("the lanes %v are left, want %v", left, want)
	}
}
