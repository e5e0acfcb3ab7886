package main

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pawlhq/pawl"
)

// durationForm is how durations are written in flags, the environment and files.
const durationForm = "a duration such as 500ms, 90s, 1h30m or 7d; a number alone is seconds"

var daysFirst = regexp.MustCompile(`^(\d{1,5})d(.*)$`)

// parseDuration reads durationForm. Negative ones are refused: nothing here takes them.
func parseDuration(text string) (time.Duration, error) {
	wrong := fmt.Errorf("%q: want %s", text, durationForm)
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		if seconds >= math.MaxInt64/1e9 {
			return 0, fmt.Errorf("%q: want less than 292 years", text)
		}
		if !(seconds >= 0) {
			return 0, wrong
		}
		return time.Duration(seconds * 1e9), nil
	}
	var days time.Duration
	if m := daysFirst.FindStringSubmatch(text); m != nil {
		n, _ := strconv.Atoi(m[1])
		if days, text = time.Duration(n)*24*time.Hour, m[2]; text == "" {
			return days, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || days+d < 0 {
		return 0, wrong
	}
	return days + d, nil
}

// formatDuration is short, for people: 1.25s, 3m20s, 7d12h.
func formatDuration(d time.Duration) string {
	if d < 0 {
		return "-" + formatDuration(-d)
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
	for _, nothing := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(rest, nothing) {
			rest = rest[:len(rest)-2]
		}
	}
	return text + rest
}

// durationValue is a flag of the durationForm: flags.Var((*durationValue)(&d), "delay", "…").
type durationValue time.Duration

func (v *durationValue) Set(text string) error {
	d, err := parseDuration(text)
	*v = durationValue(d)
	return err
}

func (v *durationValue) String() string {
	if *v == 0 {
		return "0" // A default that help need not tell.
	}
	return formatDuration(time.Duration(*v))
}

func (*durationValue) Type() string { return "duration" }

// parseRate reads "1000/s", "5/10m" or "none". What may go at once is said apart.
func parseRate(text string) (pawl.Rate, error) {
	if text == "none" {
		return pawl.Rate{}, nil
	}
	number, per, ok := strings.Cut(text, "/")
	n, err := strconv.Atoi(number)
	if per != "" && (per[0] < '0' || per[0] > '9') {
		per = "1" + per
	}
	d, wrong := parseDuration(per)
	if !ok || err != nil || wrong != nil || n < 1 || d == 0 {
		return pawl.Rate{}, fmt.Errorf("%q: want a rate such as 1000/s or 5/10m, or none", text)
	}
	return pawl.Rate{N: n, Per: d}, nil
}

func formatRate(r pawl.Rate) string {
	if r.N == 0 {
		return "none"
	}
	per := formatDuration(max(r.Per, 0))
	if r.Per == 0 {
		per = "1s"
	}
	if len(per) == 2 && per[0] == '1' {
		per = per[1:]
	}
	return fmt.Sprintf("%d/%s", r.N, per)
}

// rateValue is a flag of a rate: flags.Var((*rateValue)(&rate), "rate", "…").
type rateValue pawl.Rate

func (v *rateValue) Set(text string) error {
	r, err := parseRate(text)
	v.N, v.Per = r.N, r.Per // Burst is another flag's.
	return err
}

func (v *rateValue) String() string { return formatRate(pawl.Rate(*v)) }
func (*rateValue) Type() string     { return "rate" }
