package pawl

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Await waits until a job has finished, whoever runs it, and returns it: completed with its Result, cancelled, or dead. Insert-and-wait
// is Insert, then Await. ErrNotFound: it is not kept (its queue's retention is zero, or it was deleted), or never was.
//
// It looks for the job's row, at growing intervals from 1 ms to 100 ms: a read of one index entry each. If that is not enough, the
// client opens a connection (Config.ListenURL's), one for all that is awaited and as long as something is, on which it hears at once
// of the finish, and then looks once a second. Behind a pooler without a ListenURL it goes on looking every 100 ms.
func (c *Client) Await(ctx context.Context, id ID) (*JobInfo, error) {
	if err := c.requirePool("Await"); err != nil {
		return nil, err
	}
	a := &awaiting{id: id, woken: make(chan struct{}, 1)}
	defer c.awaiter.leave(a)
	for wait := time.Millisecond; ; {
		heard := c.awaiter.hears(a) // Before the look: what finishes after it is told.
		var live bool
		err := c.row(ctx, "select exists (select from pawl.job where id = $1::bigint)", []any{int64(id)}, &live)
		if err == nil && !live {
			job, err := c.Get(ctx, id)
			if err == nil && !job.FinishedAt.IsZero() || errors.Is(err, ErrNotFound) {
				return job, err
			}
			// It lives again: retried in between.
		}
		if err != nil && (!isTransient(err) || ctx.Err() != nil) {
			return nil, fmt.Errorf("pawl: await job %d: %w", id, err)
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
			wait = time.Millisecond // It may have been another job, or not be seen yet.
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("pawl: await job %d: %w", id, ctx.Err())
		}
	}
}

// awaiting is a call of Await.
type awaiting struct {
	id     ID
	joined bool
	heard  bool // The slot's lock is held, so that the finish will be told.
	woken  chan struct{}
}

func (a *awaiting) wake() {
	select {
	case a.woken <- struct{}{}:
	default:
	}
}

// awaiter hears of finished jobs for all that await some: see wake_awaiting.sql. Its connection lives while somebody does.
type awaiter struct {
	mu        sync.Mutex
	joined    map[*awaiting]struct{}
	stop      context.CancelFunc // Of the session; nil: none.
	interrupt context.CancelFunc // Of its waiting, to take locks.
}

const awaitSlots = 64 // As in wake_awaiting.sql.

func (w *awaiter) hears(a *awaiting) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return a.heard
}

func (w *awaiter) join(c *Client, a *awaiting) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a.joined {
		return
	}
	a.joined = true
	if w.joined == nil {
		w.joined = map[*awaiting]struct{}{}
	}
	w.joined[a] = struct{}{}
	if w.stop == nil {
		ctx, stop := context.WithCancel(context.Background())
		w.stop = stop
		go w.run(ctx, c)
	} else if w.interrupt != nil {
		w.interrupt()
	}
}

func (w *awaiter) leave(a *awaiting) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.joined, a)
	if len(w.joined) == 0 && w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

func (w *awaiter) run(ctx context.Context, c *Client) {
	for wait := 100 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 5*time.Second) {
		err := w.session(ctx, c)
		if ctx.Err() != nil {
			return
		}
		w.fallBackToPolling()
		if errors.Is(err, errPooled) {
			<-ctx.Done() // What is awaited is looked for.
			return
		}
		c.config.Logger.Warn("pawl: LISTEN connection of Await lost, connecting again", "error", err)
		sleep(ctx, wait)
	}
}

// deaf has everybody look for themselves again.
func (w *awaiter) fallBackToPolling() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for a := range w.joined {
		a.heard = false
		a.wake()
	}
}

func (w *awaiter) session(ctx context.Context, c *Client) error {
	conn, err := c.listen(ctx, "pawl.finished")
	if err != nil {
		return err
	}
	defer conn.close(ctx)
	held := map[int64]bool{}
	for {
		waiting, cancel := context.WithCancel(ctx)
		w.mu.Lock()
		if ctx.Err() != nil { // Nobody awaits any more; if somebody does again, it has a session of its own.
			w.mu.Unlock()
			cancel()
			return ctx.Err()
		}
		w.interrupt = cancel
		slots := []*int64{}
		var asking []*awaiting
		for a := range w.joined {
			if a.heard {
				continue
			}
			asking = append(asking, a)
			if slot := int64(a.id) % awaitSlots; !held[slot] {
				held[slot] = true
				slots = append(slots, &slot)
			}
		}
		w.mu.Unlock()
		if len(asking) > 0 {
			cancel()
			if len(held) == len(slots) {
				slots = append(slots, nil) // The first ones: also the lock of all.
			}
			if err := conn.lock(ctx, "pg_advisory_lock_shared(pawl.await_key(k))", "unnest($1::bigint[])", slots, len(slots)); err != nil {
				return err
			}
			w.mu.Lock()
			for _, a := range asking {
				a.heard = ctx.Err() == nil
				a.wake()
			}
			w.mu.Unlock()
			continue
		}
		n, err := conn.WaitForNotification(waiting)
		interrupted := waiting.Err() != nil
		cancel()
		switch {
		case err == nil:
			w.tell(n.Payload)
		case ctx.Err() != nil:
			return ctx.Err()
		case !interrupted || conn.IsClosed():
			return err
		}
	}
}

// tell wakes those that await one of the jobs.
func (w *awaiter) tell(payload string) {
	finished := map[ID]bool{}
	for text := range strings.SplitSeq(payload, ",") {
		id, _ := strconv.ParseInt(text, 10, 64)
		finished[ID(id)] = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for a := range w.joined {
		if finished[a.id] {
			a.wake()
		}
	}
}
