package pg

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl/internal/pgtest"
)

const testKey = "hashtextextended(k, 1)"

// journal keeps a log.
type journal struct {
	t    testing.TB
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.text.Write(p)
	return j.t.Output().Write(p)
}

func (j *journal) count(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), text)
}

func dialer(t testing.TB, pool *pgxpool.Pool) (*Dialer, *journal) {
	log := &journal{t: t}
	return &Dialer{Pool: pool, Logger: slog.New(slog.NewTextHandler(log, nil)), Pooled: new(atomic.Bool)}, log
}

// locks counts the advisory locks of the database.
func locks(t testing.TB, pool *pgxpool.Pool) (n int) {
	t.Helper()
	must(t, pool.QueryRow(t.Context(), `select count(*) from pg_locks where locktype = 'advisory'
		and database = (select oid from pg_database where datname = current_database())`).Scan(&n))
	return n
}

// A pooler may announce a server process's own number. It then passes for a direct connection until another process
// answers. No lock is taken there.
func TestNoLockInAnotherProcess(t *testing.T) {
	t.Parallel()
	url := pgtest.Direct(t, pgtest.Database(t))
	pooler := pgtest.Pooler(t, nil, map[string]string{"default_pool_size": "3"})
	pool := pgtest.Pool(t, pooler.URL(pgtest.Name(t, url)))
	s, err := Connect(t.Context(), pool, "")
	must(t, err)
	defer s.Close(context.Background())
	if !s.Pooled {
		t.Fatal("the pooler was not seen")
	}
	s.dialer, _ = dialer(t, pool)
	var holder uint32
	for range 2 { // Keep the process busy that answered first.
		tx, err := pool.Begin(t.Context())
		must(t, err)
		defer tx.Rollback(context.Background())
		must(t, tx.QueryRow(t.Context(), "select pg_backend_pid()", pgx.QueryExecModeExec).Scan(&holder))
		if holder == s.PID {
			break
		}
	}
	if holder != s.PID {
		t.Fatal("the process that answered first cannot be kept busy")
	}
	err = s.lock(t.Context(), "pg_advisory_lock_shared", testKey, []string{"a", "b"})
	if !errors.Is(err, ErrPooled) || !s.dialer.Pooled.Load() {
		t.Errorf("a lock in another process: %v", err)
	}
	if n := locks(t, pgtest.Pool(t, url)); n != 0 {
		t.Errorf("%d locks", n)
	}
}

// Behind a transaction pooler a listener ends at once, and says so once.
func TestListenerBehindAPooler(t *testing.T) {
	t.Parallel()
	url := pgtest.Direct(t, pgtest.Database(t))
	pooler := pgtest.Pooler(t, nil, map[string]string{"default_pool_size": "3"})
	d, log := dialer(t, pgtest.Pool(t, pooler.URL(pgtest.Name(t, url))))
	for range 2 {
		changed := 0
		l := &Listener{Dialer: d, Channel: "c", LockKey: testKey, Changed: func() { changed++ }}
		l.Want("a")
		if err := l.Run(t.Context()); !errors.Is(err, ErrPooled) {
			t.Errorf("Run returned %v, want ErrPooled", err)
		}
		if changed != 1 || l.Holds("a") || l.Listening() {
			t.Errorf("%d changes; holds: %t, listening: %t", changed, l.Holds("a"), l.Listening())
		}
	}
	if n := log.count("a pooler is in between"); n != 1 {
		t.Errorf("the pooler was logged %d times", n)
	}
	if n := locks(t, pgtest.Pool(t, url)); n != 0 {
		t.Errorf("%d locks", n)
	}
}
