package pawl

import "time"

const (
	// firstCheck is the wait after a claim that found nothing. It doubles each time.
	firstCheck = time.Millisecond
	// stayAwake is the time without jobs after which a runner asks to be woken, whatever the traffic was.
	stayAwake = 100 * time.Millisecond
	// discoverSoon is the least time between discoveries while known lanes have jobs.
	discoverSoon = 20 * time.Millisecond
	// denseTraffic is the number of jobs in a window from which a runner claims by itself instead of being woken.
	denseTraffic = 100
)

// traffic counts jobs in windows of stayAwake, to tell a stream from a trickle.
type traffic struct {
	since     time.Time
	last, now int
}

// add counts n jobs that were claimed at a time.
func (t *traffic) add(at time.Time, n int) {
	if gone := at.Sub(t.since); gone >= stayAwake {
		t.last = t.now
		if gone >= 2*stayAwake {
			t.last = 0
		}
		t.since, t.now = at, 0
	}
	t.now += n
}

// dense reports whether the current window is a stream.
func (t *traffic) dense() bool { return t.now >= denseTraffic }

// calm reports whether the last two windows were trickles.
func (t *traffic) calm() bool { return t.last < denseTraffic/2 && t.now < denseTraffic/2 }

// A discoveryPace keeps discoveries of lanes to about a tenth of the time. The cheaper of the last two counts: a
// single slow discovery may be the machine's fault, and must not delay the next one.
type discoveryPace struct{ last, before time.Duration }

// add records what a discovery took.
func (p *discoveryPace) add(cost time.Duration) { p.last, p.before = cost, p.last }

// every returns the least time between two discoveries.
func (p *discoveryPace) every() time.Duration { return 10 * min(p.last, p.before) }
