package pawl

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/pawlhq/pawl/internal/lanes"
	"github.com/pawlhq/pawl/internal/pg"
)

// A consumer is the memory that the clients of one New use in Claim and Wait.
type consumer struct {
	undoer claimUndoer

	mu          sync.Mutex
	idle        map[string][]*lanes.Set // By queue. A claim takes one, and puts it back.
	rescued     time.Time
	emptyClaims map[string]emptyClaims // By queue.
}

// An emptyClaims counts the claims of a queue in a row that found nothing. They make Wait slower to return. Otherwise
// a consumer would claim again and again while other consumers have all the jobs.
type emptyClaims struct {
	claims int
	until  time.Time // Until then Wait does not expect a claim to find something.
}

// maxEmptyClaimWait is how long Wait may overlook a job after empty claims, for example when a limit has room again.
const maxEmptyClaimWait = 100 * time.Millisecond

// recordClaim records how many jobs a claim found.
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
	e := co.emptyClaims[queue]
	e.claims++
	e.until = time.Now().Add(min(firstCheck<<min(e.claims, 10), maxEmptyClaimWait))
	co.emptyClaims[queue] = e
}

// worthClaiming returns the queues that a claim should look at now, and the time until the next one is due. The time
// is 0 if all are due.
func (co *consumer) worthClaiming(queues []string) (now []string, next time.Duration) {
	co.mu.Lock()
	defer co.mu.Unlock()
	now = make([]string, 0, len(queues))
	for _, queue := range queues {
		left := time.Until(co.emptyClaims[queue].until)
		switch {
		case left <= 0:
			now = append(now, queue)
		case next == 0 || left < next:
			next = left
		}
	}
	return now, next
}

// rescueDue reports whether a claim should also rescue jobs. It returns true once a second.
func (co *consumer) rescueDue() bool {
	co.mu.Lock()
	defer co.mu.Unlock()
	due := time.Since(co.rescued) >= time.Second
	if due {
		co.rescued = time.Now()
	}
	return due
}

// takeLanes returns a set of a queue's lanes from an earlier claim. Claims that run at the same time have a set each.
func (co *consumer) takeLanes(queue string) *lanes.Set {
	co.mu.Lock()
	defer co.mu.Unlock()
	idle := co.idle[queue]
	if len(idle) == 0 {
		return newLanes(queue)
	}
	co.idle[queue] = idle[:len(idle)-1]
	return idle[len(idle)-1]
}

// returnLanes keeps a set for the next claim.
func (co *consumer) returnLanes(queue string, set *lanes.Set) {
	co.mu.Lock()
	defer co.mu.Unlock()
	if co.idle == nil {
		co.idle = map[string][]*lanes.Set{}
	}
	co.idle[queue] = append(co.idle[queue], set)
}

// newLanes returns an empty set for the lanes of a queue.
func newLanes(queue string) *lanes.Set {
	set := lanes.New()
	set.AddQueue(queue)
	return set
}

// Claim claims up to n jobs of a queue. If no job is ready, it returns no jobs and no error: use [Client.Wait] to
// wait. Finish the jobs with [Client.Complete], [Client.Fail] or [Client.Release].
//
// lease is how long the jobs stay claimed. If it is 0, the lease is Queue.Lease, which defaults to 30 seconds. If the
// lease expires before a job is finished, another worker can claim the job and the result of this claim is discarded.
// A job that has lost two leases is claimed alone. When it loses a third lease, it is dead with the reason "poison".
//
// If kinds are given, Claim only claims jobs of these kinds, in the order of their priorities and channels. It reads
// the queue's ready jobs from the first one until it has found enough. If jobs of these kinds are rare, a claim may
// read all ready jobs.
//
// If Config.Codec cannot decode the args of a job, the job is dead with the reason "unprocessable" and Claim does not
// return it.
//
// On a client made by [Client.With], the jobs are claimed when the transaction commits.
func (c *Client) Claim(ctx context.Context, queue string, n int, lease time.Duration, kinds ...string) (Jobs, error) {
	return c.claimAs(ctx, nil, queue, n, lease, kinds)
}

// claimAs is Claim for a registered worker, or for no worker if worker is nil.
func (c *Client) claimAs(
	ctx context.Context, worker *Worker, queue string, n int, lease time.Duration, kinds []string,
) (Jobs, error) {
	if queue == "" || n < 1 || lease < 0 {
		return nil, fmt.Errorf("pawl: claim from queue %q: %d jobs with a lease of %v: want a queue's name, "+
			"at least 1 job and a lease that is not negative", queue, n, lease)
	}
	who := claimer{}
	if lease > 0 || worker != nil {
		s := pg.Interval(lease)
		who.lasting = &s
	}
	if worker != nil {
		who.worker, who.name = &worker.ID, worker.Name
	}
	jobs, err := c.claimByHand(ctx, queue, n, who, kinds)
	if err != nil {
		return nil, fmt.Errorf("pawl: claim: %w", err)
	}
	if worker != nil && c.db == nil { // In a transaction a heartbeat would keep the worker's row locked.
		if _, err := worker.Heartbeat(ctx); err != nil && len(jobs) == 0 {
			return nil, err // If there are jobs, their lease says how long they stay claimed.
		}
	}
	c.consumer.recordClaim(queue, len(jobs))
	for _, job := range jobs {
		job.client = c
	}
	return c.decodeClaimed(ctx, jobs), nil
}

