package pawl

import (
	"context"
	"time"
)

// room is how many more jobs of a queue may run.
func (r *runner) room(queue string) int {
	if r.queues == nil {
		return r.config.Max
	}
	q, chosen := r.config.Queues[queue]
	if !chosen {
		return 0
	}
	if q.Max == 0 {
		return r.config.Max
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return q.Max - r.perQueue[queue]
}

// free waits until fewer than Min jobs run and says how many may be claimed; 0 when ctx ends.
func (r *runner) waitForRoom(ctx context.Context) int {
	for {
		r.mu.Lock()
		n := r.config.Max - r.count
		below := r.count < r.config.Min
		r.mu.Unlock()
		// While the database does not take answers, what is done but not delivered must not grow without bound.
		if below && r.finish.backlog() < 4*r.config.Max+2000 {
			return n
		}
		wait := time.NewTimer(50 * time.Millisecond)
		select {
		case <-r.freed:
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return 0
		}
		wait.Stop()
	}
}

const (
	firstCheck   = time.Millisecond       // After a claim found nothing; doubled each time.
	stayAwake    = 100 * time.Millisecond // Looking by itself so long, a runner asks to be woken whatever was before.
	discoverSoon = 20 * time.Millisecond  // For lanes not known yet, when known ones had something.
	denseTraffic = 100                    // Jobs in a window of 100 ms from which it looks by itself instead of being woken.
)

// traffic counts jobs in windows, to tell a stream from a trickle.
type traffic struct {
	since     time.Time
	last, now int
}

func (t *traffic) add(at time.Time, n int) {
	if gone := at.Sub(t.since); gone >= stayAwake {
		t.last = t.now
		if gone >= 2*stayAwake {
			t.last = 0
		}
		t.since, t.now = at, 0
	}
	t.now += n
}

// lookPace keeps the looks for lanes to about a tenth of the time. Of the last two the cheaper counts: a single slow answer tells of
// the machine, and must not put off the next look.
type discoveryPace struct{ last, before time.Duration }

func (p *discoveryPace) add(cost time.Duration) { p.last, p.before = cost, p.last }

func (p *discoveryPace) every() time.Duration { return 10 * min(p.last, p.before) }

// loop is the claim loop.
//
// With nothing to do it looks again after 1, 2, 4, 8 … ms. In a trickle, or after a while of nothing, it asks to be woken: from
// then on every insert notifies, so that a claim follows it at once and none is made in vain. In a dense stream it does without:
// there a NOTIFY on every insert would cost far more than looking.
func (r *runner) loop(ctx context.Context) {
	var (
		lookedAt, surveyedAt, promotedAt time.Time
		surveyCost                       time.Duration
		pace                             discoveryPace
		check                            = firstCheck
		emptySince                       time.Time // Since when claims find nothing; zero: the last one did.
		asked                            bool      // To be woken.
		owed                             bool      // Woken, and perhaps for a lane not known yet: a look is due as soon as its cost allows.
		flow                             traffic
		failures                         int
	)
	weigh := func() {
		for name, q := range r.config.Queues {
			r.lanes.queue(name).weight = max(q.Weight, 1)
		}
	}
	weigh()
	rise := func() {
		if asked {
			r.sleep.stayAwake()
			asked, check = false, firstCheck
		}
	}
	defer rise()
	for ctx.Err() == nil {
		n := r.waitForRoom(ctx)
		if n == 0 {
			return
		}
		idle := !emptySince.IsZero()
		now := time.Now()
		got, err := func() (got int, err error) {
			if due := r.due(now, now.Sub(promotedAt) >= 20*time.Millisecond && (idle || now.Sub(promotedAt) >= r.config.PollInterval/4)); len(due) > 0 {
				promotedAt = now
				moved, err := r.client.promote(ctx, r.lanes, due)
				if err != nil {
					return 0, err
				}
				if moved > 0 {
					lookedAt, idle = time.Time{}, true
				}
			}
			if now.Sub(surveyedAt) >= max(20*surveyCost, 50*time.Millisecond) {
				surveyedAt = now
				if err := r.client.advanceMarks(ctx, r.lanes); err != nil {
					return 0, err
				}
				surveyCost = time.Since(now)
				r.lanes.forget(5 * time.Minute)
			}
			// Lanes not known yet are looked for when there is nothing in those that are, and before a claim from the others: the
			// first job of a channel must not wait for a million of another.
			look := func() (found int, err error) {
				lookedAt, owed = time.Now(), false
				found, err = r.client.discoverLanes(ctx, r.lanes, r.queues)
				pace.add(time.Since(lookedAt))
				return found, err
			}
			n = r.lanes.atOnce(n)
			if !idle && now.Sub(lookedAt) >= max(pace.every(), discoverSoon) {
				if _, err := look(); err != nil {
					return 0, err
				}
			}
			got, err = r.take(ctx, n, idle)
			if err != nil {
				return 0, err
			}
			if since := now.Sub(lookedAt); got == 0 && idle && (since >= pace.every() || pace.every() < discoverSoon) {
				found, err := look()
				if err != nil || found == 0 {
					return 0, err
				}
				return r.take(ctx, n, idle)
			}
			return got, nil
		}()
		flow.add(now, got)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			failures++
			r.log.Warn("pawl: claim failed, trying again", "worker", r.config.Name, "error", err)
			r.lanes.reset()
			weigh()
			lookedAt, promotedAt = time.Time{}, time.Time{}
			sleep(ctx, min(50*time.Millisecond<<min(failures, 7), 5*time.Second))
			continue
		case got > 0:
			failures, emptySince = 0, time.Time{}
			if flow.now >= denseTraffic {
				rise()
			}
			if !asked {
				check = firstCheck
			}
			if !asked || r.lanes.more() {
				continue
			}
			// All is taken, and whatever comes from now on wakes us.
		case emptySince.IsZero():
			failures, emptySince = 0, now
			if !asked {
				continue // Once more at once, from the safe marks and with lanes that seemed empty.
			}
		case !asked:
			calm := flow.last < denseTraffic/2 && flow.now < denseTraffic/2 && now.Sub(emptySince) >= 2*firstCheck
			if (calm || now.Sub(emptySince) >= stayAwake) && r.sleep.announce(ctx) {
				// Inserts whose transactions are open just now do not know; they are found by looking some more.
				asked, check = true, 2*firstCheck
				continue
			}
		}
		wait := check
		check = min(2*check, r.config.PollInterval)
		if at, ok := r.nextDue(); ok {
			wait = min(wait, max(time.Until(at), 0))
		}
		if at, ok := r.lanes.nextUnthrottled(); ok {
			wait = min(wait, max(time.Until(at), 0))
		}
		if owed {
			wait = min(wait, max(max(pace.every(), discoverSoon)-time.Since(lookedAt), 0))
		}
		timer := time.NewTimer(wait)
		var freed chan struct{} // What is left waits for a place in its queue.
		if r.lanes.more() {
			freed = r.freed
		}
		select {
		case <-freed:
		case <-timer.C:
			if emptySince.IsZero() {
				emptySince = now
			}
		case <-r.permits:
			r.lanes.unthrottle()
		case <-r.sleep.woken:
			r.lanes.unthrottle()
			promotedAt, emptySince, owed = time.Time{}, time.Now(), true
		case <-ctx.Done():
		}
		timer.Stop()
		if asked && !r.sleep.isAnnounced() {
			asked, check = false, firstCheck // The connection is gone, and the lock with it.
		}
	}
}

