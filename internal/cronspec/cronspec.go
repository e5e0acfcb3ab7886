// Package cronspec reads cron's way of writing points in time, and finds the next one.
//
// A spec has five fields (minute, hour, day of month, month, day of week) or six with seconds first. A field is *, a
// value, a range a-b, any of these with a step (*/n, a-b/n, a/n: from a to the end), or a list of them. ? means *.
// Months and days of the week may be named by three letters; Sunday is 0 or 7. Macros: @yearly (@annually), @monthly,
// @weekly, @daily (@midnight), @hourly, and @every with a duration of whole seconds.
//
// When both day fields are restricted, a day that meets either of them will do; a field that begins with * does not
// restrict in this sense (*/2 neither), and then both must be met: as in Vixie cron.
//
// # Daylight saving
//
// A spec that names hours ticks once for each of its wall times: when the clock jumps over it, at the first moment
// after the gap (several skipped ones together once), and when the clock shows it twice, at the first. A spec of all
// hours ticks whenever the clock shows a matching time: an hourly one keeps ticking every hour through both changes.
package cronspec

import (
	"fmt"
	"math/bits"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Spec is a spec that was read. It is never changed, and always has a next tick.
type Spec struct {
	every                                        time.Duration // If not zero, the rest is unset.
	seconds, minutes, hours, days, months, wdays uint64
	either                                       bool // A day that is in days or in wdays, not in both.
}

type field struct {
	name     string
	min, max int
	names    string // Three letters each, from min on.
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

// Parse reads a spec. One that can never tick, like 30 February, is an error.
func Parse(text string) (*Spec, error) {
	const most = 1000
	if len(text) > most {
		return nil, fmt.Errorf("a spec of %d bytes; at most %d", len(text), most)
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
		return nil, fmt.Errorf("spec %q: the time zone is said apart", text)
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
		return nil, fmt.Errorf("spec %q never comes: none of its months has any of its days", text)
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

// possible says whether any year has a day of the spec. Over 400 years every date falls on every day of the week.
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

// lastYear bounds every search: nothing is said of later years.
const lastYear = 9999

// Next is the first tick after a moment, by the clock of a zone; the zero time if that is not before the year 10000. An
// @every spec ticks that long after the moment, which is taken down to a whole second.
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

// nextShown is the first moment from t on when the clock shows a matching time. Within a period of one offset that is
// plain arithmetic; the clock's changes are the borders between periods.
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

// nextReached is the first moment after t when the clock comes to, or jumps over, a matching time for the first time.
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

// reach is the first moment when a zone's clock shows a wall time or a later one. Wall times are seconds since 1970 as
// if they were UTC.
func reach(wall int64, zone *time.Location) time.Time {
	t := time.Unix(wall, 0).Add(-36 * time.Hour).In(zone) // No offset is that large: the wall time is still to come.
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

// nextWall is the first matching wall time not before the given one.
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

// nextTime is the first matching time of day not before the given one, in seconds.
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

// next is the first member of a set not below a value, -1 if there is none.
func next(set uint64, from int) int {
	if set >>= from; set == 0 {
		return -1
	}
	return from + bits.TrailingZeros64(set)
}

// Last are the latest ticks, at most n, after one moment and not after another, oldest first. Its cost does not grow
// with the number of ticks in between.
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
		// The nth tick after a moment comes later, the later the moment: find the last moment with n ticks left.
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
