//go:build unix

package localpg

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
)

// pooler is a server and a pooler in front of it.
func pooler(t *testing.T, settings map[string]string) (*Server, *Pooler) {
	t.Helper()
	s := start(t, Config{})
	p, err := s.StartPooler(t.Context(), settings)
	if errors.Is(err, ErrNoPgBouncer) {
		t.Skipf("needs PgBouncer: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s, p
}

// backend is the process that answers a connection's next statement.
func backend(t *testing.T, conn *pgx.Conn) (pid uint32) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), "select pg_backend_pid()", pgx.QueryExecModeSimpleProtocol).Scan(&pid); err != nil {
		t.Fatal(err)
	}
	return pid
}

func connectTo(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// Two clients share one server connection, transaction by transaction.
func TestPooler(t *testing.T) {
	t.Parallel()
	s, p := pooler(t, map[string]string{"default_pool_size": "1"})
	if !running(p.PID()) {
		t.Errorf("process %d is not PgBouncer's", p.PID())
	}
	one, two := connectTo(t, p.URL("postgres")), connectTo(t, p.URL("postgres"))
	if a, b := backend(t, one), backend(t, two); a != b || a == one.PgConn().PID() {
		t.Errorf("server processes %d and %d answered; %d was announced", a, b, one.PgConn().PID())
	}
	if _, err := one.Exec(t.Context(), "create role somebody login"); err != nil {
		t.Fatal(err)
	}
	config, _ := pgx.ParseConfig(p.URL("postgres"))
	config.User = "somebody"
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatalf("a role made later: %v", err)
	}
	defer conn.Close(t.Context())
	var user string
	if err := conn.QueryRow(t.Context(), "select current_user").Scan(&user); err != nil || user != "somebody" {
		t.Errorf("connected as %q: %v", user, err)
	}
	if conn := connectTo(t, s.URL("postgres")); backend(t, conn) != conn.PgConn().PID() {
		t.Error("the server's own URL leads through the pooler")
	}
}

func TestPoolerKilledAndStarted(t *testing.T) {
	t.Parallel()
	_, p := pooler(t, nil)
	pid := p.PID()
	conn := connectTo(t, p.URL("postgres"))
	for range 2 {
		if err := p.Kill(); err != nil { // Twice does nothing.
			t.Fatal(err)
		}
	}
	wait(t, "PgBouncer to be gone", func() bool { return !running(pid) })
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("a connection outlived the pooler")
	}
	for range 2 {
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if backend(t, connectTo(t, p.URL("postgres"))) == 0 {
		t.Error("no answer")
	}
	if err := p.Tell(t.Context(), "PAUSE"); err != nil {
		t.Error(err)
	}
	if err := p.Tell(t.Context(), "PAWS"); err == nil {
		t.Error("a word it does not know is no error")
	}
}

func TestPoolerThatCannotStart(t *testing.T) {
	t.Parallel()
	s, _ := pooler(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if p, err := s.StartPooler(ctx, nil); err == nil {
		p.Stop()
		t.Error("it started although the context had ended")
	}
}

func TestFindPgBouncer(t *testing.T) {
	t.Setenv(EnvPgBouncer, "/bin/sh")
	if program, err := FindPgBouncer(); err != nil || program != "/bin/sh" {
		t.Errorf("%s, %v", program, err)
	}
	t.Setenv(EnvPgBouncer, t.TempDir())
	if program, err := FindPgBouncer(); err == nil {
		t.Errorf("a folder passed as a program: %s", program)
	}
}
