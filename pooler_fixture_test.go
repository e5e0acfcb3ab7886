package pawl_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// withoutNamedStatements leaves a pool in pgx's default mode and fails the test if the pool prepares a statement by
// name. Behind a transaction pooler the next statement would not find it.
func withoutNamedStatements(t testing.TB) func(*pgxpool.Config) {
	return func(c *pgxpool.Config) {
		c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
		c.ConnConfig.Tracer = namedStatements{t}
	}
}

type namedStatements struct{ t testing.TB }

func (n namedStatements) TracePrepareStart(ctx context.Context, _ *pgx.Conn,
	data pgx.TracePrepareStartData) context.Context {
	if data.Name != "" {
		n.t.Errorf("a statement was prepared by name: %s", data.SQL)
	}
	return ctx
}

func (namedStatements) TracePrepareEnd(context.Context, *pgx.Conn, pgx.TracePrepareEndData) {}

func (namedStatements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (namedStatements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// A logCounter collects a client's log.
type logCounter struct {
	t    testing.TB
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logCounter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	return l.t.Output().Write(p)
}

func (l *logCounter) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// poolerPools returns two pools on a database of the test's own. The first has pgx's defaults and goes through a
// PgBouncer of its own. The second bypasses PgBouncer.
func poolerPools(t testing.TB, settings map[string]string) (pooled, direct *pgxpool.Pool) {
	t.Helper()
	url := pgtest.Direct(t, pgtest.Database(t))
	pooler := pgtest.Pooler(t, nil, settings)
	return pgtest.Pool(t, pooler.URL(pgtest.Name(t, url)), func(c *pgxpool.Config) { c.MaxConns = 8 },
		withoutNamedStatements(t)), pgtest.Pool(t, url)
}

// clientThrough returns a client on the first pool of poolerPools.
func clientThrough(t testing.TB, pool *pgxpool.Pool, listenURL string) (*pawl.Client, *logCounter) {
	t.Helper()
	said := &logCounter{t: t}
	client, err := pawl.New(pool, pawl.Config{ListenURL: listenURL, Logger: slog.New(slog.NewTextHandler(said, nil))})
	must(t, err)
	t.Cleanup(func() { checkInvariant(t, client) })
	return client, said
}

// awaitNoLocks waits until no session holds an advisory lock. Locks of a transaction, or of a probe for sleepers,
// last for a moment.
func awaitNoLocks(t testing.TB, direct *pgxpool.Pool) {
	t.Helper()
	pgtest.Wait(t, "no advisory lock to be held behind the pooler", func() bool {
		return value[int](t, direct, `select count(*) from pg_locks where locktype = 'advisory'
			and database = (select oid from pg_database where datname = current_database())`) == 0
	})
}

// fewConnections makes transactions share server connections: a runner has up to eight connections of its own.
var fewConnections = map[string]string{"default_pool_size": "3"}
