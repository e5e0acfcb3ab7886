package pawlstats

import (
	"iter"
	"slices"
	"time"
)

// Histogram counts durations in fixed buckets from 1 millisecond to 24 hours. The bounds are the same in every
// process, so histograms of several processes can be added. The zero Histogram is empty and ready to use. It is not
// safe for concurrent use.
type Histogram struct {
	// Sum is the sum of all observed durations.
	Sum time.Duration

	counts [len(bounds) + 1]int64 // The last element counts durations above every bound.
}

var bounds = [...]time.Duration{
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
	10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute,
	time.Hour, 6 * time.Hour, 24 * time.Hour,
}

// Observe counts one duration.
func (h *Histogram) Observe(d time.Duration) {
	i, _ := slices.BinarySearch(bounds[:], d)
	h.counts[i]++
	h.Sum += d
}

// Count returns the number of observed durations.
func (h Histogram) Count() (n int64) {
	for _, c := range h.counts {
		n += c
	}
	return n
}

// Buckets returns an iterator over the upper bounds and, for each, the number of durations that were not above it.
// The numbers are cumulative, as in Prometheus. Durations above 24 hours are only in Count.
func (h Histogram) Buckets() iter.Seq2[time.Duration, int64] {
	return func(yield func(time.Duration, int64) bool) {
		var n int64
		for i, bound := range bounds {
			if n += h.counts[i]; !yield(bound, n) {
				return
			}
		}
	}
}
