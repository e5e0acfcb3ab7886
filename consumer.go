package pawl

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"
)

// consumer is what the clients of one New remember for Claim: caches of lanes, one a claim under way.
type consumer struct {
	mu          sync.Mutex
	idle        map[string][]*lanes
	rescued     time.Time
	emptyClaims map[string]emptyClaims // By queue: Wait must not send a consumer round and round what it cannot have.
}

// vain are claims in a row that found nothing, and until when Wait does not believe that the next will.
type emptyClaims struct {
	claims int
	until  time.Time
}

func (co *consumer) recordClaim(queue string, jobs int) {
	co.mu.Lock()
	defer co.mu.Unlock()
	if jobs > 0 {
		delete(co.emptyClaims, queue)
		return
	}
	if co.emptyClaims == nil {
		co.emptyClaims = map[string]emptyClaims{}
	}
	v := co.emptyClaims[queue]
	v.claims++
	v.until = time.Now().Add(min(firstCheck<<min(v.claims, 10), maxEmptyClaimWait))
	co.emptyClaims[queue] = v
}

// maxVain is how long a job may wait for a consumer that has asked in vain before: over a limit that has room again, say.
const maxEmptyClaimWait = 100 * time.Millisecond

// hopeful are the queues worth looking at now, and in how long another is; 0: all are.
func (co *consumer) worthClaiming(queues []string) (now []string, next time.Duration) {
	co.mu.Lock()
	defer co.mu.Unlock()
	now = make([]string, 0, len(queues))
	for _, queue := range queues {
		if left := time.Until(co.emptyClaims[queue].until); left > 0 {
			if next == 0 || left < next {
				next = left
			}
		} else {
			now = append(now, queue)
		}
	}
	return now, next
}

// Claim takes up to n jobs of a queue, at once and maybe none, for as long as lease says (if zero, the queue's, else 30 s). When
// it expires before the job is finished, the job is given to somebody else, and nothing this claim says of it counts any more.
// A job that was lost so twice is claimed alone; lost three times, it is dead ("poison"). One whose args Config.Codec cannot decode
// is not returned: it is dead ("unprocessable").
//
// With kinds it takes jobs of these alone, in the order of their priorities and channels. It looks at the queue's ready jobs from the first
// until it has found enough, so those of a kind that is rare among many cost as much as reading them all.
//
// In a transaction (With) the jobs are taken when it commits.
func (c *Client) Claim(ctx context.Context, queue string, n int, lease time.Duration, kinds ...string) (Jobs, error) {
	return c.claimAs(ctx, nil, queue, n, lease, kinds)
}

// claimAs is Claim for a worker; if worker is nil, for none.
func (c *Client) claimAs(ctx context.Context, worker *Worker, queue string, n int, lease time.Duration, kinds []string) (Jobs, error) {
	if queue == "" || n < 1 || lease < 0 {
		return nil, fmt.Errorf("pawl: Claim(%q, %d, %v): want a queue's name, n ≥ 1 and a lease not negative", queue, n, lease)
	}
	who := claimer{}
	if lease > 0 || worker != nil {
		s := interval(lease)
		who.lasting = &s
	}
	if worker != nil {
		who.worker, who.name = &worker.ID, worker.Name
	}
	l := c.takeLanes(queue)
	jobs, err := c.claimManually(ctx, l, queue, n, who, kinds)
	if err != nil {
		return nil, fmt.Errorf("pawl: claim: %w", err) // The cache is dropped with it.
	}
	c.returnLanes(queue, l)
	if worker != nil && c.db == nil { // In a transaction it would keep the worker's row locked.
		if _, err := worker.Heartbeat(ctx); err != nil && len(jobs) == 0 {
			return nil, err // With jobs the lease says how long they stay.
		}
	}
	c.consumer.recordClaim(queue, len(jobs))
	return c.decodeClaimed(ctx, jobs), nil
}

func (c *Client) takeLanes(queue string) *lanes {
	fresh := &lanes{}
	fresh.reset()
	fresh.queue(queue)
	if c.db != nil {
		return fresh // A transaction may see an older world: it shares no marks.
	}
	c.consumer.mu.Lock()
	defer c.consumer.mu.Unlock()
	if idle := c.consumer.idle[queue]; len(idle) > 0 {
		l := idle[len(idle)-1]
		c.consumer.idle[queue] = idle[:len(idle)-1]
		return l
	}
	return fresh
}

