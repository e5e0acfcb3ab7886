// Package cronspec parses cron specs and finds their ticks. A tick is a moment that matches a spec.
//
// A spec has five fields: minute, hour, day of month, month and day of week. It has six fields if it begins with
// seconds. A field is one of the following, or a list of them with commas:
//
//   - * or ?: every value
//   - a: one value
//   - a-b: a range
//   - */n, a-b/n or a/n: every n-th value; a/n goes from a to the largest value
//
// Months and days of the week also have names of three letters. Sunday is 0 or 7. The macros are @yearly (@annually),
// @monthly, @weekly, @daily (@midnight), @hourly, and @every with a duration of whole seconds.
//
// If both day fields are restricted, a day must match one of them. Otherwise a day must match both. A field that begins
// with * is not restricted, not even */2. Vixie cron has the same rule.
//
// # Daylight saving
//
// A spec that restricts the hours ticks once for each matching wall time. If the clock jumps over a matching time, the
// tick is the first moment after the gap; several skipped times make one tick. If the clock shows a matching time
// twice, the tick is the first of them.
//
// A spec that allows every hour ticks whenever the clock shows a matching time. An hourly spec therefore ticks every
// hour, through both changes of the clock.
package cronspec

import (
	"fmt"
	"math/bits"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Spec is a parsed spec. It does not change. Each Spec has at least one tick in every 400 years.
type Spec struct {
	every                                        time.Duration // If every is not zero, the other fields are unset.
	seconds, minutes, hours, days, months, wdays uint64
	either                                       bool // If true, a day must be in days or in wdays; otherwise in both.
}

type field struct {
	name     string
	min, max int
	names    string // The names of the values from min on, three letters each.
}

var fields = [6]field{
	{"second", 0, 59, ""},
	{"minute", 0, 59, ""},
	{"hour", 0, 23, ""},
	{"day of month", 1, 31, ""},
	{"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
	{"day of week", 0, 7, "sunmontuewedthufrisat"},
}

const everyHour = 1<<24 - 1

var macros = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
	"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

// Parse parses a spec. It returns an error if the spec can never tick, such as one for 30 February.
func Parse(text string) (*Spec, error) {
	const most = 1000
	if len(text) > most {
		return nil, fmt.Errorf("the spec has %d bytes; the limit is %d", len(text), most)
	}
	words := strings.Fields(text)
	if len(words) == 0 {
		return nil, fmt.Errorf("an empty spec; want five fields, six with seconds first, or @every 90s")
	}
	if strings.HasPrefix(words[0], "@") {
		macro := strings.ToLower(words[0])
		if macro == "@every" {
			return parseEvery(words[1:])
		}
		plain, ok := macros[macro]
		if !ok || len(words) > 1 {
			return nil, fmt.Errorf("spec %q: want @yearly, @monthly, @weekly, @daily, @hourly or @every with a duration", text)
		}
		words = strings.Fields(plain)
	}
	if strings.Contains(words[0], "TZ=") {
		return nil, fmt.Errorf("spec %q: a spec has no time zone: leave out TZ= and set the zone beside the spec", text)
	}
	switch len(words) {
	case 5:
		words = append([]string{"0"}, words...)
	case 6:
	default:
		return nil, fmt.Errorf("spec %q has %d fields; want five, or six with seconds first", text, len(words))
	}
	s := &Spec{}
	for i, set := range []*uint64{&s.seconds, &s.minutes, &s.hours, &s.days, &s.months, &s.wdays} {
		var err error
		if *set, err = fields[i].parse(words[i]); err != nil {
			return nil, fmt.Errorf("spec %q: %w", text, err)
		}
	}
	s.wdays = (s.wdays | s.wdays>>7) & (1<<7 - 1)
	s.either = !star(words[3]) && !star(words[5])
	if !s.possible() {
		return nil, fmt.Errorf("spec %q never ticks: none of its months has any of its days", text)
	}
	return s, nil
}

func star(word string) bool { return word[0] == '*' || word[0] == '?' }

func parseEvery(words []string) (*Spec, error) {
	if len(words) != 1 {
		return nil, fmt.Errorf("@every wants one duration: @every 90s")
	}
	d, err := time.ParseDuration(words[0])
	if err != nil {
		return nil, fmt.Errorf("@every %s: %w", words[0], err)
	}
	if d < time.Second || d%time.Second != 0 {
		return nil, fmt.Errorf("@every %s: want whole seconds, at least one", words[0])
	}
	return &Spec{every: d}, nil
}

func (f field) parse(word string) (set uint64, err error) {
	for item := range strings.SplitSeq(word, ",") {
		span, stepText, stepped := strings.Cut(item, "/")
		low, high := f.min, f.max
		if f.max == 7 {
			high = 6 // * is seven days, not eight.
		}
		step := 1
		if span != "*" && span != "?" {
			lowText, highText, ranged := strings.Cut(span, "-")
			if low, err = f.value(lowText); err != nil {
				return 0, err
			}
			switch {
			case ranged:
				if high, err = f.value(highText); err != nil {
					return 0, err
				}
				if f.max == 7 && high == 0 && low > 0 {
					high = 7 // SAT-SUN
				}
				if high < low {
					return 0, fmt.Errorf("%s: the range %s goes backwards", f.name, span)
				}
			case stepped:
				high = max(low, high) // 7/2 is Sunday.
			default:
				high = low
			}
		}
		if stepped {
			if step, err = number(stepText); err != nil || step == 0 || step > f.max-f.min+1 {
				return 0, fmt.Errorf("%s: step %q; want 1 to %d", f.name, stepText, f.max-f.min+1)
			}
		}
		for v := low; v <= high; v += step {
			set |= 1 << v
		}
	}
	return set, nil
}

func (f field) value(text string) (int, error) {
	if len(text) == 3 && f.names != "" {
		if i := strings.Index(f.names, strings.ToLower(text)); i >= 0 && i%3 == 0 {
			return f.min + i/3, nil
		}
	}
	v, err := number(text)
	if err != nil || v < f.min || v > f.max {
		return 0, fmt.Errorf("%s: %q; want %d to %d", f.name, text, f.min, f.max)
	}
	return v, nil
}

func number(text string) (int, error) {
	v, err := strconv.ParseUint(text, 10, 16)
	return int(v), err
}

// possible reports whether any year has a day that matches the spec. Over 400 years every date falls on every day of
// the week.
func (s *Spec) possible() bool {
	if s.either {
		return true
	}
	for m := range 12 {
		const leap = 2000
		length := time.Date(leap, time.Month(m+2), 0, 0, 0, 0, 0, time.UTC).Day()
		if s.months&(2<<m) != 0 && s.days&(1<<(length+1)-1) != 0 {
			return true
		}
	}
	return false
}

// lastYear is the last year that is searched for ticks.
const lastYear = 9999

// Next returns the first tick after a moment, by the clock of a zone. It returns the zero time if that tick is after
// the year 9999. For an @every spec, Next adds the duration to the moment, rounded down to a whole second.
func (s *Spec) Next(after time.Time, zone *time.Location) time.Time {
	second := time.Unix(after.Unix(), 0).In(zone)
	if y := second.Year(); y < 1 || y > lastYear {
		return time.Time{}
	}
	switch {
	case s.every > 0:
		return second.Add(s.every)
	case s.hours == everyHour:
		return s.nextShown(second.Add(time.Second))
	default:
		return s.nextReached(second, zone)
	}
}

// nextShown returns the first moment, t or later, at which the clock shows a matching time. It searches one period of
// constant offset after the other.
func (s *Spec) nextShown(t time.Time) time.Time {
	for {
		_, offset := t.Zone()
		_, end := t.ZoneBounds()
		wall, ok := s.nextWall(t.Unix() + int64(offset))
		if !ok {
			return time.Time{}
		}
		if at := wall - int64(offset); end.IsZero() || at < end.Unix() {
			return time.Unix(at, 0).In(t.Location())
		}
		t = end
	}
}

// nextReached returns the first moment after t at which the clock reaches or jumps over a matching time for the first
// time.
func (s *Spec) nextReached(t time.Time, zone *time.Location) time.Time {
	_, offset := t.Zone()
	wall := t.Unix() + int64(offset)
	for {
		var ok bool
		if wall, ok = s.nextWall(wall + 1); !ok {
			return time.Time{}
		}
		if at := reach(wall, zone); at.After(t) {
			return at
		}
	}
}

// reach returns the first moment at which a zone's clock shows a wall time or a later one. A wall time is in seconds
// since 1970, as if it were UTC.
func reach(wall int64, zone *time.Location) time.Time {
	t := time.Unix(wall, 0).Add(-36 * time.Hour).In(zone) // No offset is that large, so the wall time is after t.
	for {
		_, offset := t.Zone()
		_, end := t.ZoneBounds()
		if at := wall - int64(offset); end.IsZero() || at < end.Unix() {
			if at < t.Unix() {
				return t // The clock jumped over it.
			}
			return time.Unix(at, 0).In(zone)
		}
		t = end
	}
}

// nextWall returns the first matching wall time, the given one or later. It returns false if there is none.
func (s *Spec) nextWall(wall int64) (int64, bool) {
	from := time.Unix(wall, 0).UTC()
	year, month, date := from.Date()
	hour, minute, second := from.Clock()
	day := time.Date(year, month, date, 0, 0, 0, 0, time.UTC)
	for day.Year() <= lastYear {
		if s.months&(1<<day.Month()) == 0 {
			day = time.Date(day.Year(), day.Month()+1, 1, 0, 0, 0, 0, time.UTC)
			hour, minute, second = 0, 0, 0
			continue
		}
		if s.on(day) {
			if seconds, ok := s.nextTime(hour, minute, second); ok {
				return day.Unix() + int64(seconds), true
			}
		}
		day = day.AddDate(0, 0, 1)
		hour, minute, second = 0, 0, 0
	}
	return 0, false
}

func (s *Spec) on(day time.Time) bool {
	date, wday := s.days&(1<<day.Day()) != 0, s.wdays&(1<<day.Weekday()) != 0
	if s.either {
		return date || wday
	}
	return date && wday
}

// nextTime returns the first matching time of day, the given one or later, in seconds. It returns false if there is
// none.
func (s *Spec) nextTime(hour, minute, second int) (int, bool) {
	for h := next(s.hours, hour); h >= 0; h = next(s.hours, h+1) {
		if h > hour {
			minute, second = 0, 0
		}
		for m := next(s.minutes, minute); m >= 0; m = next(s.minutes, m+1) {
			if m > minute {
				second = 0
			}
			if n := next(s.seconds, second); n >= 0 {
				return h*3600 + m*60 + n, true
			}
		}
	}
	return 0, false
}

// next returns the smallest member of a set that is at least from. It returns -1 if there is none.
func next(set uint64, from int) int {
	if set >>= from; set == 0 {
		return -1
	}
	return from + bits.TrailingZeros64(set)
}

// Last returns the last n ticks that are later than after and not later than until, oldest first. It returns fewer if
// there are fewer. Its cost does not depend on the number of ticks in between.
func (s *Spec) Last(after, until time.Time, n int, zone *time.Location) []time.Time {
	if n <= 0 || !after.Before(until) {
		return nil
	}
	if s.every > 0 {
		first := time.Unix(after.Unix(), 0)
		if skip := int(until.Sub(first)/s.every) - n; skip > 0 {
			after = first.Add(time.Duration(skip) * s.every)
		}
	} else {
		// A later start leaves fewer ticks. Search for the last start that leaves n ticks.
		low, high := after.Unix(), until.Unix()
		tooFew := sort.Search(int(high-low), func(i int) bool {
			t := time.Unix(low+int64(i), 0)
			for range n {
				if t = s.Next(t, zone); t.IsZero() || t.After(until) {
					return true
				}
			}
			return false
		})
		if tooFew > 1 {
			after = time.Unix(low+int64(tooFew)-1, 0)
		}
	}
	var ticks []time.Time
	for t := s.Next(after, zone); !t.IsZero() && !t.After(until); t = s.Next(t, zone) {
		ticks = append(ticks, t)
	}
	return ticks
}
