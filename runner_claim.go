package pawl

import (
	"context"
	"sync"
	"time"

	"github.com/pawlhq/pawl/internal/lanes"
	"github.com/pawlhq/pawl/internal/outage"
	"github.com/pawlhq/pawl/internal/pg"
)

// A claimLoop claims jobs for a runner. It is a state machine:
//
//	          found nothing                nothing in a trickle, or for 100 ms
//	┌───────┐ ────────────→ ┌────────┐ ───────────────────────────────→ ┌────────┐
//	│ awake │               │ asking │                                  │ asleep │
//	└───────┘ ←──────────── └────────┘ ←─────────────────────────────── └────────┘
//	    ↑      found jobs               found nothing, LISTEN lost          │
//	    └───────────────────────────────────────────────────────────────────┘
//	           found jobs of a dense stream, or found jobs, LISTEN lost
//
// Awake, the last claim found jobs, and the next one follows at once.
//
// Asking, the last claim found nothing. The loop claims again at once, from the safe marks and also from lanes that
// seemed empty, and then after 1, 2, 4, 8, … ms.
//
// Asleep, every insert notifies the loop. A claim follows each insert at once. The loop still claims without a
// notification, at growing intervals up to PollInterval.
//
// In a dense stream a loop does not sleep: a NOTIFY with every insert would cost far more than claims that find
// nothing.
type claimLoop struct {
	client    *Client
	outage    *outage.Outage // Of claims.
	config    *RunnerConfig
	queues    []string // If nil, all queues.
	slots     *slots
	finisher  *finisher
	heartbeat *heartbeat
	leases    *workerLeases
	sleeper   *sleeper
	freed     <-chan struct{} // Receives a value when a job has ended and there is room.
	woken     <-chan string   // Receives a value when an insert wakes the loop.
	permits   <-chan struct{} // Receives a value when this process has given a permit back.

	undo    context.Context // Ends when the runner gives up.
	undoing sync.WaitGroup  // Claims whose result was lost, while they are undone.

	// The goroutine of run alone uses these.
	set         *lanes.Set
	state       claimState
	check       time.Duration // The next wait, if nothing happens before.
	emptySince  time.Time     // Since when claims have found nothing. Zero if the last claim found jobs.
	failures    int           // The claims in a row that failed.
	traffic     traffic
	pace        discoveryPace
	discovered  time.Time // When lanes were last looked for.
	manyUnknown bool      // The last discovery found as many lanes as it may: there are more.
	owed        bool      // An insert may be in an unknown lane: a discovery is due as soon as its pace allows.
	surveyed    time.Time // When the marks were last advanced.
	surveyCost  time.Duration
	promoted    time.Time // When due jobs were last promoted.
}

// A claimState is a state of a claimLoop.
type claimState int

const (
	awake claimState = iota
	asking
	asleep
)

const (
	maxClaimRetry = 5 * time.Second // The longest wait after a claim that failed.
	roomCheck     = 50 * time.Millisecond
	surveyShare   = 20 // The share of time that surveys may take, as its inverse.
	surveySpacing = 50 * time.Millisecond
	promoteSoon   = 20 * time.Millisecond // The least time between two promotions that look at all queues.
	forgetLanes   = 5 * time.Minute       // After this time an empty lane is forgotten.
)

// run claims until ctx ends.
func (l *claimLoop) run(ctx context.Context) {
	l.begin()
	defer l.wakeUp()
	for {
		room := l.waitForRoom(ctx)
		if room == 0 {
			return
		}
		now, ready := time.Now(), l.set.Ready()
		got, err := l.claim(ctx, now, room)
		l.traffic.add(now, got)
		again := false
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			l.fail(ctx, err)
			continue
		case got > 0:
			again = l.foundJobs()
		default:
			again = l.foundNothing(ctx, now, l.set.Ready() < ready)
		}
		l.failures = 0
		l.outage.Record(nil)
		if !again {
			l.wait(ctx, now)
		}
	}
}

