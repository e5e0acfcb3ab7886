package pawltest

import (
	"context"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// New returns a client on a fresh, migrated database of the test's own. When the test ends, its connections are
// closed and the database is dropped. The client logs to the test. For a client with a Config of your own, pass its
// [Pool] to pawl.New.
func New(t testing.TB) *pawl.Client {
	t.Helper()
	pgtest.Ensure(migrate)
	pool := pgtest.Pool(t, pgtest.Database(t), func(c *pgxpool.Config) { c.MaxConns = 8 })
	client, err := pawl.New(pool, pawl.Config{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatalf("pawltest: %v", err)
	}
	return client
}

// Pool returns the pool that the client was made with, for the test's own tables and transactions. It ends the test
// if there is none. For database/sql, see pgx's stdlib.OpenDBFromPool.
func Pool(t testing.TB, client *pawl.Client) *pgxpool.Pool {
	t.Helper()
	pool := client.Pool()
	if pool == nil {
		t.Fatal("pawltest: this client has no pool: it was made with pawl.New(nil, …)")
	}
	return pool
}

func migrate(ctx context.Context, url string) error {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	client, err := pawl.New(pool, pawl.Config{})
	if err != nil {
		return err
	}
	return client.Migrate(ctx)
}
