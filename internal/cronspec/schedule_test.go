package cronspec

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDue(t *testing.T) {
	t.Parallel()
	at := func(text string) time.Time {
		if text == "" {
			return time.Time{}
		}
		when, err := time.Parse("2006-01-02 15:04:05Z07:00", text)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	for _, test := range []struct {
		name, spec, zone    string
		expected, last, now string
		catchUp             int
		ticks, next         string
	}{
		{"on time", "0 * * * *", "UTC", "2026-01-01 10:00:00Z", "", "2026-01-01 10:00:00Z", 0, "01-01T10:00:00Z", "01-01T11:00:00Z"},
		{"a minute late", "0 * * * *", "UTC", "2026-01-01 10:00:00Z", "", "2026-01-01 10:01:00Z", 0, "01-01T10:00:00Z", "01-01T11:00:00Z"},
		{"missed", "0 * * * *", "UTC", "2026-01-01 10:00:00Z", "", "2026-01-01 10:01:01Z", 0, "", "01-01T11:00:00Z"},
		{"missed, the latest wanted", "0 * * * *", "UTC", "2026-01-01 10:00:00Z", "", "2026-01-01 10:01:01Z", 1, "01-01T10:00:00Z", "01-01T11:00:00Z"},
		{"missed some, the last on time", "0 * * * *", "UTC", "2026-01-01 08:00:00Z", "", "2026-01-01 10:00:30Z", 0, "01-01T10:00:00Z", "01-01T11:00:00Z"},
		{"the one on time is the latest", "0 * * * *", "UTC", "2026-01-01 08:00:00Z", "", "2026-01-01 10:00:30Z", 1, "01-01T10:00:00Z", "01-01T11:00:00Z"},
		{"two", "0 * * * *", "UTC", "2026-01-01 08:00:00Z", "", "2026-01-01 10:30:00Z", 2, "01-01T09:00:00Z 01-01T10:00:00Z", "01-01T11:00:00Z"},
		{"all there are", "0 * * * *", "UTC", "2026-01-01 08:00:00Z", "", "2026-01-01 10:30:00Z", 9, "01-01T08:00:00Z 01-01T09:00:00Z 01-01T10:00:00Z", "01-01T11:00:00Z"},
		{"a stutter misses nothing", "* * * * * *", "UTC", "2026-01-01 10:00:00Z", "", "2026-01-01 10:00:02Z", 0,
			"01-01T10:00:00Z 01-01T10:00:01Z 01-01T10:00:02Z", "01-01T10:00:03Z"},
		{"ten seconds are a stutter", "*/5 * * * * *", "UTC", "2026-01-01 10:00:00Z", "", "2026-01-01 10:00:20Z", 0,
			"01-01T10:00:10Z 01-01T10:00:15Z 01-01T10:00:20Z", "01-01T10:00:25Z"},
		{"years of seconds", "* * * * * *", "UTC", "2020-01-01 10:00:00Z", "", "2026-01-01 10:00:00Z", 0,
			"01-01T09:59:50Z 01-01T09:59:51Z 01-01T09:59:52Z 01-01T09:59:53Z 01-01T09:59:54Z 01-01T09:59:55Z 01-01T09:59:56Z 01-01T09:59:57Z 01-01T09:59:58Z 01-01T09:59:59Z 01-01T10:00:00Z",
			"01-01T10:00:01Z"},
		{"every counts from the tick", "@every 90s", "UTC", "2026-01-01 10:00:00Z", "", "2026-01-01 10:04:40Z", 9,
			"01-01T10:00:00Z 01-01T10:01:30Z 01-01T10:03:00Z 01-01T10:04:30Z", "01-01T10:06:00Z"},
		{"moved by hand", "0 * * * *", "UTC", "2026-01-01 10:20:00Z", "", "2026-01-01 10:20:01Z", 0, "01-01T10:20:00Z", "01-01T11:00:00Z"},
		{"inserted before the spec was changed", "*/30 * * * *", "UTC", "2026-01-01 10:00:00Z", "2026-01-01 10:00:00Z", "2026-01-01 10:00:01Z", 5,
			"", "01-01T10:30:00Z"},
		{"the database's clock was set back", "*/30 * * * *", "UTC", "2026-01-01 10:00:00Z", "2030-01-01 10:00:00Z", "2026-01-01 10:00:01Z", 0,
			"01-01T10:00:00Z", "01-01T10:30:00Z"},
		{"spring", "30 2 * * *", "Europe/Berlin", "2026-03-28 01:30:00Z", "", "2026-03-30 01:00:00Z", 9,
			"03-28T01:30:00Z 03-29T01:00:00Z 03-30T00:30:00Z", "03-31T00:30:00Z"},
		{"autumn", "30 2 * * *", "Europe/Berlin", "2026-10-25 00:30:00Z", "", "2026-10-25 01:30:00Z", 9,
			"10-25T00:30:00Z", "10-26T01:30:00Z"},
		{"autumn, hourly", "30 * * * *", "Europe/Berlin", "2026-10-25 00:30:00Z", "", "2026-10-25 01:30:00Z", 9,
			"10-25T00:30:00Z 10-25T01:30:00Z", "10-25T02:30:00Z"},
	} {
		schedule, err := ParseSchedule(test.spec, test.zone)
		if err != nil {
			t.Fatal(err)
		}
		ticks, next, err := schedule.Due(at(test.expected), at(test.last), at(test.now), test.catchUp)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		write := func(at time.Time) string { return at.UTC().Format("01-02T15:04:05Z07:00") }
		var got []string
		for _, tick := range ticks {
			got = append(got, write(tick))
		}
		if !slices.Equal(got, strings.Fields(test.ticks)) || write(next) != test.next {
			t.Errorf("%s:\n\t%v, then %s; want\n\t%s, then %s", test.name, got, write(next), test.ticks, test.next)
		}
	}
}
