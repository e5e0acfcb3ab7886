package pawl

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/pawlhq/pawl/internal/lanes"
	"github.com/pawlhq/pawl/internal/pg"
	"github.com/pawlhq/pawl/pawlstate"
)

// newLeaseID returns a random UUID (RFC 9562, version 4).
func newLeaseID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// A claimer is the worker or consumer that a claim is for.
type claimer struct {
	worker  *int64  // The id of the worker. It is nil for a consumer that is not registered.
	lasting *string // The duration of the lease, as an interval: see claim.sql for its default.
	name    string
}

// claim sends a planned claim to the database, and the lanes learn from the result. It returns the claimed jobs, and
// the total number of tickets that were taken, which counts tickets without a job too.
//
// If the result is lost, the claim may have been carried out. The lease id then says what to undo: see unclaim.
func (c *Client) claim(
	ctx context.Context, set *lanes.Set, p *lanes.Plan, who claimer, id string,
) (jobs Jobs, total int, err error) {
	if c.config.OnClaim != nil {
		defer func(began time.Time) {
			if len(jobs) > 0 || err != nil {
				c.notifyOnClaim(ctx, jobs, time.Since(began), err)
			}
		}(time.Now())
	}
	n := len(p.Stretches)
	queues, priorities, channels := make([]string, n), make([]int32, n), make([]string, n)
	marks, untils, quotas := make([]int64, n), make([]int64, n), make([]int32, n)
	for i, s := range p.Stretches {
		queues[i], priorities[i], channels[i] = s.Queue, s.Priority, s.Channel
		marks[i], untils[i], quotas[i] = s.From, s.Until, int32(min(s.Quota, math.MaxInt32))
	}
	r := c.newClaimReader(set, p, who, id)
	err = c.queryClaim(ctx, r, []any{
		id, who.worker, who.lasting, p.Most, queues, priorities, channels, marks, untils, quotas,
	})
	if err != nil {
		return nil, 0, err
	}
	r.lease.left.Store(int32(len(r.jobs)))
	set.Learn(p, r.total)
	r.sort()
	return r.jobs, r.total, nil
}

// newClaimReader returns a reader for the result of one claim.
func (c *Client) newClaimReader(set *lanes.Set, p *lanes.Plan, who claimer, id string) *claimReader {
	r := &claimReader{client: c, set: set, plan: p, who: who, lease: &lease{}}
	r.lease.id.Store(&id)
	r.slab = make([]JobInfo, 0, min(p.Most, maxSlab))
	return r
}

// restart makes the reader ready for another result, after a claim that failed.
func (r *claimReader) restart() {
	r.plan.Restart()
	*r = *r.client.newClaimReader(r.set, r.plan, r.who, *r.lease.id.Load())
}

// maxSlab is how many jobs are allocated at once, at most.
const maxSlab = 1024

// A claimReader turns the rows of one claim's result into jobs.
type claimReader struct {
	client  *Client
	set     *lanes.Set
	plan    *lanes.Plan
	who     claimer
	lease   *lease
	tickets ticketReader
	slab    []JobInfo // An allocation for each job would cost more.
	at      time.Time // When the first row arrived, by this process's clock.

	jobs   Jobs
	places []place // Where each job was in the plan.
	total  int
}

// A place is where a claim found a ticket.
type place struct {
	stretch int // Its index in the plan.
	pos     int64
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.stretch, q.stretch), cmp.Compare(p.pos, q.pos))
}

// read reads one row.
func (r *claimReader) read(s scanner) error {
	t := &r.tickets.ticket
	if err := r.tickets.read(s); err != nil {
		return err
	}
	if t.throttled {
		r.set.Throttle(r.plan, t.Key, time.Duration(t.id)*time.Millisecond)
		return nil
	}
	if r.total++; r.total == 1 {
		r.at = time.Now()
	}
	stretch := r.set.RecordTicket(r.plan, t.Key, t.pos)
	if !t.found {
		if t.kind == verbUnprocessable {
			r.client.reportUnprocessable(t.id, t.Queue, t.Channel, t.unique)
		}
		return nil
	}
	job, err := r.job(t)
	if err != nil {
		return err
	}
	r.jobs, r.places = append(r.jobs, job), append(r.places, place{stretch, t.pos})
	return nil
}

