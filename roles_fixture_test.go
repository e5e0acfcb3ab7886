package pawl_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

var kinds = []string{"producer", "worker", "reader", "admin"}

// A realm is a database with roles. Roles belong to the server, so each realm has a schema of its own name.
type realm struct {
	t      testing.TB
	url    string
	schema string
	client *pawl.Client // The owner's,
	pool   *pgxpool.Pool
}

func newRealm(t testing.TB) *realm {
	t.Helper()
	keeper := pgtest.Empty(t)
	t.Cleanup(func() { // After the database is gone, and before the keeper's.
		conn, err := pgx.Connect(context.Background(), keeper)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close(context.Background())
		if _, err := conn.Exec(context.Background(), fmt.Sprintf(`do $$ declare r name; begin
			for r in select rolname from pg_roles where starts_with(rolname, '%s_') loop execute format('drop role %%I', r);
				end loop; end $$`, realmName(keeper))); err != nil {
			t.Error(err)
		}
	})
	r := &realm{t: t, url: pgtest.Empty(t), schema: realmName(keeper)}
	r.pool = pgtest.Pool(t, r.url, func(c *pgxpool.Config) { c.MaxConns = 4 })
	r.client = r.of(r.pool)
	return r
}

var lastOfURL = regexp.MustCompile(`pawl_test_\w+`)

func realmName(url string) string { return "realm_" + lastOfURL.FindString(url) }

func (r *realm) of(pool *pgxpool.Pool) *pawl.Client {
	r.t.Helper()
	config := pawl.Config{Schema: r.schema, Logger: slog.New(slog.NewTextHandler(r.t.Output(),
		&slog.HandlerOptions{Level: slog.LevelWarn}))}
	if pgtest.Pooled() { // As the option listens has it, and as the pool's role.
		direct, err := url.Parse(pgtest.Direct(r.t, r.url))
		must(r.t, err)
		query := direct.Query()
		query.Set("user", pool.Config().ConnConfig.User)
		direct.RawQuery = query.Encode()
		config.ListenURL = direct.String()
	}
	client, err := pawl.New(pool, config)
	must(r.t, err)
	return client
}

// as returns a client and a pool of a login.
func (r *realm) as(kind string) (*pawl.Client, *pgxpool.Pool) {
	r.t.Helper()
	pool := pgtest.Pool(r.t, r.url, func(c *pgxpool.Config) { c.MaxConns, c.ConnConfig.User = 4, r.schema+"_user_"+kind })
	return r.of(pool), pool
}

// in writes the realm's schema into SQL.
func (r *realm) in(text string) string { return strings.ReplaceAll(text, "pawl.", r.schema+".") }

// installRoles returns a realm with roles, a login for each role, and a login without a role.
func installRoles(t testing.TB) *realm {
	t.Helper()
	r := newRealm(t)
	must(t, r.client.Migrate(t.Context()))
	must(t, r.client.CreateRoles(t.Context()))
	for _, kind := range kinds {
		exec(t, r.pool, fmt.Sprintf("create role %s_user_%[2]s login; grant %[1]s_%[2]s to %[1]s_user_%[2]s", r.schema, kind))
	}
	exec(t, r.pool, fmt.Sprintf("create role %s_user_nobody login", r.schema))
	return r
}

// wantRefused fails the test unless err says that the role lacks a privilege.
func wantRefused(t testing.TB, what string, err error) {
	t.Helper()
	if denied, ok := errors.AsType[*pgconn.PgError](err); !ok || denied.Code != "42501" {
		t.Errorf("%s: got %v, want it refused", what, err)
	}
}
