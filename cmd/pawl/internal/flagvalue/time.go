package flagvalue

import (
	"fmt"
	"time"
)

// Time is a flag that takes a time in the future. A time without a zone is in UTC.
type Time time.Time

// Set parses the flag.
func (v *Time) Set(text string) error {
	t, ok := parseTime(text, time.RFC3339, time.DateTime, "2006-01-02 15:04", time.DateOnly)
	if !ok {
		return fmt.Errorf("%q: want a time such as 2026-01-31 08:00 or 2026-01-31T08:00:00+01:00; "+
			"without a zone it is in UTC", text)
	}
	*v = Time(t)
	return nil
}

func (v *Time) String() string {
	if time.Time(*v).IsZero() {
		return ""
	}
	return time.Time(*v).UTC().Format(time.RFC3339)
}

// Type returns the flag's type for the help.
func (*Time) Type() string { return "time" }

// PastTime is a flag that takes a time in the past, or a duration before now by this machine's clock.
type PastTime time.Time

// Set parses the flag.
func (v *PastTime) Set(text string) error {
	if ago, err := ParseDuration(text); err == nil {
		*v = PastTime(time.Now().Add(-ago))
		return nil
	}
	t, ok := parseTime(text, time.RFC3339, time.DateTime, time.DateOnly)
	if !ok {
		return fmt.Errorf("%q: want a time such as 2026-01-31 or 2026-01-31T08:00:00Z, "+
			"or a duration before now such as 90s or 7d", text)
	}
	*v = PastTime(t)
	return nil
}

func (*PastTime) String() string { return "" }

// Type returns the flag's type for the help.
func (*PastTime) Type() string { return "time" }

func parseTime(text string, layouts ...string) (time.Time, bool) {
	for _, layout := range layouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
