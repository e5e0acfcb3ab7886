package pawl_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

func TestBackoffWait(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.Database(t))
	exactly := func(b pawl.Backoff) pawl.Backoff { b.NoJitter = true; return b }
	for _, test := range []struct {
		name    string
		backoff pawl.Backoff
		stored  string
		attempt int
		want    time.Duration
	}{
		{"default, first", exactly(pawl.Backoff{}), `{"jitter": 0}`, 1, time.Second},
		{"default, second", exactly(pawl.Backoff{}), `{"jitter": 0}`, 2, 2 * time.Second},
		{"default, tenth", exactly(pawl.Backoff{}), `{"jitter": 0}`, 10, 512 * time.Second},
		{"default, at its most", exactly(pawl.Backoff{}), `{"jitter": 0}`, 13, time.Hour},
		{"default, very late", exactly(pawl.Backoff{}), `{"jitter": 0}`, 32767, time.Hour},
		{"not an attempt", exactly(pawl.Backoff{}), `{"jitter": 0}`, 0, time.Second},
		{"constant", exactly(pawl.Backoff{Base: 7 * time.Second, Growth: 1}), `{"base": 7, "growth": 1, "jitter": 0}`, 99,
			7 * time.Second},
		{"linear", exactly(pawl.Backoff{Base: 3 * time.Second, Growth: 1, Power: 1}),
			`{"base": 3, "growth": 1, "power": 1, "jitter": 0}`, 20, time.Minute},
		{"to the fourth", exactly(pawl.Backoff{Growth: 1, Power: 4, Max: 24 * time.Hour}),
			`{"growth": 1, "power": 4, "max": 86400, "jitter": 0}`, 10, 10_000 * time.Second},
		{"less and less", exactly(pawl.Backoff{Base: 8 * time.Second, Growth: 0.5}),
			`{"base": 8, "growth": 0.5, "jitter": 0}`, 4, time.Second},
		{"base above max", exactly(pawl.Backoff{Base: time.Hour, Max: time.Minute}), `{"base": 3600, "max": 60, "jitter": 0}`,
			1, time.Minute},
	} {
		near := func(got float64) bool { return math.Abs(got-test.want.Seconds()) <= 1e-6*test.want.Seconds() }
		if got := test.backoff.Wait(test.attempt).Seconds(); !near(got) {
			t.Errorf("%s: Wait(%d) is %v s, want %v", test.name, test.attempt, got, test.want)
		}
		if got := value[float64](t, pool, "select pawl.backoff($1::text::jsonb, $2)", test.stored, test.attempt); !near(got) {
			t.Errorf("%s: pawl.backoff(…, %d) is %v s, want %v", test.name, test.attempt, got, test.want)
		}
	}
	if got := value[float64](t, pool, "select pawl.backoff(null, 1)"); got < 0.9 || got > 1.1 {
		t.Errorf("pawl.backoff of no backoff is %v, want a second ± 10 %%", got)
	}
	if got := value[float64](t, pool, `select pawl.backoff('{"base": 0}', 3)`); got != 0 {
		t.Errorf("pawl.backoff of base 0 is %v", got)
	}
}

// The database decides when a job is tried again; Go tells users when that will be. They must agree, jitter included.
func TestBackoffIsTheSameInSQL(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	rapid.Check(t, func(r *rapid.T) {
		b := pawl.Backoff{
			Base:     time.Duration(rapid.Int64Range(0, int64(100*24*time.Hour)).Draw(r, "base")),
			Max:      time.Duration(rapid.Int64Range(0, int64(10_000*24*time.Hour)).Draw(r, "max")),
			Growth:   rapid.Float64Range(0.001, 1000).Draw(r, "growth"),
			Power:    rapid.Float64Range(-100, 100).Draw(r, "power"),
			NoJitter: true,
		}
		attempt := rapid.IntRange(-1, 32767).Draw(r, "attempt")
		// As the library stores it: by way of a queue's policy.
		if err := client.PutQueue(t.Context(), pawl.Queue{Name: "q", Backoff: b}); err != nil {
			r.Fatal(err)
		}
		inSQL := value[float64](t, pool, "select pawl.backoff(backoff, $1) from pawl.queue", attempt)
		inGo := b.Wait(attempt).Seconds()
		if math.Abs(inGo-inSQL) > 1e-6*inSQL+2e-9 { // A Duration ends at nanoseconds.
			r.Fatalf("%+v, attempt %d: %v s in Go, %v s in SQL", b, attempt, inGo, inSQL)
		}
		b.Jitter, b.NoJitter = rapid.Float64Range(0.01, 1).Draw(r, "jitter"), false
		stored, _ := json.Marshal(map[string]float64{
			"base": inSQL, "growth": 1, "power": 0, "max": math.MaxFloat32, "jitter": b.Jitter,
		})
		low, high := inSQL*(1-b.Jitter)-1e-6, inSQL*(1+b.Jitter)*(1+1e-6)+1e-6
		for range 3 {
			if got := b.Wait(attempt).Seconds(); got < low || got > high {
				r.Fatalf("%+v, attempt %d: %v s in Go, outside %v to %v", b, attempt, got, low, high)
			}
			if got := value[float64](t, pool, "select pawl.backoff($1::text::jsonb, 1)", string(stored)); got < low ||
				got > high {
				r.Fatalf("%s: %v s in SQL, outside %v to %v", stored, got, low, high)
			}
		}
	})
}
