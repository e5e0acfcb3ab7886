package pawl

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// sleeper lets a runner sleep until an insert wakes it. It keeps a connection of its own that LISTENs and, while the runner
// sleeps, holds a shared advisory lock per queue: wake.sql notifies only where it meets one.
//
// Behind a transaction pooler neither works, and the lock would stay with a stranger's session. So the first thing on a new
// connection is to see whether the server process that answers is the one that was connected to.
type sleeper struct {
	client *Client
	keys   []string
	woken  chan string   // The queue; "" after a reconnect: anything may have happened.
	hailed chan struct{} // There is news for the heartbeat: see hail.sql.

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
	return &sleeper{client: c, keys: keys, woken: make(chan string, 64), hailed: make(chan struct{}, 1), changed: make(chan struct{})}
}

var errPooled = errors.New("pawl: a pooler is in between: no LISTEN, polling instead; set Config.ListenURL to a direct URL")

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
			log.Warn(errPooled.Error())
			return
		}
		if time.Since(began) > time.Minute {
			wait = 100 * time.Millisecond
		}
		log.Warn("pawl: LISTEN connection lost, connecting again", "error", err)
		if !pause(ctx, wait) {
			return
		}
	}
}

// listen opens a connection that LISTENs on a channel named as in the SQL files. errPooled: a pooler is in between.
func (c *Client) listen(ctx context.Context, channel string) (_ *pgx.Conn, err error) {
	config := c.pool.Config().ConnConfig
	if url := c.config.ListenURL; url != "" {
		if config, err = pgx.ParseConfig(url); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	var pid uint32
	if err = conn.QueryRow(ctx, "select pg_backend_pid()", pgx.QueryExecModeSimpleProtocol).Scan(&pid); err == nil && pid != conn.PgConn().PID() {
		err = errPooled
	}
	if err == nil {
		// The name for this schema, quotes and all.
		_, err = conn.Exec(ctx, "listen "+pgx.Identifier{c.source.Into(c.config.Schema, channel)}.Sanitize())
	}
	if err != nil {
		closeConn(ctx, conn)
		return nil, err
	}
	return conn, nil
}

func (s *sleeper) session(ctx context.Context) error {
	conn, err := s.client.listen(ctx, "pawl.wake")
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	s.set(func() { s.direct, s.held = true, false })
	s.wake("")
	s.hail()
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
			s.hail()
		case err == nil:
			s.wake(n.Payload)
		case ctx.Err() != nil:
			return ctx.Err()
		case !interrupted || conn.IsClosed():
			return err
		}
	}
}

func (s *sleeper) lock(ctx context.Context, conn *pgx.Conn, on bool) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	text := "select pg_advisory_unlock_all()"
	args := []any{}
	if on {
		text, args = "select count(pg_advisory_lock_shared(pawl.sleep_key(k))::text) from unnest($1::text[]) k", []any{s.keys}
	}
	if err := s.client.With(conn).query(ctx, text, args, nil); err != nil {
		return fmt.Errorf("sleep lock: %w", err)
	}
	return nil
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

func (s *sleeper) hail() {
	select {
	case s.hailed <- struct{}{}:
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
func (s *sleeper) awakes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// rise says that the runner is awake.
func (s *sleeper) rise() { s.ask(false) }

func (s *sleeper) ask(want bool) {
	s.mu.Lock()
	s.want = want
	if s.want != s.held && s.interrupt != nil {
		s.interrupt()
	}
	s.mu.Unlock()
}
