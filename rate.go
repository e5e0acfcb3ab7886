package pawl

import (
	"encoding/json"
	"errors"
	"sync"
	"time"
)

// A Rate limits the number of events in a period. The zero Rate is no limit.
type Rate struct {
	// N is the largest number of events in each period Per. If zero, there is no limit, and Per and Burst must be zero
	// too.
	N int

	// Per is the length of the period. It defaults to 1 second.
	Per time.Duration

	// Burst is the number of events that may happen at once after an idle period. It defaults to N.
	Burst int
}

func (r Rate) check() error {
	switch {
	case r.N < 0 || r.Per < 0 || r.Burst < 0:
		return errors.New("N, Per or Burst is negative: want 0 or more")
	case r.N == 0 && r != Rate{}:
		return errors.New("field N is zero, which means no limit, but Per or Burst is set: set N, or leave all of them zero")
	}
	return nil
}

// withDefaults returns a rate that is a limit with Per and Burst set.
func (r Rate) withDefaults() Rate {
	if r.Per == 0 {
		r.Per = time.Second
	}
	if r.Burst == 0 {
		r.Burst = r.N
	}
	return r
}

// storedRate is a Rate as the database has it. Per is in seconds.
type storedRate struct {
	N     int     `json:"n"`
	Per   float64 `json:"per"`
	Burst int     `json:"burst"`
}

// stored checks the rate and returns it as JSON, or nil for no limit.
func (r Rate) stored() (*string, error) {
	if err := r.check(); err != nil || r.N == 0 {
		return nil, err
	}
	r = r.withDefaults()
	return jsonText(storedRate{r.N, r.Per.Seconds(), r.Burst})
}

func (s storedRate) rate() Rate {
	return Rate{N: s.N, Per: time.Duration(s.Per * float64(time.Second)), Burst: s.Burst}
}

// parseRate reads a rate as the database has it.
func parseRate(text string) (Rate, error) {
	var s storedRate
	err := json.Unmarshal([]byte(text), &s)
	return s.rate(), err
}

// A limiter is a token bucket in memory. It keeps the time at which the bucket will be full, so that nothing has to
// refill it and no fraction of a token is lost.
type limiter struct {
	unit  time.Duration // unit is the time in which one token comes in.
	burst time.Duration // burst is the time in which an empty bucket fills.
	now   func() time.Duration
	mu    sync.Mutex
	full  time.Duration // full is when the bucket will be full, by now.
}

// newLimiter returns a limiter, or nil if the rate is no limit. It uses the process's monotonic clock, which is never
// set back.
func newLimiter(r Rate) *limiter {
	if r.N == 0 {
		return nil
	}
	r = r.withDefaults()
	n, start := time.Duration(r.N), time.Now()
	l := &limiter{
		unit: (r.Per-1)/n + 1, // Rounded up, so that the limiter never lets through more than the rate says.
		now:  func() time.Duration { return time.Since(start) },
	}
	l.burst = l.cost(r.Burst)
	return l
}

// cost returns the time in which n tokens come in. It is bounded so that sums of a few costs do not overflow.
func (l *limiter) cost(n int) time.Duration {
	const most = 1 << 60 // About 36 years.
	if time.Duration(n) > most/l.unit {
		return most
	}
	return time.Duration(n) * l.unit
}

// take takes n tokens and returns zero, or takes none and returns how long to wait for them. To wait is enough if
// no other caller takes tokens meanwhile. If n is more than the bucket holds, take waits for a full bucket and lets it
// go into debt; otherwise a large batch could never pass.
func (l *limiter) take(n int) (wait time.Duration) {
	cost := l.cost(n)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	used := max(l.full-now, 0)
	if wait = used + min(cost, l.burst) - l.burst; wait > 0 {
		return wait
	}
	l.full = now + used + cost
	return 0
}

// left returns the number of tokens in the bucket.
func (l *limiter) left() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(max(l.burst-max(l.full-l.now(), 0), 0) / l.unit)
}

func jsonText(v any) (*string, error) {
	b, err := json.Marshal(v)
	text := string(b)
	return &text, err
}