// begin enters the state awake and resets the times of the last run.
func (l *claimLoop) begin() {
	l.state, l.check, l.emptySince, l.failures, l.owed = awake, firstCheck, time.Time{}, 0, false
	l.discovered, l.surveyed, l.promoted = time.Time{}, time.Time{}, time.Time{}
	l.surveyCost, l.pace, l.traffic = 0, discoveryPace{}, traffic{}
	l.set.UseHoldings(l.slots.held)
	l.setWeights()
}

// setWeights sets the shares of the queues.
func (l *claimLoop) setWeights() {
	for name, q := range l.config.Queues {
		l.set.SetWeight(name, max(q.Weight, 1))
		if q.Max > 0 {
			l.set.LimitQueue(name, q.Max)
		}
	}
}

// waitForRoom waits until fewer than Min jobs run, and returns how many may be claimed. It returns 0 when ctx ends.
func (l *claimLoop) waitForRoom(ctx context.Context) int {
	for ctx.Err() == nil {
		n, few := l.slots.vacant()
		// While the database does not take results, the undelivered ones must not grow without bound.
		if few && l.finisher.backlog() < 4*l.config.Max+2000 {
			return n
		}
		wait := time.NewTimer(roomCheck)
		select {
		case <-l.freed:
		case <-wait.C:
		case <-ctx.Done():
		}
		wait.Stop()
	}
	return 0
}

// claim makes due jobs ready, advances the marks, and claims up to n jobs.
//
// It looks for unknown lanes if known lanes have no jobs. It also does so at intervals before a claim from known
// lanes: the first job of a channel must not wait for a million jobs of another channel.
func (l *claimLoop) claim(ctx context.Context, now time.Time, n int) (got int, err error) {
	idle := !l.emptySince.IsZero()
	moved, err := l.promote(ctx, now, idle)
	if err != nil {
		return 0, err
	}
	if moved {
		l.discovered, idle = time.Time{}, true
	}
	if err := l.survey(ctx, now); err != nil {
		return 0, err
	}
	n = l.set.ClaimSize(n)
	if !idle && now.Sub(l.discovered) >= l.discoverEvery() {
		if _, err := l.discover(ctx); err != nil {
			return 0, err
		}
	}
	got, err = l.take(ctx, n, idle)
	if err != nil {
		return 0, err
	}
	if got > 0 || !idle {
		return got, nil
	}
	if every := l.pace.every(); now.Sub(l.discovered) < every && every >= discoverSoon {
		return 0, nil
	}
	for {
		found, err := l.discover(ctx)
		if err != nil {
			return 0, err
		}
		if found > 0 {
			return l.take(ctx, n, idle)
		}
		if !l.set.Continues() {
			return 0, nil
		}
	}
}

// promote makes due jobs ready, and reports whether there were any. At intervals it looks at all queues, to learn
// what is scheduled next.
func (l *claimLoop) promote(ctx context.Context, now time.Time, idle bool) (moved bool, err error) {
	since := now.Sub(l.promoted)
	all := since >= promoteSoon && (idle || since >= l.config.PollInterval/4)
	queues := l.set.DueQueues(now, all, l.slots.room)
	if len(queues) == 0 {
		return false, nil
	}
	l.promoted = now
	n, err := l.client.promote(ctx, l.set, queues)
	return n > 0, err
}

// survey advances the safe marks of lanes, at intervals.
func (l *claimLoop) survey(ctx context.Context, now time.Time) error {
	if now.Sub(l.surveyed) < max(surveyShare*l.surveyCost, surveySpacing) {
		return nil
	}
	l.surveyed = now
	if err := l.client.advanceMarks(ctx, l.set); err != nil {
		return err
	}
	l.surveyCost = time.Since(now)
	l.set.Forget(forgetLanes)
	return nil
}

// discover looks for unknown lanes, and returns how many it found. If there are many, it finds some.
func (l *claimLoop) discover(ctx context.Context) (found int, err error) {
	l.discovered, l.owed = time.Now(), false
	found, err = l.client.discoverLanes(ctx, l.set, l.queues)
	l.pace.add(time.Since(l.discovered))
	l.manyUnknown = found >= maxDiscovered
	return found, err
}

