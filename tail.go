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

	"github.com/pawlhq/pawl/internal/pg"
	"github.com/pawlhq/pawl/pawlstate"
)

// Tail yields jobs that meet the filter as they are inserted and as they finish. It yields a job once when it is new,
// and again each time it finishes; FinishedAt is then not zero. Tail ends when ctx ends, when the loop ends, or after
// it has yielded an error. If the database goes away, Tail waits for it. Filter.Before and Filter.Limit must be zero.
//
// Tail looks for new jobs twice a second. It may yield a job only when the job finishes. That happens if the
// transaction of the insert was open for longer than 10 seconds, or while more than 1,000 other jobs were inserted.
//
// Tail opens a connection on which the server notifies it of finished jobs (see Config.ListenURL). While Tail runs,
// each statement that finishes jobs sends a notification. If there is no such connection, Tail instead reads the
// states of up to 10,000 known jobs twice a second. These are the live jobs that it has yielded and the running jobs.
// There is no such connection behind a transaction pooler without Config.ListenURL, or while the connection is lost.
//
// Tail does not yield a finished job that is deleted at once, by Delete or because its queue keeps no finished jobs.
// If the loop is too slow, Tail leaves out finished jobs and logs their number. If the database cannot read some
// columns of a job, Tail yields the job without them and sets JobInfo.Unreadable.
func (c *Client) Tail(ctx context.Context, filter Filter) iter.Seq2[*JobInfo, error] {
	return func(yield func(*JobInfo, error) bool) {
		if err := c.checkTail(filter); err != nil {
			yield(nil, err)
			return
		}
		t := &tail{
			client: c, filter: filter, yield: yield,
			seen: map[ID]bool{}, open: map[ID]bool{}, ended: map[ID]time.Time{},
		}
		ctx, cancel := context.WithCancel(ctx)
		var listener sync.WaitGroup
		defer listener.Wait()
		defer cancel()
		finished, listening := make(chan []ID, 1000), make(chan bool)
		listener.Go(func() { c.hearFinished(ctx, finished, listening) })
		if err := t.follow(ctx, finished, listening); err != nil && ctx.Err() == nil && !errors.Is(err, errLoopEnded) {
			yield(nil, fmt.Errorf("pawl: tail: %w", err))
		}
	}
}

func (c *Client) checkTail(filter Filter) error {
	if err := c.requirePool("Tail"); err != nil {
		return err
	}
	if filter.Before != 0 || filter.Limit != 0 {
		return errors.New("pawl: tail: Filter.Before and Filter.Limit must be zero: Tail does not end")
	}
	if _, _, _, err := filter.stored(nil); err != nil {
		return fmt.Errorf("pawl: tail: %w", err)
	}
	return nil
}

const (
	tailEvery   = 500 * time.Millisecond // Between two looks for new jobs.
	tailRecheck = 5 * time.Second        // Between two looks for known jobs, because not every finish is notified.
	tailLate    = 10 * time.Second       // For how long an id that was not there is looked for.
	tailBack    = 1000                   // How many ids below the newest are looked for.
	tailKnown   = 10_000                 // How many live jobs are remembered.
)

// errLoopEnded says that the loop over a Tail has ended.
var errLoopEnded = errors.New("the loop has ended")

type tail struct {
	client *Client
	filter Filter
	yield  func(*JobInfo, error) bool

	steps []tailStep       // The newest ids at the last looks.
	floor ID               // New jobs are looked for above this id.
	seen  map[ID]bool      // The jobs above the floor that were yielded.
	open  map[ID]bool      // The jobs that are known to live; at most tailKnown.
	ended map[ID]time.Time // The FinishedAt that a job was last yielded with.
}

type tailStep struct {
	at     time.Time
	newest ID
}

// lasting returns err if it ends the Tail, or nil if another try may succeed.
func lasting(err error) error {
	if err != nil && (errors.Is(err, errLoopEnded) || !pg.IsTransient(err)) {
		return err
	}
	return nil
}

// follow yields jobs until ctx ends, the loop ends, or an error is not transient.
func (t *tail) follow(ctx context.Context, finished <-chan []ID, listening <-chan bool) error {
	heard := <-listening // Before the first look: a job that finishes after it is then notified.
	floor, err := t.newestID(ctx)
	if err != nil {
		return err
	}
	t.floor = floor
	var checked time.Time
	for ctx.Err() == nil {
		err := t.findNew(ctx)
		if err == nil && (!heard || time.Since(checked) >= tailRecheck) {
			checked = time.Now()
			err = t.check(ctx)
		}
		if err := lasting(err); err != nil {
			return err
		}
		for next := time.After(tailEvery); next != nil; {
			select {
			case ids := <-finished:
				if err := lasting(t.finish(ctx, ids)); err != nil {
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

// newestID returns the id that was drawn last.
func (t *tail) newestID(ctx context.Context) (id ID, err error) {
	err = t.client.row(ctx, "select last_value from pawl.pos", nil, (*int64)(&id))
	return id, err
}

// findNew yields the jobs above the floor that were not yielded yet, and raises the floor.
func (t *tail) findNew(ctx context.Context) error {
	newest, err := t.newestID(ctx)
	if err != nil {
		return err
	}
	jobs, err := t.unseen(ctx)
	if err != nil {
		return err
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

// unseen returns the jobs above the floor that meet the filter and were not yielded yet, newest first.
func (t *tail) unseen(ctx context.Context) (jobs Jobs, err error) {
	text, _, _, err := t.filter.storedAbove(nil, int64(t.floor))
	if err != nil {
		return nil, err
	}
	const most = 1000
	for below := (*int64)(nil); ; {
		page, err := t.client.listJobs(ctx, text, below, most)
		for _, job := range page {
			below = new(int64(job.ID))
			if !t.seen[job.ID] {
				jobs = append(jobs, job)
			}
		}
		if err != nil || len(page) < most {
			return jobs, err
		}
	}
}

// tell yields a job, unless it was yielded with the same FinishedAt before.
func (t *tail) tell(job *JobInfo) error {
	if job.ID > t.floor {
		t.seen[job.ID] = true
	}
	if job.FinishedAt.IsZero() {
		t.remember(job.ID)
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
		return errLoopEnded
	}
	return nil
}

func (t *tail) remember(id ID) {
	if len(t.open) < tailKnown {
		t.open[id] = true
	}
}

// check yields those of the jobs known to live that have finished, and remembers the running ones.
func (t *tail) check(ctx context.Context) error {
	ids := make([]int64, 0, len(t.open))
	for id := range t.open {
		ids = append(ids, int64(id))
	}
	var gone []ID
	err := t.client.query(ctx, `select u.id from unnest($1::bigint[]) u (id)
		where not exists (select from pawl.job j where j.id = u.id)`, []any{ids}, func(s scanner) error {
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
		t.remember(job.ID)
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
	jobs, err := t.client.listJobs(ctx, text, below, len(ids))
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

// hearFinished sends the ids of jobs that finish, until ctx ends. It sends on listening whether it is notified of
// them, first when that is known and then whenever it changes.
func (c *Client) hearFinished(ctx context.Context, finished chan<- []ID, listening chan<- bool) {
	l := c.newListener("finished", awaitLockKey, "Tail")
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
			// It must not wait: if a session does not read its notifications, the server's queue of them fills up,
			// and commits fail.
			c.config.Logger.Warn("pawl: the loop over Tail is too slow; finished jobs are left out", "jobs", len(ids))
		}
	}
	_ = l.Run(ctx) // It ends with ctx, or because of a transaction pooler: Changed has told the Tail.
}
