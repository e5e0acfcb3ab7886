package pawl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
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

// finish yields those of the jobs that have finished and meet the filter, in the order of their finish.
func (t *tail) finish(ctx context.Context, ids []ID) error {
	filter := t.filter
	if filter.IDs != nil {
		ids = slices.DeleteFunc(slices.Clone(ids), func(id ID) bool { return !slices.Contains(filter.IDs, id) })
	}
	filter.IDs = ids
	text, below, none, err := filter.stored(pawlstate.Finished())
	if err != nil || none || len(ids) == 0 {
		return err
	}
	var jobs Jobs
	err = t.client.query(ctx, "select * from pawl.list($1::text::jsonb, $2::bigint, $3::integer)",
		[]any{text, below, len(ids)}, func(s scanner) error {
			job, err := t.client.scanJob(s)
			jobs = append(jobs, job)
			return err
		})
	if err != nil {
		return err
	}
	slices.SortFunc(jobs, func(a, b *JobInfo) int {
		return cmp.Or(a.FinishedAt.Compare(b.FinishedAt), cmp.Compare(a.ID, b.ID))
	})
	for _, job := range jobs {
		if err := t.tell(job); err != nil {
			return err
		}
	}
	return nil
}

// hearFinished passes on the ids of jobs that finish, until ctx ends. It says on listening whether it hears them, once it knows and
// whenever that changes.
func (c *Client) hearFinished(ctx context.Context, finished chan<- []ID, listening chan<- bool) {
	l := c.newListener("pawl.finished", awaitLockKey, "Tail")
	every := []string{anySlot}
	for slot := range awaitSlots {
		every = append(every, strconv.Itoa(slot))
	}
	l.Want(every...)
	said, on := false, false
	l.Changed = func() {
		now := l.Holds(every...)
		if said && now == on {
			return
		}
		said, on = true, now
		select {
		case listening <- now:
		case <-ctx.Done():
		}
	}
	l.Notify = func(payload string) {
		ids := finishedIDs(payload)
		select {
		case finished <- ids:
		default:
			// It must not wait: if a session does not read its notifications, the server's queue of them fills up, and commits fail.
			c.config.Logger.Warn("pawl: Tail is too slow, finished jobs are left out", "jobs", len(ids))
		}
	}
	l.Run(ctx)
}