// claimByHand claims jobs for a consumer. It also does what a runner does beside its claims: it rescues, advances
// marks and promotes.
//
// A transaction may see an older state of the database than the last claim. So it starts with an empty set of lanes,
// and it does no maintenance. After an error the set is dropped.
func (c *Client) claimByHand(ctx context.Context, queue string, n int, who claimer, kinds []string) (Jobs, error) {
	if c.db != nil {
		return c.claimFromLanes(ctx, newLanes(queue), queue, n, who, kinds)
	}
	set := c.consumer.takeLanes(queue)
	set.Unthrottle()
	if c.consumer.rescueDue() {
		if _, err := c.rescue(ctx, true, false); err != nil {
			return nil, err
		}
	}
	if err := c.advanceMarks(ctx, set); err != nil {
		return nil, err
	}
	jobs, err := c.claimFromLanes(ctx, set, queue, n, who, kinds)
	if err != nil {
		return nil, err
	}
	c.consumer.returnLanes(queue, set)
	return jobs, nil
}

// claimFromLanes promotes due jobs, and claims.
func (c *Client) claimFromLanes(
	ctx context.Context, set *lanes.Set, queue string, n int, who claimer, kinds []string,
) (Jobs, error) {
	queues := []string{queue}
	if _, err := c.promote(ctx, set, queues); err != nil {
		return nil, err
	}
	take := func(p *lanes.Plan) (Jobs, error) { return c.carryOutByHand(ctx, set, p, who) }
	if len(kinds) > 0 {
		return c.claimKinds(ctx, queue, n, kinds, take)
	}
	if set.SinceDiscovery() >= time.Second {
		if _, err := c.discoverLanes(ctx, set, queues); err != nil {
			return nil, err
		}
	}
	jobs, err := claimPlanned(set, n, false, take)
	if err != nil || len(jobs) > 0 {
		return jobs, err
	}
	if _, err := c.discoverLanes(ctx, set, queues); err != nil {
		return nil, err
	}
	return claimPlanned(set, n, true, take)
}

// claimPlanned claims a suspect, or else up to n other jobs. If idle is true, it also asks lanes that seemed empty.
func claimPlanned(set *lanes.Set, n int, idle bool, take func(*lanes.Plan) (Jobs, error)) (Jobs, error) {
	anywhere := func(string) int { return n }
	if p := set.PlanSuspect(anywhere); p != nil {
		if jobs, err := take(p); err != nil || len(jobs) > 0 {
			return jobs, err
		}
	}
	p := set.Plan(n, idle, anywhere, false)
	if len(p.Stretches) == 0 {
		return nil, nil
	}
	return take(p)
}

// carryOutByHand carries out a planned claim. If its result is lost, the claim is undone in the background.
func (c *Client) carryOutByHand(ctx context.Context, set *lanes.Set, p *lanes.Plan, who claimer) (Jobs, error) {
	id := newLeaseID()
	jobs, _, err := c.claim(ctx, set, p, who, id)
	if pg.IsAmbiguous(err) && c.db == nil {
		c.consumer.undoer.add(ctx, id, c.unclaim)
	}
	if len(jobs) > 0 {
		jobs[0].lease.manual = true
	}
	return jobs, err
}

// claimKindsTries is how often a claim of kinds looks again after other consumers were quicker.
const claimKindsTries = 3

// claimKinds claims the first jobs of some kinds. It finds their tickets, and claims exactly those.
func (c *Client) claimKinds(
	ctx context.Context, queue string, n int, kinds []string, take func(*lanes.Plan) (Jobs, error),
) (Jobs, error) {
	for range claimKindsTries {
		p := lanes.NewPlan()
		order := map[ID]int{}
		read := func(s scanner) error {
			key, pos, id := lanes.Key{Queue: queue}, int64(0), ID(0)
			if err := s.Scan(&key.Priority, &key.Channel, &pos, (*int64)(&id)); err != nil {
				return err
			}
			if p.Most == 0 || p.Stretches[0].Priority != lanes.Suspect { // A suspect is claimed alone.
				order[id] = p.Most
				p.AddTicket(key, pos)
			}
			return nil
		}
		err := c.query(ctx, "select * from pawl.find_tickets($1::text, $2::text[], $3::integer)",
			[]any{queue, kinds, min(n, math.MaxInt32)}, read)
		if err != nil || p.Most == 0 {
			return nil, err
		}
		if jobs, err := take(p); err != nil || len(jobs) > 0 {
			slices.SortFunc(jobs, func(a, b *JobInfo) int { return order[a.ID] - order[b.ID] })
			return jobs, err
		}
	}
	return nil, nil
}
