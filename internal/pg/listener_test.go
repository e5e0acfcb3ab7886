package pg

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl/internal/pgtest"
)

// running starts a listener that ends with the test.
func running(t testing.TB, l *Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
}

// A listener hears, holds the locks that are wanted and no others, and does so again after its connection was lost.
func TestListener(t *testing.T) {
	t.Parallel()
	direct := pgtest.Pool(t, pgtest.Direct(t, pgtest.Database(t)))
	var before int // Connections as the pool makes them.
	d, log := dialer(t, pgtest.Pool(t, direct.Config().ConnString(), func(c *pgxpool.Config) {
		was := c.BeforeConnect
		c.BeforeConnect = func(ctx context.Context, config *pgx.ConnConfig) error {
			before++
			if was != nil {
				return was(ctx, config)
			}
			return nil
		}
	}))
	heard, connected := make(chan string, 10), make(chan bool, 10)
	l := &Listener{
		Dialer: d, Channel: `odd "name"`, LockKey: testKey, Name: "the test",
		Notify:    func(payload string) { heard <- payload },
		Connected: func() { connected <- true },
	}
	l.Want("a", "b", "a")
	running(t, l)
	for round := range 3 {
		<-connected
		pgtest.Wait(t, "two locks", func() bool { return l.Holds("a", "b") && locks(t, direct) == 2 })
		l.Want("b", "c", "d")
		pgtest.Wait(t, "three locks", func() bool {
			return l.Holds("b", "c", "d") && !l.Holds("a") && locks(t, direct) == 3
		})
		text := fmt.Sprint("round ", round)
		_, err := direct.Exec(t.Context(), "select pg_notify($1, $2)", l.Channel, text)
		must(t, err)
		if got := <-heard; got != text {
			t.Errorf("heard %q, want %q", got, text)
		}
		l.Want()
		pgtest.Wait(t, "no lock", func() bool { return !l.Holds("b") && locks(t, direct) == 0 })
		l.Want("a", "b")
		pgtest.Wait(t, "two locks again", func() bool { return l.Holds("a", "b") })
		// A connection that is lost again and again is told at growing intervals.
		lost, back := log.count("connection lost"), log.count("connection is back")
		if lost != back || lost > round || lost < min(round, 1) {
			t.Errorf("round %d: lost was logged %d times, back %d times", round, lost, back)
		}
		var pid int
		must(t, direct.QueryRow(t.Context(), "select min(pid) from pg_locks where locktype = 'advisory'").Scan(&pid))
		_, err = direct.Exec(t.Context(), "select pg_terminate_backend($1)", pid)
		must(t, err)
	}
	<-connected
	if before < 4 {
		t.Errorf("BeforeConnect was called %d times for 4 connections", before)
	}
}

// A listener that cannot connect says so once.
func TestListenerCannotConnect(t *testing.T) {
	t.Parallel()
	d, log := dialer(t, pgtest.Pool(t, pgtest.Database(t)))
	d.URL = "postgres://127.0.0.1:1/none"
	changes := make(chan bool, 100)
	l := &Listener{Dialer: d, Channel: "c", LockKey: testKey, Changed: func() { changes <- true }}
	running(t, l)
	for range 3 {
		<-changes
	}
	if n := log.count("connection lost"); n != 1 {
		t.Errorf("it was logged %d times", n)
	}
}