// job returns the job of a ticket.
func (r *claimReader) job(t *ticket) (*JobInfo, error) {
	if len(r.slab) == cap(r.slab) {
		r.slab = make([]JobInfo, 0, maxSlab)
	}
	r.slab = r.slab[:len(r.slab)+1]
	job := &r.slab[len(r.slab)-1]
	job.ID, job.Kind, job.Queue, job.Channel, job.Args, job.Data = ID(t.id), t.kind, t.Queue, t.Channel, t.args, t.data
	job.Priority, job.Attempt, job.MaxAttempts = int(t.own), int(t.attempt)+1, int(t.most)
	job.State, job.Worker, job.Fingerprint, job.UniqueKey = pawlstate.Running, r.who.name, t.fingerprint, t.unique
	job.CreatedAt, job.RunAt, job.StartedAt = t.created, t.runAt, t.now
	job.epoch, job.crashes, job.constrained, job.permit = t.epoch, t.crashes, t.constrained, t.permit
	due := t.created
	if !t.runAt.IsZero() {
		due = t.runAt
	}
	job.lease, job.waited, job.claimedAt = r.lease, max(t.now.Sub(due), 0), r.at
	job.undecoded = job.unpack(t.opts, t.errs, t.save) // The job becomes dead; the others of the claim are not to suffer.
	return job, nil
}

// sort puts the jobs into the order of the plan: by priority, and by the channel that has waited longest. The
// database returns them in the order of their rows on disk.
func (r *claimReader) sort() {
	if slices.IsSortedFunc(r.places, place.compare) {
		return
	}
	order := make([]int, len(r.jobs))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return r.places[a].compare(r.places[b]) })
	unsorted := slices.Clone(r.jobs)
	for i, k := range order {
		r.jobs[i] = unsorted[k]
	}
}

func (c *Client) notifyOnClaim(ctx context.Context, jobs Jobs, took time.Duration, err error) {
	c.onClaim.call(ctx, c.config.Logger, "OnClaim", nil, func(ctx context.Context) {
		c.config.OnClaim(ctx, jobs, took, err)
	})
}

// unclaim undoes a claim whose result was lost. It tries again until the database confirms it, or ctx ends.
func (c *Client) unclaim(ctx context.Context, id string) error {
	var returned int64
	return pg.RetryUntil(ctx, func() error { return c.row(ctx, "select pawl.unclaim($1::uuid)", []any{id}, &returned) })
}

// maxPromoted is how many due jobs of a queue one statement promotes, at most.
const maxPromoted = 1000

// promote makes due jobs of the queues ready, and records when the next ones are due. It returns how many jobs it
// moved.
func (c *Client) promote(ctx context.Context, set *lanes.Set, queues []string) (moved int64, err error) {
	if len(queues) == 0 {
		return 0, nil
	}
	floors := make([]time.Time, len(queues))
	for i, q := range queues {
		floors[i] = set.Floor(q)
	}
	read := func(s scanner) error {
		var (
			queue  string
			n      int64
			more   bool     // More jobs are due.
			wait   *float64 // The seconds until the next job is due.
			moment time.Time
		)
		if err := s.Scan(&queue, &n, &more, &wait, &moment); err != nil {
			return err
		}
		moved += n
		var next time.Time
		switch {
		case more:
			next = time.Now()
		case wait != nil:
			next = time.Now().Add(time.Duration(min(max(*wait, 0), 1e8) * float64(time.Second)))
		}
		set.RecordPromotion(queue, moment, !more, next)
		return nil
	}
	err = c.query(ctx, "select * from pawl.promote($1::text[], $2::timestamptz[], $3::integer)",
		[]any{queues, floors, maxPromoted}, read)
	return moved, err
}

// maxDiscovered is how many lanes one statement finds, at most.
const maxDiscovered = 1000

// discoverLanes finds lanes and queues that the set does not know, of the chosen queues or, if chosen is nil, of all.
// It returns how many it found. If there are many lanes, it looks at a part of them, and the next call continues.
func (c *Client) discoverLanes(ctx context.Context, set *lanes.Set, chosen []string) (found int, err error) {
	if set.StartDiscovery() {
		if err := c.readChannelWeights(ctx, set); err != nil {
			return 0, err
		}
	}
	var last lanes.Key
	ready := 0
	lows, highs := set.Gaps(chosen)
	lowQueues, lowPriorities, lowChannels := laneColumns(lows)
	highQueues, highPriorities, highChannels := laneColumns(highs)
	read := func(s scanner) error {
		var queue string
		var priority *int32
		var channel *string
		if err := s.Scan(&queue, &priority, &channel); err != nil {
			return err
		}
		found++
		if priority == nil {
			set.FindScheduled(queue)
			return nil
		}
		ready++
		last = lanes.Key{Queue: queue, Priority: *priority, Channel: *channel}
		set.Find(last)
		return nil
	}
	scheduled := chosen == nil && !set.Continues()
	err = c.query(ctx, "select * from pawl.discover_lanes($1::text[], $2::integer[], $3::text[], "+
		"$4::text[], $5::integer[], $6::text[], $7::text[], $8::boolean, $9::integer)",
		[]any{
			lowQueues, lowPriorities, lowChannels, highQueues, highPriorities, highChannels,
			set.Queues(scheduled), scheduled, maxDiscovered,
		}, read)
	if ready == maxDiscovered {
		set.ContinueFrom(last)
	}
	return found, err
}

