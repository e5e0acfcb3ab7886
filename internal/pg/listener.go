package pg

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/pawlhq/pawl/internal/outage"
)

// A Listener keeps a session that listens on a channel and holds shared advisory locks. Locks are named by keys; the
// holders of a shared lock show others whom to notify. Set the exported fields before Run. Methods are safe for
// concurrent use.
type Listener struct {
	Dialer  *Dialer
	Channel string
	LockKey string // LockKey is the SQL expression of the lock for a text k.
	Name    string // Name says in the log whose connection it is.

	Notify    func(payload string) // Notify is called with each notification.
	Connected func()               // Connected, if not nil, is called when a session has begun to listen.
	// Changed, if not nil, is called when locks were taken or given back, and when a session has ended.
	Changed func()

	mu        sync.Mutex
	wanted    []string
	held      map[string]bool
	listening bool
	interrupt context.CancelFunc // It ends the wait for a notification, so that locks are taken or given back.
}

// Run listens until ctx ends. While there is no connection, it connects again, with waits that grow to five seconds.
// It returns ErrPooled if a transaction pooler is in between, else the error of ctx. Its callbacks run in its
// goroutine.
func (l *Listener) Run(ctx context.Context) error {
	const first = 100 * time.Millisecond
	lost := &outage.Outage{
		Logger: l.Dialer.Logger, What: "LISTEN connections", Lost: "pawl: LISTEN connection lost, connecting again",
		Back: "pawl: LISTEN connection is back", Attrs: []any{"for", l.Name},
	}
	for wait := first; ; wait = min(2*wait, 5*time.Second) {
		began := time.Now()
		err := l.session(ctx, func() { lost.Record(nil) })
		l.mu.Lock()
		l.listening, l.held, l.interrupt = false, nil, nil
		l.mu.Unlock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if l.Changed != nil {
			l.Changed()
		}
		if errors.Is(err, ErrPooled) {
			return err
		}
		lost.Record(err)
		if time.Since(began) > time.Minute {
			wait = first
		}
		if !Sleep(ctx, wait) {
			return ctx.Err()
		}
	}
}

// Want sets the keys of the locks that the session is to hold.
func (l *Listener) Want(keys ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wanted = slices.Compact(slices.Sorted(slices.Values(keys)))
	if take, give := l.differences(); len(take)+len(give) > 0 && l.interrupt != nil {
		l.interrupt()
	}
}

// Holds reports whether the session holds the locks of all these keys.
func (l *Listener) Holds(keys ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range keys {
		if !l.held[key] {
			return false
		}
	}
	return true
}

// Listening reports whether there is a session.
func (l *Listener) Listening() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.listening
}

// differences returns the keys that are wanted and not held, and those that are held and not wanted. l.mu is locked.
func (l *Listener) differences() (take, give []string) {
	for _, key := range l.wanted {
		if !l.held[key] {
			take = append(take, key)
		}
	}
	for key := range l.held {
		if !slices.Contains(l.wanted, key) {
			give = append(give, key)
		}
	}
	return take, give
}

// session listens over one connection until it fails or ctx ends.
func (l *Listener) session(ctx context.Context, connected func()) error {
	s, err := l.Dialer.Listen(ctx, l.Channel)
	if err != nil {
		return err
	}
	defer s.Close(ctx)
	l.mu.Lock()
	l.listening = true
	l.mu.Unlock()
	connected()
	if l.Connected != nil {
		l.Connected()
	}
	for {
		waiting, cancel := context.WithCancel(ctx)
		l.mu.Lock()
		l.interrupt = cancel
		take, give := l.differences()
		l.mu.Unlock()
		if len(take)+len(give) > 0 {
			cancel()
			if err := l.relock(ctx, s, take, give); err != nil {
				return err
			}
			continue
		}
		n, err := s.WaitForNotification(waiting)
		interrupted := waiting.Err() != nil
		cancel()
		switch {
		case err == nil:
			l.Notify(n.Payload)
		case ctx.Err() != nil:
			return ctx.Err()
		case !interrupted || s.IsClosed():
			return err
		}
	}
}

// relock takes and gives back locks.
func (l *Listener) relock(ctx context.Context, s *Session, take, give []string) error {
	if len(take) > 0 {
		if err := s.lock(ctx, "pg_advisory_lock_shared", l.LockKey, take); err != nil {
			return err
		}
	}
	if len(give) > 0 {
		if err := s.lock(ctx, "pg_advisory_unlock_shared", l.LockKey, give); err != nil {
			return err
		}
	}
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]bool{}
	}
	for _, key := range take {
		l.held[key] = true
	}
	for _, key := range give {
		delete(l.held, key)
	}
	l.mu.Unlock()
	if l.Changed != nil {
		l.Changed()
	}
	return nil
}
