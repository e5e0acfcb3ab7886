package pawl_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

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

// install returns a client on a migrated database of the test's own. When the test ends, Verify must find no
// violation.
func install(t testing.TB, options ...func(*pawl.Config)) (*pawl.Client, *pgxpool.Pool) {
	t.Helper()
	return connect(t, pgtest.Database(t), options...)
}

// connect is like install, on an existing database.
func connect(t testing.TB, url string, options ...func(*pawl.Config)) (*pawl.Client, *pgxpool.Pool) {
	t.Helper()
	client, pool := connectUnchecked(t, url, options...)
	t.Cleanup(func() { checkInvariant(t, client) })
	return client, pool
}

const listenDirectly = "directly"

// withListen is an option for tests that need notifications. LISTEN bypasses the pooler, if there is one.
func withListen(config *pawl.Config) { config.ListenURL = listenDirectly }

// connectUnchecked is like connect, without the check at the end. It is for tests that remove a rule.
func connectUnchecked(t testing.TB, url string, options ...func(*pawl.Config)) (*pawl.Client, *pgxpool.Pool) {
	t.Helper()
	eight := func(c *pgxpool.Config) { c.MaxConns = 8 }
	pool := pgtest.Pool(t, url, eight, pgtest.Friendly)
	theirs := pool
	if pgtest.IsHostile() {
		theirs = pgtest.Pool(t, url, eight)
	}
	config := pawl.Config{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if pgtest.Pooled() {
		// The library gets a pool like a user's. The test's own statements would fail on it.
		theirs = pgtest.Pool(t, url, eight, withoutNamedStatements(t))
	}
	for _, option := range options {
		option(&config)
	}
	if config.ListenURL == listenDirectly {
		config.ListenURL = ""
		if pgtest.Pooled() {
			config.ListenURL = pgtest.Direct(t, url)
		}
	}
	client, err := pawl.New(theirs, config)
	if err != nil {
		t.Fatal(err)
	}
	return client, pool
}

// checkInvariant fails the test if Verify finds a violation.
func checkInvariant(t testing.TB, client *pawl.Client) {
	t.Helper()
	findings, err := client.Verify(context.Background()) // The test's own context has ended in a cleanup.
	if err != nil {
		t.Errorf("verify: %v", err)
	}
	for _, f := range findings {
		switch f.Check {
		case "function", // Replaced by the test.
			"permit-stray", "lease-stray": // There until maintenance runs; some tests have none.
			continue
		}
		t.Errorf("verify: %s: %s", f.Check, f.Problem)
	}
}
