package cronspec

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // The tests' zones are there on every machine.

	"pgregory.net/rapid"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func parse(t testing.TB, text string) *Spec {
	t.Helper()
	s, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ticks are the next n, written with their offset.
func ticks(t testing.TB, spec, zoneName, from string, n int) (list []string) {
	t.Helper()
	z := zone(t, zoneName)
	at, err := time.Parse(time.RFC3339, from)
	if err != nil {
		t.Fatal(err)
	}
	s := parse(t, spec)
	for range n {
		at = s.Next(at, z)
		if at.Location() != z {
			t.Errorf("%s: a tick in zone %v, want %v", spec, at.Location(), z)
		}
		list = append(list, at.Format("2006-01-02T15:04:05Z07:00"))
	}
	return list
}

func TestNext(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ spec, from, want string }{
		{"* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z 2026-01-01T00:02:00Z"},
		{"* * * * *", "2026-01-01T00:00:59.5Z", "2026-01-01T00:01:00Z"},
		{"* * * * * *", "2026-01-01T00:00:59.5Z", "2026-01-01T00:01:00Z 2026-01-01T00:01:01Z"},
		{"*/20 * * * * *", "2026-12-31T23:59:40Z", "2027-01-01T00:00:00Z 2027-01-01T00:00:20Z"},
		{"30 15 10 * * *", "2026-01-01T10:15:30Z", "2026-01-02T10:15:30Z"},
		{"*/15 * * * *", "2026-01-01T00:50:00Z", "2026-01-01T01:00:00Z 2026-01-01T01:15:00Z"},
		{"5/20 * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z 2026-01-01T00:25:00Z 2026-01-01T00:45:00Z 2026-01-01T01:05:00Z"},
		{"10-20/5,55 3 * * *", "2026-01-01T00:00:00Z", "2026-01-01T03:10:00Z 2026-01-01T03:15:00Z 2026-01-01T03:20:00Z 2026-01-01T03:55:00Z 2026-01-02T03:10:00Z"},
		{"0 9-17/4 * * mon-fri", "2026-01-02T12:00:00Z", "2026-01-02T13:00:00Z 2026-01-02T17:00:00Z 2026-01-05T09:00:00Z"},
		{"0 0 1 jan,JUL *", "2026-01-01T00:00:00Z", "2026-07-01T00:00:00Z 2027-01-01T00:00:00Z"},
		{"0 0 * * 7", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z 2026-01-11T00:00:00Z"},
		{"0 0 * * 0", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"},
		{"0 0 * * 7/3", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z 2026-01-11T00:00:00Z"},
		{"0 0 * * 5-7", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z 2026-01-03T00:00:00Z 2026-01-04T00:00:00Z 2026-01-09T00:00:00Z"},
		{"0 0 * * SAT-SUN", "2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z 2026-01-04T00:00:00Z 2026-01-10T00:00:00Z"},
		{"0 0 * * */2", "2026-01-03T00:00:00Z", "2026-01-04T00:00:00Z 2026-01-06T00:00:00Z 2026-01-08T00:00:00Z 2026-01-10T00:00:00Z 2026-01-11T00:00:00Z"},
		{"0 0 ? * ?", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"},
		// Both day fields restricted: either. One begins with a star: both.
		{"0 0 13 * fri", "2026-02-07T00:00:00Z", "2026-02-13T00:00:00Z 2026-02-20T00:00:00Z 2026-02-27T00:00:00Z 2026-03-06T00:00:00Z 2026-03-13T00:00:00Z"},
		{"0 0 10 * fri", "2026-02-07T00:00:00Z", "2026-02-10T00:00:00Z 2026-02-13T00:00:00Z"},
		{"0 0 */10 * fri", "2026-01-01T00:00:00Z", "2026-05-01T00:00:00Z 2026-07-31T00:00:00Z"},
		{"0 0 13 * ?", "2026-02-07T00:00:00Z", "2026-02-13T00:00:00Z 2026-03-13T00:00:00Z"},
		// Ends of months and leap years.
		{"0 0 31 * *", "2026-01-31T00:00:00Z", "2026-03-31T00:00:00Z 2026-05-31T00:00:00Z"},
		{"0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z 2032-02-29T00:00:00Z"},
		{"0 0 29 feb *", "2096-02-29T00:00:00Z", "2104-02-29T00:00:00Z"},
		{"0 0 29 2 */7", "2026-01-01T00:00:00Z", "2032-02-29T00:00:00Z 2060-02-29T00:00:00Z 2088-02-29T00:00:00Z 2128-02-29T00:00:00Z"},
		{"0 0 30 2 mon", "2026-01-31T00:00:00Z", "2026-02-02T00:00:00Z"}, // Its Mondays.
		{"@yearly", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"@annually", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"@Monthly", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"},
		{"@weekly", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"},
		{"@daily", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"},
		{"@midnight", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"},
		{" @hourly ", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"},
		{"@every 90s", "2026-01-01T00:00:00.9Z", "2026-01-01T00:01:30Z 2026-01-01T00:03:00Z"},
		{"@every 1h30m", "2026-01-01T00:00:00Z", "2026-01-01T01:30:00Z"},
		{"0 0 1 1 *", "1969-06-01T00:00:00Z", "1970-01-01T00:00:00Z"},
		{"0 0 1 1 *", "1900-06-01T00:00:00.5Z", "1901-01-01T00:00:00Z"},
	} {
		want := strings.Fields(test.want)
		if got := ticks(t, test.spec, "UTC", test.from, len(want)); !slices.Equal(got, want) {
			t.Errorf("%q from %s:\n\t%v, want\n\t%v", test.spec, test.from, got, want)
		}
	}
}

func TestDaylightSaving(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, spec, zone, from, want string }{
		{"skipped: the first moment after the gap", "30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z",
			"2026-03-28T02:30:00+01:00 2026-03-29T03:00:00+02:00 2026-03-30T02:30:00+02:00"},
		{"the gap's first second", "0 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T03:00:00+02:00 2026-03-30T02:00:00+02:00"},
		{"several skipped, together with one not skipped, are one", "0,20,40 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z",
			"2026-03-29T03:00:00+02:00 2026-03-29T03:20:00+02:00 2026-03-29T03:40:00+02:00 2026-03-30T02:00:00+02:00"},
		{"twice: the first", "30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z",
			"2026-10-25T02:30:00+02:00 2026-10-26T02:30:00+01:00"},
		{"asked between the two", "30 2 * * *", "Europe/Berlin", "2026-10-25T00:45:00Z", "2026-10-26T02:30:00+01:00"},
		{"asked in the second", "* 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", "2026-10-26T02:00:00+01:00"},
		{"after the doubled hour", "0 2,3 * * *", "Europe/Berlin", "2026-10-24T22:00:00Z",
			"2026-10-25T02:00:00+02:00 2026-10-25T03:00:00+01:00"},
		{"hourly in spring", "30 * * * *", "Europe/Berlin", "2026-03-28T23:45:00Z",
			"2026-03-29T01:30:00+01:00 2026-03-29T03:30:00+02:00 2026-03-29T04:30:00+02:00"},
		{"hourly in autumn", "30 * * * *", "Europe/Berlin", "2026-10-24T23:45:00Z",
			"2026-10-25T02:30:00+02:00 2026-10-25T02:30:00+01:00 2026-10-25T03:30:00+01:00"},
		{"every 20 minutes in autumn", "*/20 * * * *", "Europe/Berlin", "2026-10-25T00:30:00Z",
			"2026-10-25T02:40:00+02:00 2026-10-25T02:00:00+01:00 2026-10-25T02:20:00+01:00 2026-10-25T02:40:00+01:00 2026-10-25T03:00:00+01:00"},
		{"named hours are not every hour", "0 */2 * * *", "Europe/Berlin", "2026-10-24T22:30:00Z",
			"2026-10-25T02:00:00+02:00 2026-10-25T04:00:00+01:00"},
		{"all hours named are every hour", "30 0-23 * * *", "Europe/Berlin", "2026-10-24T23:45:00Z", "2026-10-25T02:30:00+02:00 2026-10-25T02:30:00+01:00"},
		{"spring", "30 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", "2026-03-08T03:00:00-04:00 2026-03-09T02:30:00-04:00"},
		{"autumn", "30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", "2026-11-01T01:30:00-04:00 2026-11-02T01:30:00-05:00"},
		{"autumn, every half hour", "*/30 * * * *", "America/New_York", "2026-11-01T05:00:00Z",
			"2026-11-01T01:30:00-04:00 2026-11-01T01:00:00-05:00 2026-11-01T01:30:00-05:00 2026-11-01T02:00:00-05:00"},
		{"half an hour in spring", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", "2026-10-04T02:30:00+11:00 2026-10-05T02:15:00+11:00"},
		{"half an hour, not skipped", "45 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", "2026-10-04T02:45:00+11:00"},
		{"half an hour in autumn", "45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", "2026-04-05T01:45:00+11:00 2026-04-06T01:45:00+10:30"},
		{"half an hour in autumn, hourly", "45 * * * *", "Australia/Lord_Howe", "2026-04-04T14:00:00Z",
			"2026-04-05T01:45:00+11:00 2026-04-05T01:45:00+10:30 2026-04-05T02:45:00+10:30"},
		{"midnight skipped", "@daily", "Asia/Beirut", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00+03:00 2026-03-30T00:00:00+03:00"},
		{"midnight twice", "@daily", "America/Havana", "2026-10-31T12:00:00Z", "2026-11-01T00:00:00-04:00 2026-11-02T00:00:00-05:00"},
		{"a day skipped", "0 12 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z",
			"2011-12-29T12:00:00-10:00 2011-12-31T00:00:00+14:00 2011-12-31T12:00:00+14:00"},
		{"real time", "@every 1h", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T03:00:00+02:00 2026-03-29T04:00:00+02:00"},
	} {
		want := strings.Fields(test.want)
		if got := ticks(t, test.spec, test.zone, test.from, len(want)); !slices.Equal(got, want) {
			t.Errorf("%s: %q in %s:\n\t%v, want\n\t%v", test.name, test.spec, test.zone, got, want)
		}
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	for spec, part := range map[string]string{
		"":                             "empty",
		"   ":                          "empty",
		"* * * *":                      "4 fields",
		"* * * * * * *":                "7 fields",
		"60 * * * *":                   `minute: "60"; want 0 to 59`,
		"60 * * * * *":                 "second",
		"* 24 * * *":                   "hour",
		"* * 0 * *":                    "day of month",
		"* * 32 * *":                   "day of month",
		"* * * 13 *":                   "month",
		"* * * 0 *":                    "month",
		"* * * * 8":                    "day of week",
		"* * * foo *":                  "month",
		"* * * anf *":                  "month", // Inside janfeb.
		"* * mon * *":                  "day of month",
		"5-1 * * * *":                  "backwards",
		"* * * * fri-mon":              "backwards",
		"*/0 * * * *":                  "step",
		"*/61 * * * *":                 "step",
		"*/ * * * *":                   "step",
		"*/x * * * *":                  "step",
		"1,,2 * * * *":                 "minute",
		"-1 * * * *":                   "minute",
		"+1 * * * *":                   "minute",
		"1- * * * *":                   "minute",
		"*-5 * * * *":                  "minute",
		"1.5 * * * *":                  "minute",
		"٣ * * * *":                    "minute",
		"* * L * *":                    "day of month",
		"0 0 30 2 *":                   "never",
		"0 0 31 2,4,6,9,11 *":          "never",
		"0 0 31 feb ?":                 "never",
		"@reboot":                      "@every",
		"@daily 5":                     "@daily",
		"@every":                       "duration",
		"@every 0s":                    "at least one",
		"@every -5s":                   "at least one",
		"@every 500ms":                 "whole seconds",
		"@every 1500ms":                "whole seconds",
		"@every soon":                  "soon",
		"@every 1m 2m":                 "one duration",
		"TZ=Europe/Berlin * * * * *":   "zone",
		strings.Repeat("1,", 600):      "bytes",
		"99999999999999999999 * * * *": "minute",
	} {
		if s, err := Parse(spec); err == nil {
			t.Errorf("%q was read as %+v", spec, s)
		} else if !strings.Contains(err.Error(), part) {
			t.Errorf("%q: %v; want it to say %q", spec, err, part)
		}
	}
}

func TestTheEndOfTime(t *testing.T) {
	t.Parallel()
	s := parse(t, "0 0 29 2 *")
	if got := s.Next(time.Date(9996, 3, 1, 0, 0, 0, 0, time.UTC), time.UTC); !got.IsZero() {
		t.Errorf("after the last 29 February: %v", got)
	}
	for _, at := range []time.Time{time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(1<<60, 0), time.Unix(-1<<60, 0), time.Time{}.AddDate(-1, 0, 0)} {
		if got := s.Next(at, zone(t, "Europe/Berlin")); !got.IsZero() {
			t.Errorf("after %v: %v", at, got)
		}
	}
	if got := parse(t, "30 2 * * *").Next(time.Date(9999, 12, 31, 12, 0, 0, 0, time.UTC), zone(t, "Europe/Berlin")); !got.IsZero() {
		t.Errorf("after the last day: %v", got)
	}
}

func TestLast(t *testing.T) {
	t.Parallel()
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, test := range []struct {
		spec, after, until string
		n                  int
		want               string
	}{
		{"* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:03:00Z", 5, "00:01:00 00:02:00 00:03:00"},
		{"* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:03:30Z", 2, "00:02:00 00:03:00"},
		{"* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:03:30Z", 0, ""},
		{"* * * * *", "2026-01-01T00:03:00Z", "2026-01-01T00:03:00Z", 3, ""},
		{"* * * * *", "2026-01-01T00:03:00Z", "2026-01-01T00:03:59Z", 3, ""},
		{"* * * * * *", "2000-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z", 3, "23:59:58 23:59:59 00:00:00"}, // 820 million in between.
		{"@every 1s", "2000-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z", 3, "23:59:58 23:59:59 00:00:00"},
		{"@every 90s", "2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z", 2, "00:03:00 00:04:30"},
		{"@every 90s", "2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z", 9, "00:01:30 00:03:00 00:04:30"},
		{"@every 90s", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z", 9, ""},
		{"0 12 1 1 *", "2000-06-01T00:00:00Z", "2026-06-01T00:00:00Z", 2, "12:00:00 12:00:00"},
	} {
		var got []string
		for _, tick := range parse(t, test.spec).Last(at(test.after), at(test.until), test.n, time.UTC) {
			got = append(got, tick.UTC().Format(time.TimeOnly))
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

// TestAgainstTheClock compares ticks with what a watcher of the zone's clock sees who looks at it every minute.
func TestAgainstTheClock(t *testing.T) {
	t.Parallel()
	zones := []string{
		"UTC",
		"Europe/Berlin",
		"America/New_York",
		"Australia/Lord_Howe",
		"Asia/Beirut",
		"America/Havana",
		"Pacific/Apia",
		"Africa/Casablanca",
		"Asia/Kathmandu",
	}
	rapid.Check(t, func(r *rapid.T) {
		z := zone(t, rapid.SampledFrom(zones).Draw(r, "zone"))
		field := func(name string, low, high int) string {
			value := rapid.IntRange(low, high)
			switch rapid.IntRange(0, 4).Draw(r, name) {
			case 0:
				return fmt.Sprint(value.Draw(r, name))
			case 1:
				a, b := value.Draw(r, name), value.Draw(r, name)
				return fmt.Sprintf("%d-%d/%d", min(a, b), max(a, b), rapid.IntRange(1, 7).Draw(r, name))
			case 2:
				return fmt.Sprintf("%d,%d", value.Draw(r, name), value.Draw(r, name))
			case 3:
				return fmt.Sprintf("*/%d", rapid.IntRange(1, 7).Draw(r, name))
			}
			return "*"
		}
		text := field("minute", 0, 59) + " " + field("hour", 0, 23) + " " + field("day", 1, 31) + " * " + field("wday", 0, 7)
		s, err := Parse(text)
		if err != nil {
			r.Fatal(err)
		}
		// A day and a half around a change of the clock, where there is one within the year.
		t0 := time.Unix(rapid.Int64Range(1262304000, 1893456000).Draw(r, "from")/60*60, 0).In(z)
		if _, end := t0.ZoneBounds(); !end.IsZero() && end.Sub(t0) < 366*24*time.Hour && rapid.Bool().Draw(r, "near") {
			t0 = end.Add(-time.Duration(rapid.IntRange(0, 24*60).Draw(r, "before")) * time.Minute)
		}
		until := t0.Add(36 * time.Hour)
		matches := func(wall time.Time) bool {
			return s.minutes&(1<<wall.Minute()) != 0 && s.hours&(1<<wall.Hour()) != 0 && s.on(wall)
		}
		wallOf := func(t time.Time) time.Time {
			_, offset := t.Zone()
			return time.Unix(t.Unix()+int64(offset), 0).UTC()
		}
		var want []time.Time
		shown := wallOf(t0) // The latest wall time seen, from a day before on, so that a doubled hour is known.
		for at := t0.Add(-24 * time.Hour); !at.After(t0); at = at.Add(time.Minute) {
			if w := wallOf(at); w.After(shown) {
				shown = w
			}
		}
		for at := t0.Add(time.Minute); !at.After(until); at = at.Add(time.Minute) {
			wall, tick := wallOf(at), false
			if s.hours == everyHour {
				tick = matches(wall)
			} else {
				for ; shown.Before(wall); shown = shown.Add(time.Minute) {
					tick = tick || matches(shown.Add(time.Minute))
				}
			}
			if tick {
				want = append(want, at)
			}
		}
		var got []time.Time
		for at := s.Next(t0, z); !at.IsZero() && !at.After(until); at = s.Next(at, z) {
			got = append(got, at)
		}
		if !slices.EqualFunc(got, want, time.Time.Equal) {
			r.Fatalf("%q in %v from %v:\n\t%v, the clock says\n\t%v", text, z, t0, got, want)
		}
		n := rapid.IntRange(1, 20).Draw(r, "n")
		last := s.Last(t0, until, n, z)
		if !slices.EqualFunc(last, got[max(0, len(got)-n):], time.Time.Equal) {
			r.Fatalf("%q in %v: the last %d of\n\t%v are said to be\n\t%v", text, z, n, got, last)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"* * * * *", "@every 90s", "0 0 29 2 */7", "1-5/2,7 * ? jan-MAR sat-sun", "0 30 2 * * *"} {
		f.Add(seed)
	}
	berlin := zone(f, "Europe/Berlin")
	from := time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		if at := s.Next(from, berlin); !at.After(from) && !at.IsZero() {
			t.Errorf("%q: %v is not after %v", text, at, from)
		}
	})
}