// discoverEvery is the least time between two discoveries while known lanes have jobs.
func (l *claimLoop) discoverEvery() time.Duration {
	if l.manyUnknown {
		return discoverSoon
	}
	return max(l.pace.every(), discoverSoon)
}

// fail handles a claim that failed. The state stays the same.
func (l *claimLoop) fail(ctx context.Context, err error) {
	l.failures++
	l.outage.Record(err)
	l.set.Reset()
	l.setWeights()
	l.discovered, l.promoted = time.Time{}, time.Time{}
	pg.Sleep(ctx, min(50*time.Millisecond<<min(l.failures, 7), maxClaimRetry))
}

// foundJobs handles a claim that found jobs. It reports whether the next claim follows at once.
func (l *claimLoop) foundJobs() (again bool) {
	l.emptySince = time.Time{}
	if l.state == asleep && !l.traffic.dense() {
		return l.set.More() // If nothing is left, the next insert wakes the loop.
	}
	l.wakeUp()
	l.state, l.check = awake, firstCheck
	return true
}

// foundNothing handles a claim that found nothing. It reports whether the next claim follows at once: so it does while
// fewer lanes are left that may have jobs.
func (l *claimLoop) foundNothing(ctx context.Context, now time.Time, fewer bool) (again bool) {
	if fewer && l.set.More() {
		return true
	}
	switch l.state {
	case awake:
		l.state, l.emptySince = asking, now
		return true
	case asking:
		return l.fallAsleep(ctx, now)
	default:
		if l.emptySince.IsZero() {
			l.emptySince = now
		}
		return false
	}
}

// fallAsleep enters the state asleep if the traffic has been calm, or if there have been no jobs for stayAwake.
// Inserts whose transactions are open just now do not notify. The loop finds them because it claims some more.
func (l *claimLoop) fallAsleep(ctx context.Context, now time.Time) (again bool) {
	empty := now.Sub(l.emptySince)
	if !(l.traffic.calm() && empty >= 2*firstCheck) && empty < stayAwake {
		return false
	}
	if !l.sleeper.announce(ctx) {
		return false
	}
	l.state, l.check = asleep, 2*firstCheck
	return true
}

// wakeUp leaves the state asleep.
func (l *claimLoop) wakeUp() {
	if l.state != asleep {
		return
	}
	l.sleeper.stayAwake()
	l.leaveSleep()
}

// leaveSleep enters the state that the last claim calls for.
func (l *claimLoop) leaveSleep() {
	l.state, l.check = awake, firstCheck
	if !l.emptySince.IsZero() {
		l.state = asking
	}
}

// wait waits until a claim may find something.
func (l *claimLoop) wait(ctx context.Context, now time.Time) {
	timer := time.NewTimer(l.nextCheck())
	defer timer.Stop()
	var freed <-chan struct{}
	if l.set.More() { // The jobs that are left wait for a slot of their queue.
		freed = l.freed
	}
	select {
	case <-freed:
	case <-timer.C:
		if l.emptySince.IsZero() {
			l.emptySince = now
		}
	case <-l.permits:
		l.set.Unthrottle()
	case <-l.woken:
		l.set.Unthrottle()
		l.promoted, l.emptySince, l.owed = time.Time{}, time.Now(), true
	case <-ctx.Done():
	}
	if l.state == asleep && !l.sleeper.isAnnounced() {
		l.leaveSleep() // The LISTEN connection is lost, and the announcement with it.
	}
}

// nextCheck returns how long to wait for the next claim, and doubles the next wait.
func (l *claimLoop) nextCheck() time.Duration {
	wait := l.check
	l.check = min(2*l.check, l.config.PollInterval)
	if at, ok := l.set.NextDue(); ok {
		wait = min(wait, time.Until(at))
	}
	if at, ok := l.set.NextUnthrottled(); ok {
		wait = min(wait, time.Until(at))
	}
	if l.owed {
		wait = min(wait, l.discoverEvery()-time.Since(l.discovered))
	}
	return max(wait, 0)
}
