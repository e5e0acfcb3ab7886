package pawl

import (
	"math"
	"testing"
	"time"
)

// clocked returns a limiter and its clock, which the test sets.
func clocked(r Rate) (l *limiter, now *time.Duration) {
	l, now = newLimiter(r), new(time.Duration)
	l.now = func() time.Duration { return *now }
	return l, now
}

func TestRateLimiter(t *testing.T) {
	t.Parallel()
	type step struct {
		after time.Duration
		n     int
		wait  time.Duration
	}
	for _, test := range []struct {
		name  string
		rate  Rate
		steps []step
	}{
		{"a burst, then as it comes in", Rate{N: 10}, []step{
			{0, 4, 0}, {0, 6, 0}, {0, 1, 100 * time.Millisecond}, {99 * time.Millisecond, 1, time.Millisecond},
			{time.Millisecond, 1, 0}, {0, 5, 500 * time.Millisecond}, {500 * time.Millisecond, 5, 0}, {time.Hour, 10, 0},
			{0, 1, 100 * time.Millisecond}}},
		{"none is taken when refused", Rate{N: 10},
			[]step{{0, 9, 0}, {0, 2, 100 * time.Millisecond}, {0, 2, 100 * time.Millisecond}, {0, 1, 0}}},
		{"Per and Burst", Rate{N: 1, Per: time.Minute, Burst: 3},
			[]step{{0, 3, 0}, {0, 1, time.Minute}, {0, 3, 3 * time.Minute}, {time.Minute, 1, 0}}},
		{"more than Burst, from a full bucket", Rate{N: 10, Burst: 5}, []step{
			{0, 100, 0}, {0, 1, 9600 * time.Millisecond}, {9600 * time.Millisecond, 1, 0}, {0, 1, 100 * time.Millisecond}}},
		{"more than Burst, when it is full again", Rate{N: 10, Burst: 5}, []step{
			{0, 1, 0}, {0, 100, 100 * time.Millisecond}, {100 * time.Millisecond, 100, 0}, {0, 100, 10 * time.Second},
			{10 * time.Second, 100, 0}}},
		{"a third is rounded to the safe side", Rate{N: 3, Burst: 1},
			[]step{{0, 1, 0}, {0, 1, 333333334}, {333333333, 1, 1}, {1, 1, 0}}},
		{"more than one a nanosecond", Rate{N: math.MaxInt}, []step{{0, 1e9, 0}, {0, math.MaxInt, 1e9}}},
		{"one in an age", Rate{N: 1, Per: math.MaxInt64, Burst: math.MaxInt},
			[]step{{0, math.MaxInt, 0}, {0, math.MaxInt, 1 << 60}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l, now := clocked(test.rate)
			for i, s := range test.steps {
				*now += s.after
				if wait := l.take(s.n); wait != s.wait {
					t.Errorf("step %d: take(%d) at %v says %v, want %v", i, s.n, *now, wait, s.wait)
				}
			}
		})
	}
	if newLimiter(Rate{}) != nil {
		t.Error("the zero Rate limits")
	}
}

// A limiter lets no more through than its rate. After the time it says to wait, the same tokens are available.
func TestRateLimiterKeepsTheRate(t *testing.T) {
	t.Parallel()
	rate := Rate{N: 70, Burst: 13}
	l, now := clocked(rate)
	taken, largest := 0, 0
	for i := range 10_000 {
		n := i*i%29 + 1
		largest = max(largest, n)
		wait := l.take(n)
		if wait > 0 {
			*now += wait - 1
			if l.take(n) == 0 {
				t.Fatalf("at %v: %d go before the time it said", *now, n)
			}
			*now++
			if wait = l.take(n); wait > 0 {
				t.Fatalf("at %v: %d do not go at the time it said: another %v", *now, n, wait)
			}
		}
		taken += n
		if most := rate.Burst + largest + int(now.Seconds()*float64(rate.N)); taken > most {
			t.Fatalf("%d have gone by %v, at most %d may", taken, *now, most)
		}
	}
	if least := int(now.Seconds()*float64(rate.N)) - largest; taken < least {
		t.Errorf("%d have gone by %v, the rate allows %d", taken, *now, least)
	}
}
