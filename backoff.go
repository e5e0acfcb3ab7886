package pawl

import (
	"errors"
	"math"
	"math/rand/v2"
	"time"
)

// A Backoff says how long a job waits after a failed attempt. The wait after the nth attempt is Base · Growth^(n-1) ·
// n^Power, at most Max. Jitter then makes it longer or shorter at random.
//
// The backoff is exponential if Growth is above 1, constant if Growth is 1, linear if Growth and Power are 1, and
// polynomial if Growth is 1 and Power is above 1. The zero value means that no backoff is set.
type Backoff struct {
	Base     time.Duration // Base is the wait after the first failed attempt. It defaults to 1 second.
	Max      time.Duration // Max is the longest wait. It defaults to 1 hour.
	Growth   float64       // Growth is the factor from one wait to the next. It defaults to 2.
	Power    float64       // Power is the exponent of the attempt's number, -100 to 100. It defaults to 0.
	Jitter   float64       // Jitter is the random part of the wait, 0 to 1: 0.1 is ± 10 %. It defaults to 0.1.
	NoJitter bool          // NoJitter makes the wait exact: Jitter is then 0.
}

// storedBackoff is a Backoff with its defaults, in seconds, as backoff.sql takes it.
type storedBackoff struct {
	Base   float64 `json:"base"`
	Max    float64 `json:"max"`
	Growth float64 `json:"growth"`
	Power  float64 `json:"power"`
	Jitter float64 `json:"jitter"`
}

func (b Backoff) stored() *storedBackoff {
	s := &storedBackoff{Base: 1, Max: 3600, Growth: 2, Power: b.Power, Jitter: 0.1}
	if b.Base != 0 {
		s.Base = b.Base.Seconds()
	}
	if b.Max != 0 {
		s.Max = b.Max.Seconds()
	}
	if b.Growth != 0 {
		s.Growth = b.Growth
	}
	if b.Jitter != 0 {
		s.Jitter = b.Jitter
	}
	if b.NoJitter {
		s.Jitter = 0
	}
	return s
}

func (s *storedBackoff) backoff() Backoff {
	return Backoff{
		Base: time.Duration(s.Base * float64(time.Second)), Max: time.Duration(s.Max * float64(time.Second)),
		Growth: s.Growth, Power: s.Power, Jitter: s.Jitter, NoJitter: s.Jitter == 0,
	}
}

func (b Backoff) check() error {
	finite := func(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }
	switch {
	case b.Base < 0 || b.Max < 0:
		return errors.New("base or max is negative: want 0 or more")
	case !finite(b.Growth) || b.Growth < 0 || !finite(b.Power) || math.Abs(b.Power) > 100:
		return errors.New("growth or power is out of range: want growth 0 or more, and power -100 to 100")
	case !finite(b.Jitter) || b.Jitter < 0 || b.Jitter > 1:
		return errors.New("jitter is out of range: want 0 to 1")
	}
	return nil
}

// Wait returns the wait after the given attempt, with its random part. The first attempt is 1. The SQL function
// backoff computes the same.
func (b Backoff) Wait(attempt int) time.Duration {
	s, n := b.stored(), float64(max(attempt, 1))
	wait := math.Exp(max(-20, min(math.Log(s.Base)+(n-1)*math.Log(s.Growth)+s.Power*math.Log(n), math.Log(s.Max))))
	return time.Duration(min(wait*(1+s.Jitter*(2*rand.Float64()-1))*float64(time.Second), math.MaxInt64/2))
}