// laneColumns returns the columns of lanes, as parameters of a statement.
func laneColumns(keys []lanes.Key) (queues []string, priorities []int32, channels []string) {
	for _, key := range keys {
		queues, priorities = append(queues, key.Queue), append(priorities, key.Priority)
		channels = append(channels, key.Channel)
	}
	return queues, priorities, channels
}

// readChannelWeights reads the weights by which channels share a claim. Weights that PutQueue would refuse count as 1,
// because one such row must not keep the others from being claimed.
func (c *Client) readChannelWeights(ctx context.Context, set *lanes.Set) error {
	weights := map[string]map[string]int{}
	read := func(s scanner) error {
		var queue, text string
		if err := s.Scan(&queue, &text); err != nil {
			return err
		}
		var channels map[string]int
		if err := json.Unmarshal([]byte(text), &channels); err != nil {
			channels = nil
		}
		maps.DeleteFunc(channels, func(_ string, weight int) bool { return weight < 1 || weight > maxWeight })
		weights[queue] = channels
		return nil
	}
	err := c.query(ctx, "select name, weights::text from pawl.queue where weights is not null", nil, read)
	if err == nil {
		set.SetChannelWeights(weights)
	}
	return err
}

// advanceMarks reads one snapshot, and advances the safe marks and floors that it can. It also finds out which lanes
// have tickets again.
func (c *Client) advanceMarks(ctx context.Context, set *lanes.Set) error {
	survey := set.Survey()
	if survey == nil {
		return nil
	}
	var (
		queues, channels, scheduled = []string{}, []string{}, []string{} // Not nil: a null array has no cardinality.
		priorities                  []int32
		safes, needs, floorNeeds    []int64
		floors                      []time.Time
	)
	for _, m := range survey.Lanes {
		queues, priorities = append(queues, m.Queue), append(priorities, m.Priority)
		channels, safes, needs = append(channels, m.Channel), append(safes, m.Safe), append(needs, m.Need)
	}
	for _, f := range survey.Queues {
		scheduled, floors = append(scheduled, f.Queue), append(floors, f.Floor)
		floorNeeds = append(floorNeeds, f.Need)
	}
	var oldest, next int64
	var identity string
	read := func(s scanner) error {
		var ord int64
		var pos, o, n *int64
		var at *time.Time
		var server *string
		if err := s.Scan(&ord, &pos, &at, &o, &n, &server); err != nil {
			return err
		}
		if ord == 0 {
			oldest, next, identity = *o, *n, *server
			return nil
		}
		// The rows of the lanes come first, and then those of the queues. Their lowest ticket is null if there is
		// none.
		i := int(ord - 1)
		switch {
		case pos != nil:
			survey.Lanes[i].Low = *pos
		case at != nil:
			survey.Queues[i-len(survey.Lanes)].Low = *at
		}
		return nil
	}
	err := c.query(ctx, `select m.ord, m.low_pos, m.low_at, m.oldest, m.next,
			case when m.ord = 0 then pg_postmaster_start_time()::text || ' ' || 'pawl.ready'::regclass::oid::text end
		from pawl.read_marks($1::text[], $2::integer[], $3::text[], $4::bigint[], `+
		"$5::bigint[], $6::text[], $7::timestamptz[], $8::bigint[]) m",
		[]any{queues, priorities, channels, safes, needs, scheduled, floors, floorNeeds}, read)
	if err != nil {
		return err
	}
	if !set.ResetIfMoved(identity) {
		set.Advance(survey, oldest, next)
	}
	return nil
}

// reportUnprocessable logs and counts a job that a claim made dead because no client can read it.
func (c *Client) reportUnprocessable(id int64, queue, channel, problem string) {
	job := &JobInfo{ID: ID(id), Queue: queue, Channel: channel, State: pawlstate.Dead}
	c.config.Logger.Warn("pawl: a job cannot be read; it is dead with the reason unprocessable",
		"job", job, "error", problem)
	c.counters.finished([]attemptResult{{job: job, verb: verbUnprocessable}},
		func(ID) string { return string(pawlstate.Dead) })
}
