// Package flagvalue parses and formats the values of flags, settings and input files: durations, rates, times and
// names.
package flagvalue

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const durationForm = "a duration such as 500ms, 90s, 1h30m or 7d; a number alone is seconds"

var leadingDays = regexp.MustCompile(`^(\d{1,5})d(.*)$`)

// ParseDuration parses a duration such as 500ms, 90s, 1h30m or 7d, or a number of seconds. It refuses negative
// durations.
func ParseDuration(text string) (time.Duration, error) {
	invalid := fmt.Errorf("%q: want %s", text, durationForm)
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		if seconds >= math.MaxInt64/1e9 {
			return 0, fmt.Errorf("%q: want less than 292 years", text)
		}
		if !(seconds >= 0) { // NaN too.
			return 0, invalid
		}
		return time.Duration(seconds * 1e9), nil
	}
	var days time.Duration
	if m := leadingDays.FindStringSubmatch(text); m != nil {
		n, _ := strconv.Atoi(m[1])
		if days, text = time.Duration(n)*24*time.Hour, m[2]; text == "" {
			return days, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || days+d < 0 {
		return 0, invalid
	}
	return days + d, nil
}

// FormatDuration formats a duration for people, such as 1.25s, 3m20s or 7d12h.
func FormatDuration(d time.Duration) string {
	if d < 0 {
		return "-" + FormatDuration(-d)
	}
	switch {
	case d >= time.Minute:
		d = d.Round(time.Second)
	case d >= time.Second:
		d = d.Round(10 * time.Millisecond)
	case d >= time.Millisecond:
		d = d.Round(10 * time.Microsecond)
	}
	text := ""
	if days := d / (24 * time.Hour); days > 0 {
		if d -= days * 24 * time.Hour; d == 0 {
			return fmt.Sprintf("%dd", days)
		}
		text = fmt.Sprintf("%dd", days)
	}
	rest := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(rest, zero) {
			rest = rest[:len(rest)-2]
		}
	}
	return text + rest
}

// Duration is a flag that takes a duration.
type Duration time.Duration

// Set parses the flag.
func (v *Duration) Set(text string) error {
	d, err := ParseDuration(text)
	*v = Duration(d)
	return err
}

func (v *Duration) String() string {
	if *v == 0 {
		return "0" // pflag leaves a default of 0 out of the help.
	}
	return FormatDuration(time.Duration(*v))
}

// Type returns the flag's type for the help.
func (*Duration) Type() string { return "duration" }