func (c *Client) returnLanes(queue string, l *lanes) {
	if c.db != nil {
		return
	}
	c.consumer.mu.Lock()
	defer c.consumer.mu.Unlock()
	if c.consumer.idle == nil {
		c.consumer.idle = map[string][]*lanes{}
	}
	c.consumer.idle[queue] = append(c.consumer.idle[queue], l)
}

func (c *Client) claimManually(ctx context.Context, l *lanes, queue string, n int, who claimer, kinds []string) (Jobs, error) {
	l.unthrottle()
	if c.db == nil {
		c.consumer.mu.Lock()
		due := time.Since(c.consumer.rescued) >= time.Second
		if due {
			c.consumer.rescued = time.Now()
		}
		c.consumer.mu.Unlock()
		if due {
			if _, err := c.rescue(ctx, true, false); err != nil {
				return nil, err
			}
		}
		if err := c.advanceMarks(ctx, l); err != nil {
			return nil, err
		}
	}
	if _, err := c.promote(ctx, l, []string{queue}); err != nil {
		return nil, err
	}
	anywhere := func(string) int { return n }
	take := func(p *plan) (Jobs, error) {
		id := newLeaseID()
		jobs, _, err := c.claim(ctx, l, p, who, id)
		if isAmbiguous(err) && c.db == nil {
			go c.unclaim(context.WithoutCancel(ctx), id)
		}
		if len(jobs) > 0 {
			jobs[0].lease.manual = true
		}
		return jobs, err
	}
	if len(kinds) > 0 {
		return c.claimKinds(ctx, queue, n, kinds, take)
	}
	if time.Since(l.discoveredAt) >= time.Second {
		if _, err := c.discoverLanes(ctx, l, []string{queue}); err != nil {
			return nil, err
		}
	}
	for looked := false; ; looked = true {
		if p := l.suspects(anywhere); p != nil {
			if jobs, err := take(p); err != nil || len(jobs) > 0 {
				return jobs, err
			}
		}
		if p := l.plan(n, looked, anywhere, false); len(p.stretches) > 0 {
			if jobs, err := take(p); err != nil || len(jobs) > 0 {
				return jobs, err
			}
		}
		if looked {
			return nil, nil
		}
		if _, err := c.discoverLanes(ctx, l, []string{queue}); err != nil {
			return nil, err
		}
	}
}

// claimKinds has the first jobs of some kinds taken, by their places in line. Others may be quicker: then it looks again.
func (c *Client) claimKinds(ctx context.Context, queue string, n int, kinds []string, take func(*plan) (Jobs, error)) (Jobs, error) {
	for range 3 {
		p := &plan{first: map[*lane]int{}}
		order := map[ID]int{}
		err := c.query(ctx, "select * from pawl.find_tickets($1::text, $2::text[], $3::integer)", []any{queue, kinds, min(n, math.MaxInt32)}, func(s scanner) error {
			ln, pos, id := &lane{laneKey: laneKey{queue: queue}}, int64(0), ID(0)
			if err := s.Scan(&ln.priority, &ln.channel, &pos, (*int64)(&id)); err != nil {
				return err
			}
			if p.most == 0 || p.stretches[0].priority != laneSuspect {
				order[id] = p.most
				p.add(stretch{lane: ln, from: pos - 1, until: pos, quota: 1})
				p.most++
			}
			return nil
		})
		if err != nil || p.most == 0 {
			return nil, err
		}
		if jobs, err := take(p); err != nil || len(jobs) > 0 {
			slices.SortFunc(jobs, func(a, b *JobInfo) int { return order[a.ID] - order[b.ID] })
			return jobs, err
		}
	}
	return nil, nil
}