// due are the queues to promote from: those known to be due, and with learn all, to hear what is scheduled next.
func (r *runner) due(now time.Time, learn bool) (queues []string) {
	for name, q := range r.lanes.queues {
		if r.room(name) > 0 && (learn || !q.dueAt.IsZero() && !q.dueAt.After(now)) {
			queues = append(queues, name)
		}
	}
	return queues
}

func (r *runner) nextDue() (at time.Time, ok bool) {
	for _, q := range r.lanes.queues {
		if !q.dueAt.IsZero() && (!ok || q.dueAt.Before(at)) {
			at, ok = q.dueAt, true
		}
	}
	return at, ok
}

// take claims up to n jobs and starts them. A suspect comes in a claim of its own, and only while no other struck job runs here:
// if the worker dies, it is known by whom.
func (r *runner) take(ctx context.Context, n int, idle bool) (got int, err error) {
	r.mu.Lock()
	alone, suspect := r.crashed == 0, r.suspect
	worker := r.worker
	r.mu.Unlock()
	who := claimer{worker: &worker, name: r.config.Name}
	if alone {
		if p := r.lanes.suspects(r.room); p != nil {
			jobs, total, err := r.carryOut(ctx, p, who)
			if err != nil || len(jobs) > 0 {
				return total, err
			}
		}
	}
	// A queue with a maximum of its own has a claim of its own, which takes no more than that.
	for name, q := range r.config.Queues {
		if q.Max == 0 {
			continue
		}
		p := r.lanes.plan(min(n-got, r.room(name)), idle, func(queue string) int {
			if queue == name {
				return r.room(name)
			}
			return 0
		}, suspect)
		if len(p.stretches) == 0 {
			continue
		}
		_, total, err := r.carryOut(ctx, p, who)
		if got += total; err != nil || got >= n {
			return got, err
		}
	}
	p := r.lanes.plan(n-got, idle, func(queue string) int {
		if r.config.Queues[queue].Max > 0 {
			return 0
		}
		return r.room(queue)
	}, suspect)
	if len(p.stretches) == 0 {
		return got, nil
	}
	_, total, err := r.carryOut(ctx, p, who)
	return got + total, err
}

func (r *runner) carryOut(ctx context.Context, p *plan, who claimer) (Jobs, int, error) {
	id := newLeaseID()
	// Not ctx: an answer lost because we stopped listening would have to be undone.
	claiming, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	r.mu.Lock()
	r.leases[id] = nil
	r.mu.Unlock()
	jobs, total, err := r.client.claim(claiming, r.lanes, p, who, id)
	r.mu.Lock()
	if len(jobs) > 0 {
		r.leases[id] = jobs[0].lease
	} else {
		delete(r.leases, id)
	}
	r.mu.Unlock()
	if err != nil {
		if isAmbiguous(err) {
			r.jobs.Go(func() { r.client.unclaim(r.finish.ctx, id) })
		}
		return nil, 0, err
	}
	for _, job := range jobs {
		if ctx.Err() != nil {
			r.finish.add(attemptResult{job: job, verb: "release", delay: new(float64)})
			continue
		}
		r.start(job)
	}
	r.dispatch()
	return jobs, total, nil
}

// claims is the claim loop, but for the times the worker is suspended. A claim under way when it is told so is given back.
func (r *runner) claimWhileReady(ctx context.Context) {
	for ctx.Err() == nil {
		claiming, suspend := context.WithCancel(ctx)
		r.mu.Lock()
		state, turned := r.state, r.stateChanged
		r.suspend = suspend
		r.mu.Unlock()
		if state == workerReady {
			r.loop(claiming)
		} else {
			select {
			case <-turned:
			case <-ctx.Done():
			}
		}
		suspend()
	}
}
