package cronspec

import (
	"errors"
	"fmt"
	"time"
)

// Schedule is a spec in a time zone.
type Schedule struct {
	spec *Spec
	zone *time.Location
}

// ParseSchedule parses a spec and the name of a zone in the time zone database. An empty zone means UTC.
func ParseSchedule(spec, zone string) (s Schedule, err error) {
	if s.spec, err = Parse(spec); err != nil {
		return s, err
	}
	if zone == "Local" {
		return s, errors.New(`zone "Local" differs from machine to machine: want a name like Europe/Berlin`)
	}
	if s.zone, err = time.LoadLocation(zone); err != nil {
		return s, fmt.Errorf("%w: if this machine has no time zone database, import time/tzdata", err)
	}
	return s, nil
}

// Next returns the first tick after a time. It returns an error if that tick is after the year 9999.
func (s Schedule) Next(after time.Time) (time.Time, error) {
	next := s.spec.Next(after, s.zone)
	if next.IsZero() {
		return next, fmt.Errorf("no tick is known after %v: the last year is %d", after, lastYear)
	}
	return next, nil
}

const (
	// grace is how late the latest tick may be without counting as missed.
	grace = time.Minute

	// stutter is how late an earlier tick may be without counting as missed. It is shorter than grace. Otherwise a spec
	// that ticks every second would insert a minute's jobs at once after a pause.
	stutter = 10 * time.Second
)

// Due returns the ticks to insert at the time now, oldest first, and the next tick to wait for. expected is the tick
// that the caller waited for, and last is the last tick that was inserted. A tick that is too late counts as missed.
// Due returns a missed tick only if it is among the last catchUp ticks.
//
// expected counts as a tick even if the spec no longer matches it. The zone's rules may have changed, or an operator
// may have moved the tick.
func (s Schedule) Due(expected, last, now time.Time, catchUp int) (ticks []time.Time, next time.Time, err error) {
	most := max(catchUp, int(stutter/time.Second)+1)
	ticks = s.spec.Last(expected, now, most, s.zone)
	if len(ticks) < most {
		ticks = append([]time.Time{expected}, ticks...)
	}
	if next, err = s.Next(ticks[len(ticks)-1]); err != nil {
		return nil, next, err
	}
	due := ticks[:0]
	for i, tick := range ticks {
		late, later := now.Sub(tick), len(ticks)-1-i
		switch {
		case !last.IsZero() && !tick.After(last) && !last.After(now):
			// The tick was inserted before the spec was changed.
		case later < catchUp, late <= stutter, later == 0 && late <= grace:
			due = append(due, tick)
		}
	}
	return due, next, nil
}
