package pg

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A transaction pooler runs the statements of one client connection in changing server sessions. What belongs to a
// session, LISTEN and advisory locks, would stay in a session that others use. So it is set up only in a session that
// is seen to be the connection's own.

// ErrPooled is returned where a session of its own is needed and a transaction pooler is in between.
var ErrPooled = errors.New("a transaction pooler is in between")

const sessionTimeout = 15 * time.Second // For connecting, and for taking locks.

// A Session is a connection outside any pool.
type Session struct {
	*pgx.Conn
	PID    uint32 // PID is the server process that answered first.
	Pooled bool   // Pooled says that another process than that announced itself: there is a pooler, in whatever mode.

	dialer *Dialer
}

// Connect opens a session: to url, or, if it is empty, as the pool opens its connections, with BeforeConnect.
func Connect(ctx context.Context, pool *pgxpool.Pool, url string) (*Session, error) {
	like := pool.Config()
	config := like.ConnConfig
	if url != "" {
		var err error
		if config, err = pgx.ParseConfig(url); err != nil {
			return nil, err
		}
	} else if like.BeforeConnect != nil {
		if err := like.BeforeConnect(ctx, config); err != nil {
			return nil, err
		}
	}
	pinEncoding(config)
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	s := &Session{Conn: conn}
	err = conn.QueryRow(ctx, "select pg_backend_pid()", pgx.QueryExecModeExec).Scan(&s.PID)
	if s.Pooled = s.PID != conn.PgConn().PID(); err == nil && !s.Pooled {
		err = PinSession(ctx, conn)
	}
	if err != nil {
		s.Close(ctx)
		return nil, err
	}
	return s, nil
}

// Close closes the connection. It waits for the server for at most two seconds.
func (s *Session) Close(ctx context.Context) {
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	s.Conn.Close(closing)
}

// Listen executes LISTEN.
func (s *Session) Listen(ctx context.Context, channel string) error {
	_, err := s.Exec(ctx, "listen "+pgx.Identifier{channel}.Sanitize())
	return err
}

// Hears reports whether a notification that db sends reaches the session within five seconds, while the session is
// idle. Behind a pooler in session mode it does; behind one in transaction mode it does not.
func (s *Session) Hears(ctx context.Context, db DB) (bool, error) {
	channel := "pawl " + rand.Text()
	if err := s.Listen(ctx, channel); err != nil {
		return false, err
	}
	err := db.Query(ctx, "select pg_notify($1::text, '')", []any{channel}, func(Row) error { return nil })
	if err != nil {
		return false, err
	}
	waiting, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err = s.WaitForNotification(waiting)
	if err != nil && (s.IsClosed() || ctx.Err() != nil) {
		return false, err
	}
	return err == nil, nil
}

// A Dialer opens sessions that listen.
type Dialer struct {
	Pool   *pgxpool.Pool
	URL    string // URL is where to connect. It defaults to connecting as Pool does.
	Logger *slog.Logger
	Pooled *atomic.Bool // Pooled is set once a transaction pooler was met. From then on Listen fails at once.
}

// Listen opens a session that listens on a channel. It returns ErrPooled if a transaction pooler is in between.
func (d *Dialer) Listen(ctx context.Context, channel string) (*Session, error) {
	if d.Pooled.Load() {
		return nil, ErrPooled
	}
	ctx, cancel := context.WithTimeout(ctx, sessionTimeout)
	defer cancel()
	s, err := Connect(ctx, d.Pool, d.URL)
	if err != nil {
		return nil, err
	}
	s.dialer = d
	if s.Pooled {
		err = d.requireOwn(ctx, s)
	}
	if err == nil {
		err = s.Listen(ctx, channel)
	}
	if err != nil {
		s.Close(ctx)
		return nil, err
	}
	return s, nil
}

// requireOwn returns nil if a session behind a pooler is the connection's own. It tries only where there is a URL for
// LISTEN. If the attempt fails, a session of the server goes on listening to a channel that is never notified again.
func (d *Dialer) requireOwn(ctx context.Context, s *Session) error {
	if d.URL == "" {
		return d.pooled("pawl: a pooler is in between: no LISTEN, polling instead;" +
			" set Config.ListenURL to a direct URL")
	}
	own, err := s.Hears(ctx, Pgx{d.Pool})
	if err == nil && !own {
		return d.pooled("pawl: Config.ListenURL leads through a transaction pooler: no LISTEN, polling instead;" +
			" set it to a direct URL")
	}
	return err
}

// pooled gives up LISTEN for good, and says so once.
func (d *Dialer) pooled(warning string) error {
	if !d.Pooled.Swap(true) {
		d.Logger.Warn(warning)
	}
	return ErrPooled
}

// lock calls pg_advisory_lock_shared or pg_advisory_unlock_shared for the lock of each key, in the session's own
// server process only. key is the SQL expression of a lock for a text k.
func (s *Session) lock(ctx context.Context, function, key string, keys []string) error {
	ctx, cancel := context.WithTimeout(ctx, sessionTimeout)
	defer cancel()
	done := 0
	err := Pgx{s.Conn}.Query(ctx,
		"select count("+function+"("+key+")::text) from unnest($1::text[]) k where pg_backend_pid() = $2::bigint",
		[]any{keys, int64(s.PID)}, func(row Row) error { return row.Scan(&done) })
	if err != nil {
		return fmt.Errorf("%s: %w", function, err)
	}
	if done != len(keys) {
		return s.dialer.pooled(fmt.Sprintf("pawl: server process %d answered first, then another:"+
			" a transaction pooler is in between that hides itself: no LISTEN, polling instead;"+
			" set Config.ListenURL to a direct URL (until that process ends, it may keep a lock"+
			" for which statements notify needlessly)", s.PID))
	}
	return nil
}
