package pawl

import (
	"context"
	"testing"
	"time"

	"github.com/pawlhq/pawl/internal/lanes"
	"github.com/pawlhq/pawl/internal/pg"
)

// loopIn returns a claim loop in a state. It has no database, so that its sleeper is never announced.
func loopIn(state claimState, emptySince time.Time) *claimLoop {
	return &claimLoop{
		state: state, emptySince: emptySince, check: time.Second, set: lanes.New(),
		config:  &RunnerConfig{PollInterval: time.Second},
		sleeper: &sleeper{keys: []string{"q"}, listener: &pg.Listener{}, changed: make(chan struct{})},
	}
}

func TestTheClaimLoopMovesBetweenItsStates(t *testing.T) {
	t.Parallel()
	now := time.Now()
	before := now.Add(-time.Second)
	found := func(l *claimLoop) bool { return l.foundJobs() }
	foundMany := func(l *claimLoop) bool {
		l.traffic.add(now, denseTraffic)
		return l.foundJobs()
	}
	foundMore := func(l *claimLoop) bool {
		l.set.Find(lanes.Key{Queue: "q"})
		return l.foundJobs()
	}
	nothing := func(l *claimLoop) bool { return l.foundNothing(t.Context(), now, false) }
	nothingAnnounced := func(l *claimLoop) bool {
		l.sleeper.keys = nil // A sleeper without keys is always announced.
		return l.foundNothing(t.Context(), now, false)
	}
	lostListen := func(l *claimLoop) bool {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // So that it does not wait.
		l.wait(ctx, now)
		return false
	}
	for _, test := range []struct {
		name       string
		from       claimState
		emptySince time.Time
		event      func(*claimLoop) (again bool)
		to         claimState
		again      bool
		check      time.Duration
	}{
		{"awake, found jobs", awake, time.Time{}, found, awake, true, firstCheck},
		{"awake, found nothing", awake, time.Time{}, nothing, asking, true, time.Second},
		{"asking, found jobs", asking, before, found, awake, true, firstCheck},
		{"asking, found nothing, cannot be woken", asking, before, nothing, asking, false, time.Second},
		{"asking, found nothing for a moment", asking, now, nothingAnnounced, asking, false, time.Second},
		{"asking, found nothing", asking, before, nothingAnnounced, asleep, true, 2 * firstCheck},
		{"asleep, found all jobs", asleep, before, found, asleep, false, time.Second},
		{"asleep, found some of the jobs", asleep, before, foundMore, asleep, true, time.Second},
		{"asleep, found jobs of a dense stream", asleep, before, foundMany, awake, true, firstCheck},
		{"asleep, found nothing", asleep, time.Time{}, nothing, asleep, false, time.Second},
		{"asleep, found jobs, LISTEN lost", asleep, time.Time{}, lostListen, awake, false, firstCheck},
		{"asleep, found nothing, LISTEN lost", asleep, before, lostListen, asking, false, firstCheck},
	} {
		l := loopIn(test.from, test.emptySince)
		again := test.event(l)
		if l.state != test.to || again != test.again || l.check != test.check {
			t.Errorf("%s: the state is %d, again %t, the next wait %v; want %d, %t, %v",
				test.name, l.state, again, l.check, test.to, test.again, test.check)
		}
	}
}

func TestTheClaimLoopWaitsNoLongerThanUntilTheNextJobIsDue(t *testing.T) {
	t.Parallel()
	l := loopIn(asking, time.Now())
	if wait := l.nextCheck(); wait != time.Second || l.check != l.config.PollInterval {
		t.Errorf("waits %v and then %v, want 1 s and then PollInterval", wait, l.check)
	}
	l.set.RecordPromotion("q", time.Now(), true, time.Now().Add(50*time.Millisecond))
	if wait := l.nextCheck(); wait > 50*time.Millisecond {
		t.Errorf("waits %v for a job that is due in 50 ms", wait)
	}
	l.set.FindScheduled("q")
	if wait := l.nextCheck(); wait != 0 {
		t.Errorf("waits %v for a job that is due", wait)
	}
}
