package pawlstats_test

import (
	"testing"
	"time"

	"github.com/pawlhq/pawl/pawlstats"
)

func TestHistogramCountsADurationInTheFirstBucketThatHoldsIt(t *testing.T) {
	t.Parallel()
	var h pawlstats.Histogram
	for _, d := range []time.Duration{0, time.Millisecond, time.Millisecond + 1, 24 * time.Hour, 25 * time.Hour} {
		h.Observe(d)
	}
	if h.Count() != 5 || h.Sum != 49*time.Hour+2*time.Millisecond+1 {
		t.Errorf("count %d, sum %v", h.Count(), h.Sum)
	}
	want := map[time.Duration]int64{time.Millisecond: 2, 2 * time.Millisecond: 3, 6 * time.Hour: 3, 24 * time.Hour: 4}
	buckets := 0
	for bound, n := range h.Buckets() {
		if expected, ok := want[bound]; ok && n != expected {
			t.Errorf("%d durations up to %v, want %d", n, bound, expected)
		}
		delete(want, bound)
		buckets++
	}
	if len(want) > 0 || buckets != 21 {
		t.Errorf("%d buckets; no bounds %v", buckets, want)
	}
}

func TestHistogramBucketsStopWhenTheLoopDoes(t *testing.T) {
	t.Parallel()
	n := 0
	for range (pawlstats.Histogram{}).Buckets() {
		if n++; n == 3 {
			break
		}
	}
	if n != 3 {
		t.Errorf("the loop ran %d times", n)
	}
}

func TestQueueLiveLeavesOutTheDead(t *testing.T) {
	t.Parallel()
	q := pawlstats.Queue{Reserved: 1, Waiting: 2, Scheduled: 4, Ready: 8, Running: 16, Dead: 32, Archived: 64}
	if q.Live() != 31 {
		t.Errorf("%d live jobs, want 31", q.Live())
	}
}
