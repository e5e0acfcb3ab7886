package flagvalue_test

import (
	"testing"

	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
)

func TestDurations(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"5": "5s", "0.25": "250ms", "90s": "1m30s", "1h": "1h", "1h5s": "1h0m5s", "7d": "7d", "1d12h": "1d12h", "1d0s": "1d",
		"25h": "1d1h", "1.23456s": "1.23s", "0": "0s", "1500us": "1.5ms", "99999d": "99999d",
		"-1s": "", "-3": "", "1d-1h": "", "d": "", "": "", "soon": "", "1e300": "", "NaN": "", "99999d99999999h": "",
	} {
		got := ""
		if d, err := flagvalue.ParseDuration(text); err == nil {
			got = flagvalue.FormatDuration(d)
		}
		if got != want {
			t.Errorf("%q is parsed and formatted as %q, want %q", text, got, want)
		}
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"1000/s": "1000/s", "5/10m": "5/10m", "3/60": "3/m", "none": "none",
		"x/s": "", "0/s": "", "5": "", "5/": "", "5/0s": "",
	} {
		got := ""
		if r, err := flagvalue.ParseRate(text); err == nil {
			got = flagvalue.FormatRate(r)
		}
		if got != want {
			t.Errorf("rate %q is parsed and formatted as %q, want %q", text, got, want)
		}
	}
}
