package cronspec

import (
	"testing"
	"time"
)

// FuzzSchedule reads any schedule and asks for its ticks: they come in order, after the last one and not after now,
// and no more than asked for.
func FuzzSchedule(f *testing.F) {
	for _, seed := range []struct{ spec, zone string }{
		{"* * * * *", "UTC"}, {"@every 90s", ""}, {"0 30 2 * * *", "Europe/Berlin"}, {"0 0 29 2 */7", "America/Sao_Paulo"},
		{"59 59 23 31 12 *", "Pacific/Apia"}, {"@hourly", "Local"}, {"* * 30 2 *", "Asia/Kathmandu"}, {"@every 1ns", "UTC"},
		{"@every 2562047h", "UTC"}, {"0-59/61 * * * *", "../etc"}, {"30 1 * * sun#5", "Australia/Lord_Howe"},
	} {
		f.Add(seed.spec, seed.zone, int64(1_775_000_000), int64(3600), 3)
		f.Add(seed.spec, seed.zone, int64(-1<<36), int64(1)<<32, 999)
	}
	f.Fuzz(func(t *testing.T, spec, zone string, from, lasts int64, catchUp int) {
		s, err := ParseSchedule(spec, zone)
		if err != nil {
			return
		}
		// Within the years that the database has, and for at most some centuries.
		last := time.Unix(from%(1<<37), 0)
		now := last.Add(time.Duration(lasts%(1<<33)) * time.Second)
		catchUp = max(catchUp%1000, 0)
		began := time.Now()
		expected, err := s.Next(last)
		if err != nil || expected.After(now) { // Due is called when a tick is due.
			return
		}
		if !expected.After(last) {
			t.Errorf("%q in %q: %v is not after %v", spec, zone, expected, last)
		}
		ticks, next, err := s.Due(expected, last, now, catchUp)
		if err == nil && !next.After(now) {
			t.Errorf("%q in %q: the next tick %v is not after now, %v", spec, zone, next, now)
		}
		for i, tick := range ticks {
			if tick.After(now) || !tick.After(last) || i > 0 && !tick.After(ticks[i-1]) {
				t.Errorf("%q in %q: ticks %v between %v and %v", spec, zone, ticks, last, now)
			}
		}
		if most := max(catchUp, int(stutter/time.Second)+1); len(ticks) > most {
			t.Errorf("%q in %q: %d ticks, asked for %d", spec, zone, len(ticks), catchUp)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%q in %q: the ticks between %v and %v took %v", spec, zone, last, now, took)
		}
	})
}
