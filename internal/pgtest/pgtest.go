// Package pgtest gives each test a PostgreSQL database of its own.
//
// A package that uses pgtest defines
//
//	func TestMain(m *testing.M) { pgtest.Main(m, migrate) }
//
// or calls [Ensure]. Its tests call [Database] or [Empty]. The first call starts a
// private server for the test binary. If $PAWL_TEST_DATABASE_URL is set, tests use
// that server instead, and its role must be allowed to create databases. If
// $PAWL_TEST_PGBOUNCER is set, tests connect through a private PgBouncer in
// transaction mode.
package pgtest

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl/internal/localpg"
)

// EnvURL is the environment variable with the URL of an existing server for tests.
const EnvURL = "PAWL_TEST_DATABASE_URL"

// EnvPgBouncer is an environment variable. If it is not empty, tests connect
// through a PgBouncer.
const EnvPgBouncer = "PAWL_TEST_PGBOUNCER"

// poolSize is the number of connections that the PgBouncer opens to a database. It
// is less than a test's pools and its runner need together, so that transactions
// share connections. It is more than eight, because some tests leave eight
// transactions open.
const poolSize = "10"

const (
	waitTimeout   = 20 * time.Second
	statementTime = time.Minute // the limit of each statement on the server
	closeTime     = 10 * time.Second
)

// lockClass is the first key of the advisory locks that mark active runs.
const lockClass = 0x7061776c

// current is the run of this test binary. It is nil before Main and Ensure.
var current *run

// Main runs a package's tests and exits with their code; it does not return.
// The server starts when a test first needs it. It stops after the tests, even if
// they panic. Main calls migrate at most once, to prepare the database at url. Each
// [Database] is a copy of that database. migrate must close its connections.
func Main(m *testing.M, migrate func(ctx context.Context, url string) error) {
	current = newRun(migrate)
	os.Exit(current.tests(m))
}

var ensure sync.Once

// Ensure replaces Main in a package without a TestMain. After Main it does nothing.
// A private server ends with the process. On the server of $PAWL_TEST_DATABASE_URL
// there is no template, because Ensure could not drop it at the end. Each
// [Database] is migrated separately there.
func Ensure(migrate func(ctx context.Context, url string) error) {
	ensure.Do(func() {
		if current == nil {
			current = newRun(migrate)
			current.unattended = true
		}
	})
}

// Database returns the URL of a new copy of the migrated database. The database is
// dropped when the test ends, even if clients are connected.
func Database(t testing.TB) string {
	t.Helper()
	return create(t, (*run).copyTemplate)
}

// Empty returns the URL of a new database without migrations. The database is
// dropped when the test ends, even if clients are connected.
func Empty(t testing.TB) string {
	t.Helper()
	return create(t, (*run).newDatabase)
}

func create(t testing.TB, make func(*run) (string, error)) string {
	t.Helper()
	if current == nil {
		t.Fatal("pgtest: there is no server for this test: call pgtest.Main from the package's TestMain")
	}
	name, err := make(current)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		if err := current.drop(name); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	if current.pooler != nil {
		return current.pooler.URL(name)
	}
	return current.url(name)
}

// Pooled reports whether tests connect through a PgBouncer.
func Pooled() bool { return os.Getenv(EnvPgBouncer) != "" }

// poolers maps the host of each PgBouncer of this process to its server.
var poolers sync.Map

func startPooler(server *localpg.Server, settings map[string]string) (*localpg.Pooler, error) {
	pooler, err := server.StartPooler(context.Background(), settings)
	if err == nil {
		poolers.Store(hostOf(pooler.URL("postgres")), server)
	}
	return pooler, err
}

func hostOf(url string) string {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return ""
	}
	return config.Host
}

