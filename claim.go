package pawl

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/pawlhq/pawl/pawlstate"
)

// newLeaseID is a random UUID (RFC 9562, version 4).
func newLeaseID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// claimer is who a claim is for.
type claimer struct {
	worker  *int64  // Of a runner; else nil.
	lasting *string // Of a consumer's lease; else nil.
	name    string
}

// claim carries out a plan. The lanes learn from the answer; total is how many tickets went, also those without a job.
// When the answer is lost, the lease id says what to undo: see unclaim.
func (c *Client) claim(ctx context.Context, lanes *lanes, p *plan, who claimer, id string) (jobs Jobs, total int, err error) {
	if c.config.OnClaim != nil {
		defer func(began time.Time) {
			if len(jobs) > 0 || err != nil {
				c.notifyOnClaim(ctx, jobs, time.Since(began), err)
			}
		}(time.Now())
	}
	held := &lease{}
	held.id.Store(&id)
	slab := make([]JobInfo, 0, min(p.most, 1024))
	type place struct {
		stretch int
		pos     int64
	}
	var places []place
	var reader ticketReader
	var claimed time.Time
	n := len(p.stretches)
	queues, priorities, channels := make([]string, n), make([]int32, n), make([]string, n)
	marks, untils, quotas := make([]int64, n), make([]int64, n), make([]int32, n)
	for i, s := range p.stretches {
		queues[i], priorities[i], channels[i] = s.queue, s.priority, s.channel
		marks[i], untils[i], quotas[i] = s.from, s.until, int32(min(s.quota, math.MaxInt32))
	}
	err = c.query(ctx, `select * from pawl.claim($1::uuid, $2::bigint, $3::interval, $4::integer, $5::text[], $6::integer[], $7::text[], $8::bigint[], $9::bigint[], $10::integer[])`,
		[]any{id, who.worker, who.lasting, p.most, queues, priorities, channels, marks, untils, quotas},
		func(s scanner) error {
			t := &reader.ticket
			if err := reader.read(s); err != nil {
				return err
			}
			if t.throttled {
				lanes.throttle(p, t.laneKey, time.Duration(t.id)*time.Millisecond)
				return nil
			}
			if total++; total == 1 {
				claimed = time.Now()
			}
			from := lanes.recordTicket(p, t.laneKey, t.pos)
			if !t.found {
				return nil
			}
			if len(slab) == cap(slab) {
				slab = make([]JobInfo, 0, 1024)
			}
			slab = slab[:len(slab)+1]
			job := &slab[len(slab)-1]
			job.ID, job.Kind, job.Queue, job.Channel, job.epoch, job.crashes = ID(t.id), t.kind, t.queue, t.channel, t.epoch, t.crashes
			job.Args, job.Data, job.Priority, job.Attempt, job.MaxAttempts = t.args, t.data, int(t.own), int(t.attempt)+1, int(t.most)
			job.State, job.Worker, job.CreatedAt, job.RunAt, job.StartedAt, job.lease = pawlstate.Running, who.name, t.created, t.runAt, t.now, held
			due := t.created
			if !t.runAt.IsZero() {
				due = t.runAt
			}
			job.waited, job.claimedAt = max(t.now.Sub(due), 0), claimed
			job.constrained, job.permit, job.Fingerprint, job.UniqueKey = t.constrained, t.permit, t.fingerprint, t.unique
			if err := job.unpack(t.opts, t.errs, t.save); err != nil {
				return err
			}
			jobs, places = append(jobs, job), append(places, place{from, t.pos})
			return nil
		})
	if err != nil {
		return nil, 0, err
	}
	held.left.Store(int32(len(jobs)))
	lanes.learn(p, total)
	// The server returns them by place on disk; start them in the order they were asked for: that of priorities, and of channels by
	// who has waited longest for a turn.
	order := make([]int, len(jobs))
	sorted := true
	for i := range order {
		order[i] = i
		sorted = sorted && (i == 0 || places[i-1].stretch < places[i].stretch || places[i-1].stretch == places[i].stretch && places[i-1].pos < places[i].pos)
	}
	if !sorted {
		slices.SortFunc(order, func(a, b int) int {
			if places[a].stretch != places[b].stretch {
				return places[a].stretch - places[b].stretch
			}
			return int(places[a].pos - places[b].pos)
		})
		in := slices.Clone(jobs)
		for i, k := range order {
			jobs[i] = in[k]
		}
	}
	return jobs, total, nil
}

func (c *Client) notifyOnClaim(ctx context.Context, jobs Jobs, took time.Duration, err error) {
	if p := caught(func() error { c.config.OnClaim(ctx, jobs, took, err); return nil }); p != nil {
		c.config.Logger.Error("pawl: OnClaim panicked", "error", p)
	}
}

// unclaim undoes a claim whose answer was lost, and tries until it is told so.
func (c *Client) unclaim(ctx context.Context, id string) error {
	var returned int64
	return retryUntil(ctx, func() error { return c.row(ctx, "select pawl.unclaim($1::uuid)", []any{id}, &returned) })
}

