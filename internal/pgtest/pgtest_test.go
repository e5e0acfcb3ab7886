package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl/internal/localpg"
)

// roleEnv makes the test binary play another package's tests.
const roleEnv = "PGTEST_TEST_ROLE"

var migrations atomic.Int64

func TestMain(m *testing.M) {
	Main(m, func(ctx context.Context, url string) error {
		migrations.Add(1)
		return migrate(ctx, url)
	})
}

func migrate(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "CREATE TABLE migrated (n int PRIMARY KEY)")
	return err
}

// value returns the one value of a query on a new connection.
func value[T any](t testing.TB, url, sql string, args ...any) T {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	rows, _ := conn.Query(t.Context(), sql, args...)
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestDatabase(t *testing.T) {
	for i := range 8 {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			pool := Pool(t, Database(t))
			// The same key in every database: they must not be the same one.
			if _, err := pool.Exec(t.Context(), "INSERT INTO migrated VALUES (1)"); err != nil {
				t.Error(err)
			}
			if n := migrations.Load(); n != 1 {
				t.Errorf("migrate was called %d times, want once", n)
			}
		})
	}
}

func TestEmpty(t *testing.T) {
	url := Empty(t)
	if value[bool](t, url, "SELECT to_regclass('migrated') IS NOT NULL") {
		t.Error("the empty database has been migrated")
	}
}

func TestDatabaseIsDroppedAfterItsPoolIsClosed(t *testing.T) {
	var name string
	t.Run("test", func(t *testing.T) {
		url := Database(t)
		pool := Pool(t, url, func(c *pgxpool.Config) { c.MaxConns = 3 })
		if got := pool.Config().MaxConns; got != 3 {
			t.Errorf("MaxConns is %d, want 3", got)
		}
		if err := pool.QueryRow(t.Context(), "SELECT current_database()").Scan(&name); err != nil {
			t.Fatal(err)
		}
		// An open connection does not keep the database.
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if err := pool.Ping(ctx); err != nil {
				t.Errorf("the pool was closed before the test's own cleanup: %v", err)
			}
		})
		_ = conn
	})
	if value[bool](t, current.url(""), "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name) {
		t.Errorf("database %s is still there", name)
	}
}

func TestPoolWithConnectionHeld(t *testing.T) {
	pool, err := pgxpool.New(t.Context(), Empty(t))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if closePool(pool, 20*time.Millisecond) {
		t.Error("closePool says closed though a connection is in use")
	}
	conn.Release()
}

func TestServer(t *testing.T) {
	server := Server(t)
	pool := Pool(t, server.URL("postgres"))
	if err := pool.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := server.Restart(t.Context(), localpg.Immediate); err != nil {
		t.Fatal(err)
	}
	Wait(t, "the pool's recovery", func() bool { return pool.Ping(t.Context()) == nil })
}

// recorder is a test that notes its failure instead of failing.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestWait(t *testing.T) {
	calls := 0
	Wait(t, "the third call", func() bool { calls++; return calls == 3 })

	r := &recorder{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		await(r, "pigs to fly", func() bool { return false }, 20*time.Millisecond)
	}()
	<-done
	if !strings.Contains(r.failure, "pigs to fly") {
		t.Errorf("the failure is %q, want it to say what it waited for", r.failure)
	}
}

func TestFailingMigration(t *testing.T) {
	broken := errors.New("broken")
	r := newRun(func(context.Context, string) error { return broken })
	defer r.close()
	for range 2 {
		if _, err := r.copyTemplate(); !errors.Is(err, broken) {
			t.Errorf("copying a template whose migration failed returned %v", err)
		}
	}
	if _, err := r.newDatabase(); err != nil {
		t.Errorf("an empty database does not need the migration: %v", err)
	}
}

func TestGivenServer(t *testing.T) {
	t.Setenv(EnvPgBouncer, "")
	server := Server(t)
	admin := server.URL("postgres")
	for _, sql := range []string{
		"CREATE ROLE tester LOGIN CREATEDB",
		"CREATE DATABASE home OWNER tester",
		"CREATE DATABASE pawl_test_1_template OWNER tester", // of a run that died
		"CREATE DATABASE pawl_test_1_7 OWNER tester",
		"CREATE DATABASE pawl_testament", // not ours
	} {
		conn, err := pgx.Connect(t.Context(), admin)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		conn.Close(t.Context())
	}
	t.Setenv(EnvURL, strings.Replace(server.URL("home"), "user=postgres", "user=tester", 1))

	first, second := newRun(migrate), newRun(migrate)
	var names []string
	for _, r := range []*run{first, second} {
		name, err := r.copyTemplate()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
		if value[string](t, r.url(name), "SELECT to_regclass('migrated')::text") == "" {
			t.Errorf("%s has not been migrated", name)
		}
	}
	list := func() []string {
		conn, err := pgx.Connect(t.Context(), admin)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		rows, _ := conn.Query(t.Context(), "SELECT datname FROM pg_database WHERE datname LIKE 'pawl%' ORDER BY 1")
		list, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	if got := list(); len(got) != 5 {
		t.Errorf("two runs have %v, want two databases each and the one that is not ours", got)
	}
	for i, r := range []*run{first, second} {
		if err := r.drop(names[i]); err != nil {
			t.Error(err)
		}
		if err := r.close(); err != nil {
			t.Error(err)
		}
	}
	if got := list(); len(got) != 1 || got[0] != "pawl_testament" {
		t.Errorf("after the runs there are %v", got)
	}

	t.Setenv(EnvURL, "host=/tmp dbname=home")
	r := newRun(migrate)
	if _, err := r.newDatabase(); err == nil || !strings.Contains(err.Error(), EnvURL) ||
		!strings.Contains(err.Error(), "postgres://") {
		t.Errorf("a value that is no URL returned %v", err)
	}
}

// TestRole is not a test of its own: TestMainStopsServer runs it elsewhere.
func TestRole(t *testing.T) {
	role := os.Getenv(roleEnv)
	if role == "" {
		t.Skip("run by TestMainStopsServer")
	}
	Database(t)
	fmt.Println("folder:", current.server.Dir())
	switch role {
	case "fail":
		t.Error("as told")
	case "panic":
		panic("as told")
	case "exit":
		os.Exit(3)
	}
}

func TestMainStopsServer(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for role, code := range map[string]int{"pass": 0, "fail": 1, "panic": 2, "exit": 3} {
		t.Run(role, func(t *testing.T) {
			cmd := exec.Command(self, "-test.run=^TestRole$")
			cmd.Env = append(os.Environ(), roleEnv+"="+role, EnvURL+"=")
			out, _ := cmd.CombinedOutput()
			if got := cmd.ProcessState.ExitCode(); got != code {
				t.Errorf("exit code %d, want %d:\n%s", got, code, out)
			}
			_, rest, _ := strings.Cut(string(out), "folder: ")
			folder, _, found := strings.Cut(rest, "\n")
			if !found {
				t.Fatalf("no server was started:\n%s", out)
			}
			Wait(t, "the removal of "+folder, func() bool {
				_, err := os.Stat(folder)
				return errors.Is(err, os.ErrNotExist)
			})
		})
	}
}

func BenchmarkDatabase(b *testing.B) {
	for b.Loop() {
		name, err := current.copyTemplate()
		if err != nil {
			b.Fatal(err)
		}
		if err := current.drop(name); err != nil {
			b.Fatal(err)
		}
	}
}