// Wait returns when a Claim of one of the queues may find something, or with ctx's error. After claims that found nothing although
// something is there (others have it, or a limit keeps it) it takes longer and longer to, up to 100 ms.
func (c *Client) Wait(ctx context.Context, queues ...string) error {
	if err := c.requirePool("Wait"); err != nil {
		return err
	}
	if len(queues) == 0 {
		return errors.New("pawl: Wait: name a queue")
	}
	sleep := newSleeper(c, queues)
	var around sync.WaitGroup
	listening, cancel := context.WithCancel(ctx)
	defer around.Wait()
	defer cancel()
	asleep := false
	var tended time.Time
	for check, began := firstCheck, time.Now(); ; check = min(2*check, time.Second) {
		var ready bool
		var next *float64
		now, soon := c.consumer.worthClaiming(queues)
		if len(now) > 0 {
			if err := c.row(ctx, "select * from pawl.peek($1::text[])", []any{now}, &ready, &next); err != nil {
				return fmt.Errorf("pawl: wait: %w", err)
			}
		}
		if ready {
			return nil
		}
		if time.Since(tended) >= time.Second {
			// Where consumers alone work, nobody else does. What comes of it is seen by the next look.
			tended = time.Now()
			for _, do := range []func(context.Context) error{c.expire, c.runFollowups, c.reclaim} {
				if err := do(ctx); err != nil {
					return fmt.Errorf("pawl: wait: %w", err)
				}
			}
		}
		if !asleep && time.Since(began) >= stayAwake {
			asleep = true
			around.Go(func() { sleep.run(listening) })
			sleep.announce(ctx)
			check = firstCheck
		}
		wait := check
		if next != nil {
			wait = min(wait, time.Duration(max(*next, 0)*float64(time.Second)))
		}
		if soon > 0 {
			wait = min(wait, soon)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-sleep.woken:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
	}
}

// Complete finishes held jobs as completed. With With it is part of that transaction: effects written there and the completion
// commit together, or not at all, so that the effects happen exactly once. A job that is not held any more is ErrLeaseLost, of
// several an Errors with those; the others are completed. In a transaction ErrLeaseLost means: roll back. A job with Keep set is kept
// in the archive even if its queue keeps no completed jobs.
func (c *Client) Complete(ctx context.Context, jobs ClaimedJobs) error {
	return c.finishClaimed(ctx, jobs, attemptResult{verb: verbComplete})
}

// Fail finishes an attempt of held jobs as failed, or as err says if it is an outcome (Snooze, RetryAfter, Cancel, Dead, …).
// A nil err is an error: say Complete.
func (c *Client) Fail(ctx context.Context, jobs ClaimedJobs, err error) error {
	if err == nil {
		return errors.New("pawl: Fail: err is nil; a job that succeeded is completed with Complete")
	}
	return c.finishClaimed(ctx, jobs, resultOf(nil, nil, err))
}

// Release gives held jobs back to be run again after the given time (0: at once, and next), no attempt used.
func (c *Client) Release(ctx context.Context, jobs ClaimedJobs, after time.Duration) error {
	s := max(after, 0).Seconds()
	return c.finishClaimed(ctx, jobs, attemptResult{verb: "release", delay: &s})
}

func (c *Client) finishClaimed(ctx context.Context, which ClaimedJobs, like attemptResult) error {
	jobs := which.claimed()
	if len(jobs) == 0 {
		return nil
	}
	worker := jobs[0].Worker
	answers := make([]attemptResult, 0, len(jobs))
	counts := map[*lease]int32{}
	named := make(map[ID]bool, len(jobs))
	for _, job := range jobs {
		if named[job.ID] {
			continue
		}
		named[job.ID] = true
		if job.lease == nil {
			return fmt.Errorf("pawl: job %d is not held: it was not claimed but looked up", job.ID)
		}
		a := like
		a.job = job
		switch {
		case job.claimedAt.IsZero(): // By another process.
			a.ran = unknownDuration
		case job.lease.manual:
			a.waited, a.ran = job.waitedAt(job.claimedAt), time.Since(job.claimedAt)
		}
		answers = append(answers, a)
		counts[job.lease]++
	}
	var ending []string
	for l, n := range counts {
		if l.manual && l.left.Load() == n {
			ending = append(ending, *l.id.Load())
		}
	}
	var became outcomes
	var err, undecided error
	if c.db == nil {
		became, err = c.finish(ctx, answers, worker, ending)
	}
	if err == nil && became.all == "" {
		rest := slices.DeleteFunc(slices.Clone(answers), func(a attemptResult) bool { _, ok := became.of(a.job.ID); return ok })
		var more outcomes
		if len(rest) > 0 {
			more, err = c.finishLocking(ctx, rest, worker, ending)
		}
		if err != nil && len(rest) < len(answers) {
			undecided, err = fmt.Errorf("pawl: %s: %w", like.verb, err), nil // The others are finished, which has to be said.
		}
		if became.each == nil {
			became.each = map[ID]string{}
		}
		for _, a := range rest {
			if what, ok := more.of(a.job.ID); ok {
				became.each[a.job.ID] = what
			}
		}
	}
	if err != nil {
		return fmt.Errorf("pawl: %s: %w", like.verb, err)
	}
	lost := JobErrors{}
	if undecided != nil {
		answers = slices.DeleteFunc(answers, func(a attemptResult) bool {
			_, ok := became.of(a.job.ID)
			if !ok {
				lost[a.job.ID] = undecided
			}
			return !ok
		})
	}
	if err := c.freeAnswered(ctx, answers); err != nil {
		return err
	}
	c.runFollowupsSoon(ctx, slices.ContainsFunc(answers, func(a attemptResult) bool { return a.job.constrained }))
	c.counters.finished(answers, func(id ID) string { what, _ := became.of(id); return what })
	for _, a := range answers {
		if _, ok := became.of(a.job.ID); !ok {
			lost[a.job.ID] = ErrLeaseLost
			continue
		}
		a.job.finishedByHand.Store(true)
		if a.job.lease.manual && c.db == nil {
			a.job.lease.left.Add(-1)
		}
	}
	return lost.orNil(len(jobs))
}

// orNil is e as an error; of a single job its own.
func (e JobErrors) orNil(of int) error {
	if len(e) == 0 {
		return nil
	}
	if of == 1 {
		for id, err := range e {
			return fmt.Errorf("job %d: %w", id, err)
		}
	}
	return e
}

// Extend lets held jobs keep their lease until now + lease; it never shortens. Of a part of a claimed batch it splits the lease:
// the rest expires as before. A job a runner runs needs none: its lease lasts as long as the worker lives.
// Jobs not held any more are ErrLeaseLost; the others are extended.
func (c *Client) Extend(ctx context.Context, which ClaimedJobs, lasting time.Duration) error {
	jobs := which.claimed()
	if len(jobs) == 0 {
		return nil
	}
	if lasting <= 0 {
		return fmt.Errorf("pawl: Extend by %v: want a positive time; to give a job back say Release", lasting)
	}
	leases := make([]string, len(jobs))
	for i, job := range jobs {
		if job.lease == nil {
			return fmt.Errorf("pawl: job %d is not held: it was not claimed but looked up", job.ID)
		}
		leases[i] = *job.lease.id.Load()
	}
	ids, epochs := idsAndEpochs(jobs)
	split := newLeaseID()
	now := map[ID]string{}
	err := c.query(ctx, "select * from pawl.extend($1::bigint[], $2::integer[], $3::uuid[], $4::uuid, $5::interval)",
		[]any{ids, epochs, leases, split, interval(lasting)}, func(s scanner) error {
			var id int64
			var lease string
			err := s.Scan(&id, &lease)
			now[ID(id)] = lease
			return err
		})
	if err != nil {
		return fmt.Errorf("pawl: extend: %w", err)
	}
	lost := JobErrors{}
	apart := &lease{manual: true}
	apart.id.Store(&split)
	move := func(job *JobInfo, to *lease) {
		job.lease.left.Add(-1)
		job.lease = to
		to.left.Add(1)
	}
	var again Jobs
	for _, job := range jobs {
		switch lease, ours := now[job.ID]; {
		case !ours && job.splitFrom != nil:
			// Split off in a transaction that was rolled back?
			move(job, job.splitFrom)
			job.splitFrom, again = nil, append(again, job)
		case !ours:
			lost[job.ID] = ErrLeaseLost
		case lease == split:
			if c.db != nil {
				job.splitFrom = job.lease
			}
			move(job, apart)
		}
	}
	if len(again) > 0 {
		err := c.Extend(ctx, again, lasting)
		some, each := errors.AsType[JobErrors](err)
		switch {
		case each:
			maps.Copy(lost, some)
		case errors.Is(err, ErrLeaseLost):
			lost[again[0].ID] = ErrLeaseLost
		case err != nil:
			return err
		}
	}
	return lost.orNil(len(jobs))
}