// promote makes due jobs of the queues ready and learns when the next are due. moved is how many.
func (c *Client) promote(ctx context.Context, lanes *lanes, queues []string) (moved int64, err error) {
	if len(queues) == 0 {
		return 0, nil
	}
	const most = 1000
	floors := make([]time.Time, len(queues))
	for i, q := range queues {
		floors[i] = lanes.queue(q).floor
	}
	err = c.query(ctx, "select * from pawl.promote($1::text[], $2::timestamptz[], $3::integer)", []any{queues, floors, most},
		func(s scanner) error {
			var (
				queue  string
				n      int64
				due    bool
				wait   *float64
				moment time.Time
			)
			if err := s.Scan(&queue, &n, &due, &wait, &moment); err != nil {
				return err
			}
			moved += n
			q := lanes.queue(queue)
			if !q.pending && !due {
				q.moment = moment
			}
			switch {
			case due:
				q.dueAt = time.Now()
			case wait == nil:
				q.dueAt = time.Time{}
			default:
				q.dueAt = time.Now().Add(time.Duration(min(max(*wait, 0), 1e8) * float64(time.Second)))
			}
			return nil
		})
	return moved, err
}

// look finds lanes and queues not known yet, of the chosen queues or of all.
func (c *Client) discoverLanes(ctx context.Context, lanes *lanes, chosen []string) (found int, err error) {
	lanes.discoveredAt = time.Now()
	if lanes.discoveredAt.Sub(lanes.weighedAt) >= time.Second {
		lanes.weighedAt = lanes.discoveredAt
		if err := c.weigh(ctx, lanes); err != nil {
			return 0, err
		}
	}
	lows, highs := lanes.gaps(chosen)
	split := func(keys []laneKey) (queues []string, priorities []int32, channels []string) {
		for _, key := range keys {
			queues, priorities, channels = append(queues, key.queue), append(priorities, key.priority), append(channels, key.channel)
		}
		return
	}
	lowQueues, lowPriorities, lowChannels := split(lows)
	highQueues, highPriorities, highChannels := split(highs)
	queues := make([]string, 0, len(lanes.queues))
	for name := range lanes.queues {
		queues = append(queues, name)
	}
	err = c.query(ctx, `select * from pawl.discover_lanes($1::text[], $2::integer[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::boolean)`,
		[]any{lowQueues, lowPriorities, lowChannels, highQueues, highPriorities, highChannels, queues, chosen == nil},
		func(s scanner) error {
			var queue string
			var priority *int32
			var channel *string
			if err := s.Scan(&queue, &priority, &channel); err != nil {
				return err
			}
			found++
			if priority == nil {
				lanes.queue(queue).dueAt = time.Now()
			} else {
				lanes.find(laneKey{queue, *priority, *channel})
			}
			return nil
		})
	return found, err
}

// survey reads one snapshot and advances what it can: safe marks, floors. It also sees which lanes have tickets again.
func (c *Client) advanceMarks(ctx context.Context, lanes *lanes) error {
	on, scheduled := lanes.lanesToAdvance()
	if len(on)+len(scheduled) == 0 && lanes.identity != "" {
		return nil
	}
	var (
		queues, channels = []string{}, []string{} // Not nil: a null array has no cardinality.
		priorities       []int32
		safes            []int64
		needs, needsAt   []int64
		marks            []int64
		floors           []time.Time
		oldest, next     int64
		history          string
	)
	for _, ln := range on {
		queues, priorities, channels = append(queues, ln.queue), append(priorities, ln.priority), append(channels, ln.channel)
		safes, marks, needs = append(safes, ln.safe), append(marks, ln.mark), append(needs, ln.need())
	}
	for _, name := range scheduled {
		floors, needsAt = append(floors, lanes.queues[name].floor), append(needsAt, lanes.queues[name].need())
	}
	type low struct {
		pos int64
		at  time.Time
	}
	lows := make([]low, len(on)+len(scheduled))
	err := c.query(ctx, `select m.ord, m.low_pos, m.low_at, m.oldest, m.next,
			case when m.ord = 0 then pg_postmaster_start_time()::text || ' ' || 'pawl.ready'::regclass::oid::text end
		from pawl.read_marks($1::text[], $2::integer[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::timestamptz[], $8::bigint[]) m`,
		[]any{queues, priorities, channels, safes, needs, scheduled, floors, needsAt},
		func(s scanner) error {
			var ord int64
			var pos, o, n *int64
			var at *time.Time
			var where *string
			if err := s.Scan(&ord, &pos, &at, &o, &n, &where); err != nil {
				return err
			}
			if ord == 0 {
				oldest, next, history = *o, *n, *where
				return nil
			}
			if pos != nil {
				lows[ord-1].pos = *pos
			}
			if at != nil {
				lows[ord-1].at = *at
			}
			return nil
		})
	if err != nil {
		return err
	}
	if lanes.resetIfMoved(history) {
		return nil
	}
	for i, ln := range on {
		ln.advance(lows[i].pos, marks[i], oldest, next)
	}
	for i, name := range scheduled {
		q := lanes.queues[name]
		q.advance(lows[len(on)+i].at, q.moment, oldest, next)
	}
	return nil
}

// weigh brings the weights of channels, which plans share claims by.
func (c *Client) weigh(ctx context.Context, lanes *lanes) error {
	weights := map[string]map[string]int{}
	err := c.query(ctx, "select name, weights::text from pawl.queue where weights is not null", nil, func(s scanner) error {
		var name, text string
		if err := s.Scan(&name, &text); err != nil {
			return err
		}
		var of map[string]int
		if err := json.Unmarshal([]byte(text), &of); err != nil {
			return fmt.Errorf("weights of queue %q: %w", name, err)
		}
		weights[name] = of
		return nil
	})
	if err == nil {
		lanes.weights = weights
	}
	return err
}
