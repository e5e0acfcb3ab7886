// Package pgtest gives tests real PostgreSQL databases, each test its own.
//
// A package that uses it has
//
//	func TestMain(m *testing.M) { pgtest.Main(m, migrate) }
//
// or calls [Ensure], and its tests call [Database] or [Empty]. The first call starts a private
// server for the test binary. If $PAWL_TEST_DATABASE_URL is set, that server is
// used instead; its role must be allowed to create databases. If
// $PAWL_TEST_PGBOUNCER is set, tests reach their databases through a private
// PgBouncer in transaction mode.
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

// EnvURL is the environment variable with the URL of a server to test on.
const EnvURL = "PAWL_TEST_DATABASE_URL"

// EnvPgBouncer is the environment variable that puts a PgBouncer between the
// tests and their server, if it is not empty.
const EnvPgBouncer = "PAWL_TEST_PGBOUNCER"

// poolSize is how many connections to a database the PgBouncer has: fewer than a
// test's pools and its runner have together, so that transactions do share them,
// and more than the eight transactions that some tests leave open.
const poolSize = "10"

const (
	waitTimeout   = 20 * time.Second
	statementTime = time.Minute // for anything done on the server
	closeTime     = 10 * time.Second
)

// lockClass is the first key of the advisory locks that mark runs under way.
const lockClass = 0x7061776c

// current is the running test binary's; nil before Main.
var current *run

// Main runs a package's tests and exits with their code; it does not return.
// The server starts when a test first needs it and is stopped after the tests,
// also when they panic. Migrate prepares the database at url that every
// [Database] is a copy of. It is called at most once and must close its
// connections.
func Main(m *testing.M, migrate func(ctx context.Context, url string) error) {
	current = newRun(migrate)
	os.Exit(current.tests(m))
}

var ensure sync.Once

// Ensure is Main for a package without a TestMain; after Main it does nothing.
// A private server ends with the process, however that ends. On a server given
// there is no template, since nobody would drop it: each [Database] is migrated
// by itself.
func Ensure(migrate func(ctx context.Context, url string) error) {
	ensure.Do(func() {
		if current == nil {
			current = newRun(migrate)
			current.unattended = true
		}
	})
}

// Database returns the URL of a fresh copy of the migrated database. It is
// dropped when the test ends, whoever is still connected.
func Database(t testing.TB) string {
	t.Helper()
	return create(t, (*run).copyTemplate)
}

// Empty returns the URL of a fresh database without migrations. It is dropped
// when the test ends, whoever is still connected.
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

// Pooled says whether tests reach their databases through a PgBouncer.
func Pooled() bool { return os.Getenv(EnvPgBouncer) != "" }

// poolers are the servers behind the PgBouncers of this process, by host.
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

// Pooler starts a PgBouncer in transaction mode for the test's own use, in front
// of server, or of the one that has the databases if that is nil. Without the
// program the test is skipped. settings are over PgBouncer's defaults.
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

// Reach returns the URL of the database "postgres" of a server of the test's
// own, through a PgBouncer where tests reach theirs so.
func Reach(t testing.TB, server *localpg.Server) string {
	t.Helper()
	if !Pooled() {
		return server.URL("postgres")
	}
	// By default, while the server is away, statements wait for 120 s, and 15 s pass before it is looked for again.
	return Pooler(t, server, map[string]string{"query_wait_timeout": "2", "server_login_retry": "1"}).URL("postgres")
}

// Direct returns the URL of the same database past the PgBouncer, if there is
// one in between: for LISTEN and what else needs a session of its own.
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

// Pool returns a pool of connections to the database at url, each option
// applied to its configuration. It is closed when the test ends; a test that
// still holds a connection 10 seconds later fails. Get the database first, so
// that it is dropped last. Through a PgBouncer its statements are not prepared by
// name: the connection that knows the name may be another's by then.
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
				"pgtest: the test ended %v ago and still holds %d connections of its pool; release them",
				closeTime,
				pool.Stat().AcquiredConns(),
			)
		}
	})
	return pool
}

// closePool closes pool and reports whether that was done in time.
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

// Server returns a private server of the test's own, for stopping and
// restarting it: what it has confirmed it has after that, however it was
// stopped. It takes about half a second and is stopped for good when the test
// ends. It has only PostgreSQL's own databases, such as "postgres".
func Server(t testing.TB) *localpg.Server {
	t.Helper()
	// With fsync off commits survive the server's crash, if not the machine's.
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

// Wait calls cond every few milliseconds until it is true. If that takes more
// than 20 seconds the test fails, naming what it waited for. Call it only from
// the test's own goroutine.
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
