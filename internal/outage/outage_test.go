package outage

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// A simulated outage has a clock of its own.
type simulated struct {
	Outage
	log strings.Builder
	at  time.Time
}

func simulate() *simulated {
	s := &simulated{at: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
	s.Outage = Outage{
		Logger: slog.New(slog.NewTextHandler(&s.log, nil)), What: "claims", Lost: "lost", Back: "back",
		Attrs: []any{"worker", "w"},
	}
	return s
}

func (s *simulated) step(d time.Duration, err error) {
	s.at = s.at.Add(d)
	s.record(err, func() time.Time { return s.at }, nil)
}

func (s *simulated) count(text string) int { return strings.Count(s.log.String(), text) }

var errAway = errors.New("away")

func TestAnOutageIsToldAtGrowingIntervals(t *testing.T) {
	t.Parallel()
	s := simulate()
	s.step(0, nil)
	for range 10 * 60 * 10 { // Ten minutes, ten failures a second.
		s.step(100*time.Millisecond, errAway)
	}
	// After 0, 5, 15, 35, 75 s, and then each minute.
	if n := s.count("msg=lost"); n != 13 {
		t.Errorf("it was told %d times:\n%s", n, s.log.String())
	}
	if !strings.Contains(s.log.String(), "worker=w error=away failures=1 ") {
		t.Errorf("the first message is not about the first failure:\n%s", s.log.String())
	}
	s.step(time.Second, nil)
	s.step(time.Second, nil)
	if s.count("msg=back") != 1 || !strings.Contains(s.log.String(), "worker=w failures=6000 after=10m0.9s") {
		t.Errorf("the end was not told once:\n%s", s.log.String())
	}
	s.step(time.Hour, errAway)
	if n := s.count("msg=lost"); n != 14 {
		t.Errorf("an outage an hour later was not told at once: %d", n)
	}
}

func TestAnOutageThatComesAndGoesIsNotToldEachTime(t *testing.T) {
	t.Parallel()
	s := simulate()
	for range 600 { // Ten minutes.
		s.step(500*time.Millisecond, errAway)
		s.step(500*time.Millisecond, nil)
	}
	if lost, back := s.count("msg=lost"), s.count("msg=back"); lost > 15 || lost != back {
		t.Errorf("it was told %d times, and its end %d times", lost, back)
	}
}

func TestStateDescribesAnOutage(t *testing.T) {
	t.Parallel()
	s := simulate()
	if text := s.State(0); text != "" {
		t.Errorf("before an outage the state is %q", text)
	}
	s.step(0, errAway)
	s.step(time.Second, errAway)
	s.since = time.Now().Add(-time.Minute)
	if text := s.State(time.Second); !strings.HasPrefix(text, "claims have failed 2 times since 20") ||
		!strings.HasSuffix(text, ": away") {
		t.Errorf("the state is %q", text)
	}
	if text := s.State(time.Hour); text != "" {
		t.Errorf("a short outage is described: %q", text)
	}
	s.step(time.Second, nil)
	if text := s.State(0); text != "" {
		t.Errorf("after the outage the state is %q", text)
	}
}