// Pooler starts a PgBouncer in transaction mode for this test. It is in front of
// server. If server is nil, it is in front of the server that [Database] uses. The
// settings override the defaults. Pooler skips the test if this computer has no
// PgBouncer.
func Pooler(t testing.TB, server *localpg.Server, settings map[string]string) *localpg.Pooler {
	t.Helper()
	if server == nil {
		if err := current.connect(); err != nil {
			t.Fatalf("pgtest: %v", err)
		}
		if server = current.server; server == nil {
			t.Skipf("needs a server of its own to put a PgBouncer in front of: unset %s", EnvURL)
		}
	}
	pooler, err := startPooler(server, settings)
	if errors.Is(err, localpg.ErrNoPgBouncer) && !Pooled() {
		t.Skipf("needs PgBouncer, as make test-pgbouncer has it: %v", err)
	}
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("PgBouncer's log:\n%s", pooler.Log())
		}
		if err := pooler.Stop(); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return pooler
}

// Reach returns the URL of the database "postgres" of a server that belongs to the
// test. If tests connect through a PgBouncer, so does this URL.
func Reach(t testing.TB, server *localpg.Server) string {
	t.Helper()
	if !Pooled() {
		return server.URL("postgres")
	}
	// By default, a statement waits up to 120 s for an absent server, and PgBouncer waits 15 s between two logins.
	return Pooler(t, server, map[string]string{"query_wait_timeout": "2", "server_login_retry": "1"}).URL("postgres")
}

// Direct returns a URL of the same database without the PgBouncer. Use it for
// LISTEN and for everything else that needs a session. Without a PgBouncer it
// returns the URL unchanged.
func Direct(t testing.TB, database string) string {
	t.Helper()
	if server, ok := poolers.Load(hostOf(database)); ok {
		return server.(*localpg.Server).URL(Name(t, database))
	}
	return database
}

// Name returns the name of the database at a URL.
func Name(t testing.TB, database string) string {
	t.Helper()
	config, err := pgx.ParseConfig(database)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return config.Database
}

// Pool returns a pool of connections to the database at url. Each option changes
// the pool's configuration. The pool is closed when the test ends. If a connection
// is still in use 10 seconds later, the test fails. Create the database before the
// pool, so that the database is dropped after the pool is closed.
//
// Through a PgBouncer the pool does not use named prepared statements, because
// each transaction may run on another connection of the server.
func Pool(t testing.TB, url string, options ...func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	if os.Getenv(EnvRecord) != "" {
		config.ConnConfig.Tracer = sentRecorder{}
	}
	if Pooled() {
		config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	for _, option := range options {
		option(config)
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		if !closePool(pool, closeTime) {
			t.Errorf(
				"pgtest: the test ended %v ago and still uses %d connections of its pool; release them",
				closeTime,
				pool.Stat().AcquiredConns(),
			)
		}
	})
	return pool
}

// closePool closes pool and reports whether it closed in time.
func closePool(pool *pgxpool.Pool, limit time.Duration) bool {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		pool.Close()
	}()
	select {
	case <-closed:
		return true
	case <-time.After(limit):
		return false
	}
}

// Server returns a private server that belongs to the test, which may stop and
// restart it. The server keeps every committed transaction, in both modes of
// stopping. Server takes about half a second. The server is stopped for good when
// the test ends. It has only PostgreSQL's own databases, such as "postgres".
func Server(t testing.TB) *localpg.Server {
	t.Helper()
	// With fsync off, commits survive a crash of the server, but not of the machine.
	server, err := localpg.Start(
		context.Background(),
		localpg.Config{Settings: map[string]string{"synchronous_commit": "on"}},
	)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return server
}

// Wait calls cond every few milliseconds until it returns true. If that takes more
// than 20 seconds, the test fails and names what it waited for. Call Wait only
// from the test's own goroutine.
func Wait(t testing.TB, what string, cond func() bool) {
	t.Helper()
	await(t, what, cond, waitTimeout)
}

func await(t testing.TB, what string, cond func() bool, limit time.Duration) {
	t.Helper()
	deadline := time.After(limit)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("after %v still waiting for: %s", limit, what)
		}
	}
}
