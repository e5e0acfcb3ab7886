package pawl

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pawlhq/pawl/internal/pg"
)

// Await waits until a job has finished and returns the job. The job may run on any worker. Its State is completed,
// cancelled or dead, and Result has the handler's result. Await returns [ErrNotFound] if the job does not exist. A
// finished job does not exist if its queue keeps no finished jobs, or if the job was deleted.
//
// Await first reads the job's state at intervals that grow from 1 ms. Each reading costs one index lookup. If the job
// takes longer, the client opens one connection that serves all its calls of Await (see Config.ListenURL). On this
// connection the server notifies the client when a job finishes, and Await reads the state only once a second. The
// client closes the connection when the last call has returned.
//
// Behind a transaction pooler and without Config.ListenURL, Await reads the state every 100 ms until the job has
// finished.
func (c *Client) Await(ctx context.Context, id ID) (*JobInfo, error) {
	if err := c.requirePool("Await"); err != nil {
		return nil, err
	}
	a := &awaited{id: id, woken: make(chan struct{}, 1)}
	defer c.awaiter.leave(a)
	for wait := time.Millisecond; ; {
		heard := c.awaiter.hears(a) // Read before the job's state: the server notifies of a later finish.
		job, err := c.findAwaited(ctx, id)
		if job != nil || err != nil {
			return job, err
		}
		if heard {
			wait = time.Second
		} else if wait = min(wait*3/2+time.Millisecond, 100*time.Millisecond); wait > 30*time.Millisecond {
			c.awaiter.join(c, a)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-a.woken:
			wait = time.Millisecond // The notification may be for another job, or come before the commit is visible.
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("pawl: await job %d: %w", id, ctx.Err())
		}
	}
}

// findAwaited returns a finished job. It returns nil without an error if the job is live, or the database cannot be
// reached now.
func (c *Client) findAwaited(ctx context.Context, id ID) (*JobInfo, error) {
	var live bool
	err := c.row(ctx, "select exists (select from pawl.job where id = $1::bigint)", []any{int64(id)}, &live)
	if err != nil && (!pg.IsTransient(err) || ctx.Err() != nil) {
		return nil, fmt.Errorf("pawl: await job %d: %w", id, err)
	}
	if err != nil || live {
		return nil, nil
	}
	job, err := c.Get(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, err
	case err != nil && (!pg.IsTransient(err) || ctx.Err() != nil):
		return nil, fmt.Errorf("pawl: await job %d: %w", id, err)
	case err != nil || job.FinishedAt.IsZero(): // It cannot be read now, or was retried between the two statements.
		return nil, nil
	}
	return job, nil
}

// An awaited is the job of one call of Await.
type awaited struct {
	id     ID
	joined bool
	heard  bool // The locks of the job's slot are held, so the server notifies of its finish.
	woken  chan struct{}
}

func (a *awaited) wake() {
	select {
	case a.woken <- struct{}{}:
	default:
	}
}

// An awaiter receives the notifications of finished jobs for all calls of Await of a client: see wake_awaiting.sql.
// Its listener runs from the first join to the last leave.
type awaiter struct {
	mu       sync.Mutex
	joined   map[*awaited]struct{}
	slots    map[string]bool // The keys of the locks that the listener is to hold.
	listener *pg.Listener    // nil if nothing is awaited.
	stop     context.CancelFunc
}

const (
	awaitSlots   = 64 // As in wake_awaiting.sql.
	awaitLockKey = "pawl.await_key(nullif(k, '')::bigint)"
	anySlot      = "" // The key of the lock that says that any job is awaited.
)

func (a *awaited) slot() string { return strconv.FormatInt(int64(a.id)%awaitSlots, 10) }

func (w *awaiter) hears(a *awaited) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return a.heard
}

func (w *awaiter) join(c *Client, a *awaited) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a.joined {
		return
	}
	a.joined = true
	if w.listener == nil {
		w.begin(c)
	}
	w.joined[a] = struct{}{}
	w.slots[a.slot()] = true
	keys := []string{anySlot}
	for slot := range w.slots {
		keys = append(keys, slot)
	}
	w.listener.Want(keys...)
	if w.listener.Holds(anySlot, a.slot()) {
		a.heard = true
		a.wake()
	}
}

// begin starts the listener. w.mu is locked.
func (w *awaiter) begin(c *Client) {
	l := c.newListener("finished", awaitLockKey, "Await")
	l.Notify = w.notify
	l.Changed = func() { w.update(l) }
	w.joined, w.slots, w.listener = map[*awaited]struct{}{}, map[string]bool{}, l
	var ctx context.Context
	ctx, w.stop = context.WithCancel(context.Background())
	go func() { _ = l.Run(ctx) }() // It ends when the last call of Await leaves, or at a transaction pooler.
}

func (w *awaiter) leave(a *awaited) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.joined, a)
	if len(w.joined) == 0 && w.listener != nil {
		w.stop()
		w.listener = nil
	}
}

// update finds out which calls of Await are notified now. A call for which that has changed reads its job again.
func (w *awaiter) update(l *pg.Listener) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.listener != l {
		return // It was stopped.
	}
	for a := range w.joined {
		if heard := l.Holds(anySlot, a.slot()); heard != a.heard {
			a.heard = heard
			a.wake()
		}
	}
}

// notify wakes the calls of Await for the jobs of a notification.
func (w *awaiter) notify(payload string) {
	finished := map[ID]bool{}
	for _, id := range finishedIDs(payload) {
		finished[id] = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for a := range w.joined {
		if finished[a.id] {
			a.wake()
		}
	}
}

// finishedIDs reads the payload of a notification of wake_awaiting.sql.
func finishedIDs(payload string) (ids []ID) {
	for text := range strings.SplitSeq(payload, ",") {
		if id, err := strconv.ParseInt(text, 10, 64); err == nil {
			ids = append(ids, ID(id))
		}
	}
	return ids
}
