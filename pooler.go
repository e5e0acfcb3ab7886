package pawl

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A transaction pooler gives the statements of one connection to now this, now that server process. What Pawl keeps in a session, LISTEN
// and the locks of those that sleep or await, would stay with a stranger's: it is kept only where the session is seen to be one's own.
// Everything else is done in single statements and transactions.

var errPooled = errors.New("a transaction pooler is in between")

// session is a connection whose server process is its own.
type session struct {
	*pgx.Conn
	client *Client
	pid    uint32
}

// listen opens a session that LISTENs on a channel named as in the SQL files. errPooled: it cannot be had; that is said once, and not
// tried again.
func (c *Client) listen(ctx context.Context, channel string) (_ *session, err error) {
	if c.noListen.Load() {
		return nil, errPooled
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	like := c.pool.Config()
	config, prepare := like.ConnConfig, like.BeforeConnect
	if url := c.config.ListenURL; url != "" {
		if config, err = pgx.ParseConfig(url); err != nil {
			return nil, err
		}
	} else if prepare != nil {
		if err := prepare(ctx, config); err != nil {
			return nil, err
		}
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	s := &session{Conn: conn, client: c}
	var pooled bool
	if s.pid, pooled, err = backend(ctx, conn); err == nil && pooled {
		err = s.despite(ctx)
	}
	if err == nil {
		// The name for this schema, quotes and all.
		_, err = conn.Exec(ctx, "listen "+pgx.Identifier{c.source.Into(c.config.Schema, channel)}.Sanitize())
	}
	if err != nil {
		closeConn(ctx, conn)
		return nil, err
	}
	return s, nil
}

// backend is the server process that answers, and whether it is another than was announced when conn was made: then a pooler is in
// between, in whatever mode.
func backend(ctx context.Context, conn *pgx.Conn) (pid uint32, pooled bool, err error) {
	err = conn.QueryRow(ctx, "select pg_backend_pid()", pgx.QueryExecModeSimpleProtocol).Scan(&pid)
	return pid, err == nil && pid != conn.PgConn().PID(), err
}

// despite is nil if the session is one's own despite a pooler. Only where the user has named a URL for it is that tried: if it is not,
// a stranger's session goes on listening for what nobody says.
func (s *session) despite(ctx context.Context) error {
	if s.client.config.ListenURL == "" {
		return s.pooled("pawl: a pooler is in between: no LISTEN, polling instead; set Config.ListenURL to a direct URL")
	}
	own, err := hears(ctx, s.Conn, s.client.pool)
	if err == nil && !own {
		err = s.pooled("pawl: Config.ListenURL leads through a transaction pooler: no LISTEN, polling instead; set it to a direct URL")
	}
	return err
}

func (s *session) pooled(warning string) error {
	if !s.client.noListen.Swap(true) {
		s.client.config.Logger.Warn(warning)
	}
	return errPooled
}

// hears says whether a notification comes on conn while nothing is asked there, as with a pooler in session mode; other is any
// connection to the same database.
func hears(ctx context.Context, conn *pgx.Conn, other pgxDB) (bool, error) {
	const patience = 5 * time.Second
	channel := "pawl " + newLeaseID()
	if _, err := conn.Exec(ctx, "listen "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return false, err
	}
	if err := query(ctx, other, "select pg_notify($1::text, '')", []any{channel}, func(scanner) error { return nil }); err != nil {
		return false, err
	}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := conn.WaitForNotification(waiting)
	if err != nil && (conn.IsClosed() || ctx.Err() != nil) {
		return false, err
	}
	return err == nil, nil
}

// lock makes a call for each of n keys, which takes the session's advisory lock or gives it back; keys is an expression of $1, k an
// element of it. It does so in its own server process alone.
func (s *session) lock(ctx context.Context, call, keys string, arg any, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	done := 0
	err := s.client.With(s.Conn).row(ctx, "select count("+call+"::text) from "+keys+" k where pg_backend_pid() = $2::bigint",
		[]any{arg, int64(s.pid)}, &done)
	if err == nil && done != n {
		return s.pooled(fmt.Sprintf("pawl: server process %d answered at first, then another: a transaction pooler is in between, which hides itself: "+
			"no LISTEN, polling instead; set Config.ListenURL to a direct URL (until that process ends, it may keep a lock that has statements notify in vain)", s.pid))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", call, err)
	}
	return nil
}

// close closes the connection without waiting long for the server's farewell.
func (s *session) close(ctx context.Context) { closeConn(ctx, s.Conn) }

func closeConn(ctx context.Context, conn *pgx.Conn) {
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	conn.Close(closing)
}
