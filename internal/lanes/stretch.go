package lanes

import (
	"math"
	"time"
)

const (
	sweepPace       = 2 * time.Microsecond // A sweep reads one position in this time.
	maxSlice        = 50_000               // The positions of one slice, at most.
	idleSliceFactor = 20                   // A claim with nothing else to do reads a slice this many times as long.
	minSlice        = 1000                 // Fewer positions are not worth a descent of the index.
)

// A Stretch is the part of a lane that a claim reads: the positions above From, up to and including Until.
type Stretch struct {
	Key
	From, Until int64
	Quota       int // The number of tickets it gives, at most.

	lane      *lane
	whole     bool // It reaches from the safe mark to the end.
	saw       int  // The number of tickets taken from it.
	last      int64
	throttled bool // A limit cut it short.
}

// stretches returns what a claim reads of a lane now: one stretch, or a slice of a sweep and the part above the mark.
func (ln *lane) stretches(now time.Time, idle bool, quota int) []Stretch {
	most := int64(maxSlice)
	if idle {
		most *= idleSliceFactor
	}
	paced := min(int64(now.Sub(ln.swept)/sweepPace), most)
	if ln.sweepNow {
		paced = most
	}
	above := Stretch{Key: ln.Key, lane: ln, From: ln.mark, Until: math.MaxInt64, Quota: quota}
	switch depth := ln.mark - ln.safe; {
	case depth <= paced, ln.fresh > 0:
		ln.fresh = max(ln.fresh-1, 0)
		above.From, above.whole = ln.safe, true
		ln.swept, ln.cursor = now, ln.safe
		return []Stretch{above}
	case paced < minSlice:
		return []Stretch{above}
	}
	ln.swept, ln.cursor = now, max(ln.cursor, ln.safe)
	slice := Stretch{Key: ln.Key, lane: ln, From: ln.cursor, Until: min(ln.cursor+paced, ln.mark), Quota: quota}
	return []Stretch{slice, above}
}

// learn updates the lane after a claim that took total tickets and could take most.
//
// If the claim took fewer tickets than it could, then each stretch that gave less than its quota is empty. If others
// filled the claim first, a stretch that gave little says nothing.
func (ln *lane) learn(s *Stretch, total, most int) {
	full, short := s.saw >= s.Quota, total < most
	switch {
	case s.throttled:
		ln.live = true // The claim did not see what is there.
	case s.whole:
		if full || short {
			ln.live, ln.sweepNow = full, false
		}
	case s.Until < math.MaxInt64:
		ln.learnSlice(s, full, short)
	case full:
		ln.live, ln.sweepNow = true, false
	case short:
		ln.live, ln.sweepNow = !ln.clean, !ln.clean
		ln.clean = false
	}
}

// learnSlice moves the cursor of the sweep, and notes how the sweep ended if this was its last slice.
func (ln *lane) learnSlice(s *Stretch, full, short bool) {
	if s.saw > 0 {
		ln.found, ln.clean = true, false
	}
	if full || !short {
		ln.cursor = max(ln.cursor, s.last)
		return
	}
	if ln.cursor = s.Until; ln.cursor >= ln.mark {
		ln.clean, ln.found, ln.cursor = !ln.found, false, ln.safe
	}
}
