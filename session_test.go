package pawl

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/internal/pgtest"
)

// A pooler that announces a server process's own number passes for a direct connection until another process answers. The lock is not
// taken there.
func TestALockInAStrangersSession(t *testing.T) {
	t.Parallel()
	url := pgtest.Direct(t, pgtest.Database(t))
	pooler := pgtest.Pooler(t, nil, map[string]string{"default_pool_size": "3"})
	pool := pgtest.Pool(t, pooler.URL(pgtest.Name(t, url)))
	client, err := New(pool, Config{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), pool.Config().ConnString())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	s := &session{Conn: conn, client: client}
	var pooled bool
	if s.pid, pooled, err = backend(t.Context(), conn); err != nil || !pooled {
		t.Fatalf("a pooler was not seen: %v, %v", pooled, err)
	}
	lock := func() error {
		return s.lock(t.Context(), "pg_advisory_lock_shared(pawl.sleep_key(k))", "unnest($1::text[])", []string{"a", "b"}, 2)
	}
	var holder uint32
	for range 2 { // Whoever answered at first is busy.
		tx, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback(context.Background())
		if err := tx.QueryRow(t.Context(), "select pg_backend_pid()", pgx.QueryExecModeExec).Scan(&holder); err != nil {
			t.Fatal(err)
		}
		if holder == s.pid {
			break
		}
	}
	if holder != s.pid {
		t.Fatal("another process than at first cannot be had")
	}
	if err := lock(); !errors.Is(err, errPooled) || !client.noListen.Load() {
		t.Errorf("a lock in another process: %v", err)
	}
	var locks int
	if err := pgtest.Pool(t, url).QueryRow(t.Context(), `select count(*) from pg_locks where locktype = 'advisory'
		and database = (select oid from pg_database where datname = current_database())`).Scan(&locks); err != nil || locks != 0 {
		t.Errorf("%d locks, %v", locks, err)
	}
}
