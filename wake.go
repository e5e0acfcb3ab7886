package pawl

import (
	"context"
	"errors"
	"sync"
	"time"
)

// sleeper lets a runner sleep until an insert wakes it. It keeps a connection of its own that LISTENs and, while the runner
// sleeps, holds a shared advisory lock per queue: wake.sql notifies only where it meets one.
//
// Behind a transaction pooler neither works: see pooler.go.
type sleeper struct {
	client *Client
	keys   []string
	woken  chan string   // The queue; "" after a reconnect: anything may have happened.
	poked  chan struct{} // There is news for the heartbeat: see hail.sql.

	mu        sync.Mutex
	direct    bool // Connected, listening.
	want      bool // Asleep: the locks are to be held.
	held      bool
	changed   chan struct{} // Closed and replaced when held or direct changes.
	interrupt context.CancelFunc
}

func newSleeper(c *Client, queues []string) *sleeper {
	keys := queues
	if keys == nil {
		keys = []string{"*"}
	}
	return &sleeper{client: c, keys: keys, woken: make(chan string, 64), poked: make(chan struct{}, 1), changed: make(chan struct{})}
}

func (s *sleeper) run(ctx context.Context) {
	log := s.client.config.Logger
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		began := time.Now()
		err := s.session(ctx)
		s.set(func() { s.direct, s.held = false, false })
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errPooled) {
			return
		}
		if time.Since(began) > time.Minute {
			wait = 100 * time.Millisecond
		}
		log.Warn("pawl: LISTEN connection lost, connecting again", "error", err)
		if !sleep(ctx, wait) {
			return
		}
	}
}

func (s *sleeper) session(ctx context.Context) error {
	conn, err := s.client.listen(ctx, "pawl.wake")
	if err != nil {
		return err
	}
	defer conn.close(ctx)
	s.set(func() { s.direct, s.held = true, false })
	s.wake("")
	s.poke()
	for {
		waiting, cancel := context.WithCancel(ctx)
		s.mu.Lock()
		s.interrupt = cancel
		want, held := s.want, s.held
		s.mu.Unlock()
		if want != held {
			cancel()
			if err := s.lock(ctx, conn, want); err != nil {
				return err
			}
			s.set(func() { s.held = want })
			continue
		}
		n, err := conn.WaitForNotification(waiting)
		interrupted := waiting.Err() != nil
		cancel()
		switch {
		case err == nil && n.Payload == "":
			s.poke()
		case err == nil:
			s.wake(n.Payload)
		case ctx.Err() != nil:
			return ctx.Err()
		case !interrupted || conn.IsClosed():
			return err
		}
	}
}

func (s *sleeper) lock(ctx context.Context, conn *session, on bool) error {
	call := "pg_advisory_unlock_shared(pawl.sleep_key(k))"
	if on {
		call = "pg_advisory_lock_shared(pawl.sleep_key(k))"
	}
	return conn.lock(ctx, call, "unnest($1::text[])", s.keys, len(s.keys))
}

func (s *sleeper) set(change func()) {
	s.mu.Lock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
}

func (s *sleeper) wake(queue string) {
	select {
	case s.woken <- queue:
	default: // Full: the reader is to look around anyway.
	}
}

func (s *sleeper) poke() {
	select {
	case s.poked <- struct{}{}:
	default:
	}
}

// announce says that the runner is about to sleep; true once inserts will see it. The runner looks once more after that.
func (s *sleeper) announce(ctx context.Context) bool {
	s.ask(true)
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for {
		s.mu.Lock()
		direct, held, changed := s.direct, s.held, s.changed
		s.mu.Unlock()
		if !direct || held {
			return held
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// awakes says whether inserts still see the sleeper.
func (s *sleeper) isAnnounced() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// rise says that the runner is awake.
func (s *sleeper) stayAwake() { s.ask(false) }

func (s *sleeper) ask(want bool) {
	s.mu.Lock()
	s.want = want
	if s.want != s.held && s.interrupt != nil {
		s.interrupt()
	}
	s.mu.Unlock()
}
