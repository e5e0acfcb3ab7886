package pawl

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pawlhq/pawl/pawlstate"
)

// Tail follows what comes and what ends, from now on: a job that meets the filter is yielded when it is found to be new, and each time
// it has finished (FinishedAt is not zero then), until ctx ends or an error is yielded. One that had finished before it was found
// comes once. An outage of the database is waited out. Before and Limit of the filter must be zero.
//
// New jobs are looked for twice a second. One whose transaction was open for more than some seconds, or beside more than a thousand
// others, may come only when it has finished. Of finished ones Tail is told by the server, on a connection of its own
// (Config.ListenURL's): while it listens, each statement that finishes jobs notifies. Behind a pooler without a ListenURL, and of
// those that finish while that connection is lost, it finds only those it knew to live: the newest and the running, at most 10,000.
// Jobs that are not kept, because their queue's retention is zero or they were deleted, do not end here. Whoever is too slow for
// what ends misses some of it; the log says so.
func (c *Client) Tail(ctx context.Context, filter Filter) iter.Seq2[*JobInfo, error] {
	return func(yield func(*JobInfo, error) bool) {
		err := c.requirePool("Tail")
		if err == nil && (filter.Before != 0 || filter.Limit != 0) {
			err = errors.New("pawl: Tail: a Filter with Before or a Limit; it goes on without either")
		}
		if err == nil {
			_, _, _, err = filter.stored(nil)
		}
		if err != nil {
			yield(nil, err)
			return
		}
		t := &tail{client: c, filter: filter, yield: yield, seen: map[ID]bool{}, open: map[ID]bool{}, ended: map[ID]time.Time{}}
		ctx, cancel := context.WithCancel(ctx)
		var around sync.WaitGroup
		defer around.Wait()
		defer cancel()
		finished, listening := make(chan []ID, 1000), make(chan bool)
		around.Go(func() { c.hearFinished(ctx, finished, listening) })
		if err := t.follow(ctx, finished, listening); err != nil && ctx.Err() == nil && !errors.Is(err, errEnough) {
			yield(nil, fmt.Errorf("pawl: tail: %w", err))
		}
	}
}

const (
	tailEvery   = 500 * time.Millisecond
	tailRecheck = 5 * time.Second // Of jobs known to live, beside being told: not every end is.
	tailLate    = 10 * time.Second
	tailBack    = 1000 // Ids below the newest that are looked at again.
	tailKnown   = 10_000
)

// errEnough: who ranges over a Tail has left the loop.
var errEnough = errors.New("enough")

type tail struct {
	client *Client
	filter Filter
	yield  func(*JobInfo, error) bool

	steps []tailStep       // What was newest at the last looks.
	floor ID               // Up to here nothing is looked for any more.
	seen  map[ID]bool      // Above the floor, and told.
	open  map[ID]bool      // Told, and not as finished; at most tailKnown.
	ended map[ID]time.Time // When those last told of had finished.
}

type tailStep struct {
	at     time.Time
	newest ID
}

// follow looks and listens until ctx ends, the loop does, or something fails that will not pass.
func (t *tail) follow(ctx context.Context, finished <-chan []ID, listening <-chan bool) error {
	heard := <-listening // Before the first look, so that there is nothing in between.
	floor, err := t.last(ctx)
	if err != nil {
		return err
	}
	t.floor = floor
	var checked time.Time
	for ctx.Err() == nil {
		err := t.look(ctx)
		if err == nil && (!heard || time.Since(checked) >= tailRecheck) {
			checked = time.Now()
			err = t.check(ctx)
		}
		if err != nil && (errors.Is(err, errEnough) || !isTransient(err)) {
			return err
		}
		for next := time.After(tailEvery); next != nil; {
			select {
			case ids := <-finished:
				if err := t.finish(ctx, ids); err != nil && (errors.Is(err, errEnough) || !isTransient(err)) {
					return err
				}
			case heard = <-listening:
				checked = time.Time{}
			case <-next:
				next = nil
			case <-ctx.Done():
				return nil
			}
		}
	}
	return nil
}

// last is the newest id drawn.
func (t *tail) last(ctx context.Context) (id ID, err error) {
	err = t.client.row(ctx, "select last_value from pawl.pos", nil, (*int64)(&id))
	return id, err
}

