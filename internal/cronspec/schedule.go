package cronspec

import (
	"errors"
	"fmt"
	"time"
)

// A Schedule is a spec in a time zone.
type Schedule struct {
	spec *Spec
	zone *time.Location
}

// ParseSchedule reads a spec and the name of a zone from the time zone database. An empty zone is UTC.
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

// Next returns the first tick after a time. It returns an error if that is after the year 9999.
func (s Schedule) Next(after time.Time) (time.Time, error) {
	next := s.spec.Next(after, s.zone)
	if next.IsZero() {
		return next, fmt.Errorf("no tick is known after %v: the last year is %d", after, lastYear)
	}
	return next, nil
}

const (
	// grace is how late the latest tick may be found without being missed.
	grace = time.Minute

	// stutter is how late an earlier tick may be found without being missed. It is shorter than grace, so that a spec
	// of every second does not make a minute's jobs at once after a pause.
	stutter = 10 * time.Second
)

// Due returns the ticks to insert at the time now, oldest first, and the tick to wait for next. expected is the tick
// that was waited for and last the last tick that was inserted. Ticks found too late are missed; of those the latest
// are returned, so that there are up to catchUp ticks in all.
//
// expected counts as a tick even if the spec does not have it any more: the zone's rules may have changed, or an
// operator may have moved the tick.
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
