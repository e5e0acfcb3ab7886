package pawl

import (
	"context"
	"sync"
	"time"

	"github.com/pawlhq/pawl/internal/pg"
)

// A sleeper lets a runner sleep until an insert wakes it. While the runner sleeps, its listener holds a shared
// advisory lock for each queue. The SQL function wake notifies only for a queue whose lock is taken.
//
// Behind a transaction pooler the sleeper never announces itself, and the runner polls.
type sleeper struct {
	listener *pg.Listener
	keys     []string
	woken    chan string   // It receives the queue to look at, or "" after a new connection: look at every queue.
	poked    chan struct{} // It receives if there is news for the heartbeat: see poke_heartbeats.sql.

	mu      sync.Mutex
	changed chan struct{} // It is closed and replaced when the listener's locks change.
}

// newSleeper makes a sleeper for these queues; nil means every queue.
func newSleeper(c *Client, queues []string) *sleeper {
	keys := queues
	if keys == nil {
		keys = []string{"*"}
	}
	s := &sleeper{
		keys: keys, woken: make(chan string, 64), poked: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	s.listener = c.newListener("wake", "pawl.sleep_key(k)", "the runner")
	s.listener.Notify = func(payload string) {
		if payload == "" {
			s.poke()
		} else {
			s.wake(payload)
		}
	}
	s.listener.Connected = func() {
		s.wake("")
		s.poke()
	}
	s.listener.Changed = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		close(s.changed)
		s.changed = make(chan struct{})
	}
	return s
}

// run listens until ctx ends or LISTEN meets a transaction pooler. The listener logs its errors.
func (s *sleeper) run(ctx context.Context) { _ = s.listener.Run(ctx) }

func (s *sleeper) wake(queue string) {
	select {
	case s.woken <- queue:
	default: // The runner has not read 64 wake-ups yet, and so will look anyway.
	}
}

func (s *sleeper) poke() {
	select {
	case s.poked <- struct{}{}:
	default:
	}
}

// announce says that the runner is about to sleep. It returns true when inserts see that. The runner then claims once
// more before it sleeps.
func (s *sleeper) announce(ctx context.Context) bool {
	s.listener.Want(s.keys...)
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if s.isAnnounced() {
			return true
		}
		if !s.listener.Listening() {
			return false
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// isAnnounced reports whether inserts still see that the runner sleeps.
func (s *sleeper) isAnnounced() bool { return s.listener.Holds(s.keys...) }

// stayAwake says that the runner does not sleep.
func (s *sleeper) stayAwake() { s.listener.Want() }

// newListener makes a listener for an event, "wake" or "finished". lockKey is the SQL expression of the lock for a
// key k, a text.
func (c *Client) newListener(event, lockKey, name string) *pg.Listener {
	return &pg.Listener{
		Dialer:  &pg.Dialer{Pool: c.pool, URL: c.config.ListenURL, Logger: c.config.Logger, Pooled: c.noListen},
		Channel: notificationChannel(c.config.Schema, event),
		LockKey: c.inSchema(lockKey),
		Name:    name,
	}
}

// notificationChannel returns the name of the channel that wake.sql or wake_awaiting.sql notifies. PostgreSQL allows 63
// bytes. If two long names of schemas give the same name, their processes wake each other needlessly.
func notificationChannel(schema, event string) string {
	return schema[:min(len(schema), 54)] + "." + event
}
