package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"
)

// Rate is so many in so much time. The zero Rate is no limit.
type Rate struct {
	N     int           // If zero, no limit; then the others must be zero too.
	Per   time.Duration // If zero, 1 s.
	Burst int           // At once after a rest. If zero, N.
}

func (r Rate) check() error {
	switch {
	case r.N < 0 || r.Per < 0 || r.Burst < 0:
		return errors.New("N, Per or Burst is negative")
	case r.N == 0 && r != Rate{}:
		return errors.New("N is zero, which is no limit, and yet Per or Burst is set")
	}
	return nil
}

// storedRate is a Rate in the database, in seconds.
type storedRate struct {
	N     int     `json:"n"`
	Per   float64 `json:"per"`
	Burst int     `json:"burst"`
}

func (r Rate) stored() (*string, error) {
	if r == (Rate{}) {
		return nil, nil
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	s := storedRate{r.N, r.Per.Seconds(), r.Burst}
	if r.Per == 0 {
		s.Per = 1
	}
	if r.Burst == 0 {
		s.Burst = r.N
	}
	b, err := json.Marshal(s)
	text := string(b)
	return &text, err
}

func (s storedRate) rate() Rate {
	return Rate{N: s.N, Per: time.Duration(s.Per * float64(time.Second)), Burst: s.Burst}
}

// limiter is a bucket of tokens, kept as the time at which it will be full: exact, and refilled by nobody.
type limiter struct {
	unit  time.Duration // In which one token comes in.
	burst time.Duration // In which an empty bucket fills.
	now   func() time.Duration
	mu    sync.Mutex
	full  time.Duration
}

// newLimiter is nil for no limit. Its clock is the process's, which no one sets back.
func newLimiter(r Rate) *limiter {
	if r.N == 0 {
		return nil
	}
	if r.Per == 0 {
		r.Per = time.Second
	}
	if r.Burst == 0 {
		r.Burst = r.N
	}
	n, began := time.Duration(r.N), time.Now()
	l := &limiter{unit: (r.Per-1)/n + 1, now: func() time.Duration { return time.Since(began) }} // Rounded up: never more than was said.
	l.burst = l.cost(r.Burst)
	return l
}

// cost is the time in which n tokens come in; bounded, so that sums of a few are numbers.
func (l *limiter) cost(n int) time.Duration {
	const most = 1 << 60 // 36 years
	if time.Duration(n) > most/l.unit {
		return most
	}
	return time.Duration(n) * l.unit
}

// take takes n tokens or none; then wait is when there will be enough, if nobody else takes any. More than the bucket holds are
// taken from a full one, which then owes them: or else a large batch could never go.
func (l *limiter) take(n int) (wait time.Duration) {
	cost := l.cost(n)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	gone := max(l.full-now, 0)
	if wait = gone + min(cost, l.burst) - l.burst; wait > 0 {
		return wait
	}
	l.full = now + gone + cost
	return 0
}

// left is how many tokens there are now.
func (l *limiter) left() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(max(l.burst-max(l.full-l.now(), 0), 0) / l.unit)
}

// InsertAllowance is how many jobs Insert would take at once now under Config.InsertRate, of which Burst is the most; -1 without a rate.
func (c *Client) InsertAllowance() int {
	if c.limiter == nil {
		return -1
	}
	return c.limiter.left()
}

// limit takes n tokens of Config.InsertRate.
func (c *Client) limit(ctx context.Context, n int) error {
	if c.limiter == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if wait := c.limiter.take(n); wait > 0 {
		return &RateError{RetryAfter: wait}
	}
	return nil
}