// look tells of new jobs.
func (t *tail) look(ctx context.Context) error {
	newest, err := t.last(ctx)
	if err != nil {
		return err
	}
	var jobs Jobs
	text, _, _, err := t.filter.storedAbove(nil, int64(t.floor))
	if err != nil {
		return err
	}
	const most = 1000
	for below := (*int64)(nil); ; {
		n := 0
		err := t.client.query(ctx, "select * from pawl.list($1::text::jsonb, $2::bigint, $3::integer)", []any{text, below, most}, func(s scanner) error {
			job, err := t.client.scanJob(s)
			if err != nil {
				return err
			}
			n++
			below = new(int64(job.ID))
			if !t.seen[job.ID] {
				jobs = append(jobs, job)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if n < most {
			break
		}
	}
	now := time.Now()
	t.steps = append(t.steps, tailStep{now, newest})
	for len(t.steps) > 0 && now.Sub(t.steps[0].at) > tailLate {
		t.floor = max(t.floor, t.steps[0].newest)
		t.steps = t.steps[1:]
	}
	t.floor = max(t.floor, newest-tailBack)
	for id := range t.seen {
		if id <= t.floor {
			delete(t.seen, id)
		}
	}
	for _, job := range slices.Backward(jobs) {
		if err := t.tell(job); err != nil {
			return err
		}
	}
	return nil
}

// tell yields a job, but no end twice.
func (t *tail) tell(job *JobInfo) error {
	if job.ID > t.floor {
		t.seen[job.ID] = true
	}
	if job.FinishedAt.IsZero() {
		if len(t.open) < tailKnown {
			t.open[job.ID] = true
		}
	} else {
		if t.ended[job.ID].Equal(job.FinishedAt) {
			return nil
		}
		if len(t.ended) >= tailKnown {
			clear(t.ended)
		}
		t.ended[job.ID] = job.FinishedAt
		delete(t.open, job.ID)
	}
	if !t.yield(job, nil) {
		return errEnough
	}
	return nil
}

// check tells of those known to live that do no more, and gets to know those that run.
func (t *tail) check(ctx context.Context) error {
	ids := make([]int64, 0, len(t.open))
	for id := range t.open {
		ids = append(ids, int64(id))
	}
	var gone []ID
	err := t.client.query(ctx, "select u.id from unnest($1::bigint[]) u (id) where not exists (select from pawl.job j where j.id = u.id)", []any{ids},
		func(s scanner) error {
			var id int64
			err := s.Scan(&id)
			gone = append(gone, ID(id))
			return err
		})
	if err != nil {
		return err
	}
	if err := t.finish(ctx, gone); err != nil {
		return err
	}
	for _, id := range gone {
		delete(t.open, id)
	}
	if len(t.filter.States) > 0 && !slices.Contains(t.filter.States, pawlstate.Running) {
		return nil
	}
	running := t.filter
	running.States, running.Limit = []pawlstate.State{pawlstate.Running}, tailKnown/2
	jobs, err := t.client.List(ctx, running)
	for _, job := range jobs {
		if len(t.open) < tailKnown {
			t.open[job.ID] = true
		}
	}
	return err
}

// finish tells of jobs that have finished, in that order.
func (t *tail) finish(ctx context.Context, ids []ID) error {
	filter, _, _, err := t.filter.stored(nil)
	if err != nil || len(ids) == 0 {
		return err
	}
	var jobs Jobs
	err = t.client.query(ctx, `select t.* from pawl.get($1::bigint[]) t cross join (select $2::text::jsonb as f) f
		where t.finished_at is not null
		  and (not f ? 'queue' or t.queue = f ->> 'queue') and (not f ? 'channel' or t.channel = f ->> 'channel')
		  and (not f ? 'kind' or t.kind = f ->> 'kind') and (not f ? 'worker' or t.worker = f ->> 'worker')
		  and (not f ? 'fingerprint' or t.fingerprint = f ->> 'fingerprint') and (not f ? 'unique_key' or t.unique_key = f ->> 'unique_key')
		  and (not f ? 'states' or f -> 'states' ? t.state) and (not f ? 'args' or t.args @> (f -> 'args'))
		  and (not f ? 'created_before' or t.created_at < (f ->> 'created_before')::timestamptz)
		  and (not f ? 'created_after' or t.created_at > (f ->> 'created_after')::timestamptz)
		order by t.finished_at, t.id`, []any{integers(ids), filter}, func(s scanner) error {
		job, err := t.client.scanJob(s)
		jobs = append(jobs, job)
		return err
	})
	if err != nil {
		return err
	}
	for _, job := range jobs {
		if err := t.tell(job); err != nil {
			return err
		}
	}
	return nil
}

// hearFinished passes on which jobs finish, until ctx ends. It says whether it listens, at first and when that changes.
func (c *Client) hearFinished(ctx context.Context, finished chan<- []ID, listening chan<- bool) {
	said, on := false, false
	say := func(now bool) {
		if said && now == on {
			return
		}
		said, on = true, now
		select {
		case listening <- now:
		case <-ctx.Done():
		}
	}
	session := func() error {
		conn, err := c.listen(ctx, "pawl.finished")
		if err != nil {
			return err
		}
		defer conn.close(ctx)
		slots := everySlot()
		if err := conn.lock(ctx, "pg_advisory_lock_shared(pawl.await_key(k))", "unnest($1::bigint[])", slots, len(slots)); err != nil {
			return err
		}
		say(true)
		return c.hear(ctx, conn, finished)
	}
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		began := time.Now()
		err := session()
		if ctx.Err() != nil {
			return
		}
		say(false)
		if errors.Is(err, errPooled) {
			return
		}
		c.config.Logger.Warn("pawl: LISTEN connection of Tail lost, connecting again", "error", err)
		if time.Since(began) > time.Minute {
			wait = 100 * time.Millisecond
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}

func (c *Client) hear(ctx context.Context, conn *session, finished chan<- []ID) error {
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		var ids []ID
		for text := range strings.SplitSeq(n.Payload, ",") {
			if id, err := strconv.ParseInt(text, 10, 64); err == nil {
				ids = append(ids, ID(id))
			}
		}
		select {
		case finished <- ids:
		default:
			// Not to wait: a listener that does not listen makes the server's queue grow, and in the end commits fail.
			c.config.Logger.Warn("pawl: Tail is too slow, jobs that finished are left out", "jobs", len(ids))
		}
	}
}

// everySlot are the locks of all that may be awaited; nil is that of any: see wake_awaiting.sql.
func everySlot() []*int64 {
	slots := make([]*int64, awaitSlots+1)
	for i := range awaitSlots {
		slots[i] = new(int64(i))
	}
	return slots
}
