package migrate

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/internal/pgtest"
)

// indexed returns a source whose second step builds an index outside a transaction.
func indexed(t *testing.T) *Source {
	return load(t, func(f fstest.MapFS) {
		f["migration/0002_two.sql"] = &fstest.MapFile{
			Data: []byte("-- outside a transaction\n-- For the looks of it.\ncreate index concurrently one_n on thing.one (n);"),
		}
	})
}

func exec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func value[T any](t *testing.T, conn *pgx.Conn, sql string, args ...any) (v T) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

const validIndexes = "select count(*) from pg_index i join pg_class c on c.oid = i.indexrelid " +
	"where c.relnamespace = 'thing'::regnamespace and c.relname = 'one_n' and i.indisvalid"

func TestLoadWantsOneIndexOutsideATransaction(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no header":        "create index concurrently one_n on thing.one (n);",
		"two statements":   "-- outside a transaction\ncreate index concurrently one_n on thing.one (n); create table thing.x (n int);",
		"something else":   "-- outside a transaction\nvacuum thing.one;",
		"not concurrently": "-- outside a transaction\ncreate index one_n on thing.one (n);",
		"without a name":   "-- outside a transaction\ncreate index concurrently on thing.one (n);",
		"another schema":   "-- outside a transaction\ncreate index concurrently one_n on public.one (n);",
		"header not first": "\n-- outside a transaction\ncreate index concurrently one_n on thing.one (n);",
	} {
		all := files()
		all["migration/0002_two.sql"] = &fstest.MapFile{Data: []byte(text)}
		if _, err := Load(all, "thing."); err == nil || !strings.Contains(err.Error(), "0002_two") {
			t.Errorf("%s: got %v, want it refused by name", name, err)
		}
	}
	for _, text := range []string{"create table thing.two (n int); -- not concurrently",
		"-- outside a transaction\ncreate unique index concurrently one_n\n  on thing.one using btree (n) -- and so on\n  where n > 0"} {
		all := files()
		all["migration/0002_two.sql"] = &fstest.MapFile{Data: []byte(text)}
		if _, err := Load(all, "thing."); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestAnIndexIsBuiltUnderLoad runs five migrators at once, while the table is written to. They build one index.
func TestAnIndexIsBuiltUnderLoad(t *testing.T) {
	t.Parallel()
	s, url := indexed(t), pgtest.Empty(t)
	conn := connect(t, url)
	if err := s.Up(t.Context(), conn, "thing", Options{To: 1}); err != nil {
		t.Fatal(err)
	}
	exec(t, conn, "insert into thing.one select * from generate_series(1, 20000)")
	stop := make(chan struct{})
	var load, all sync.WaitGroup
	for range 2 {
		writer := connect(t, url)
		load.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := writer.Exec(t.Context(), fmt.Sprintf("insert into thing.one values (%d)", n)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 5 {
		migrator := connect(t, url)
		all.Go(func() {
			if err := s.Up(t.Context(), migrator, "thing", Options{}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	close(stop)
	load.Wait()
	if v := have(t, s, conn, "thing"); v != 3 {
		t.Errorf("it is at version %d, want 3", v)
	}
	if n := value[int](t, conn, validIndexes); n != 1 {
		t.Errorf("%d valid indexes, want 1", n)
	}
	if n := value[int](t, conn, "select thing.b()"); n != 1 {
		t.Errorf("the functions: %d", n)
	}
}

// TestABuildBrokenOffIsDoneAnew kills a migrator whose build waits for an open transaction. The build leaves an
// invalid index; the next run drops and builds it. Meanwhile other sessions do not wait.
func TestABuildBrokenOffIsDoneAnew(t *testing.T) {
	t.Parallel()
	s, url := indexed(t), own(t)
	conn, old := connect(t, url), connect(t, url)
	if err := s.Up(t.Context(), conn, "thing", Options{To: 1}); err != nil {
		t.Fatal(err)
	}
	exec(t, old, "begin; insert into thing.one values (1)")
	ended := make(chan error, 1)
	migrator := connect(t, url)
	go func() { ended <- s.Up(context.WithoutCancel(t.Context()), migrator, "thing", Options{}) }()
	const build = "datname = current_database() and query like '%concurrently%' and pid <> pg_backend_pid()"
	const building = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and " + build
	pgtest.Wait(t, "the build to wait for the open transaction",
		func() bool { return value[int](t, conn, building) == 1 })
	exec(t, conn, "insert into thing.one values (2)")
	exec(t, conn, "select pg_terminate_backend(pid) from pg_stat_activity where "+build)
	if err := <-ended; err == nil {
		t.Fatal("the migrator was killed and says that it is done")
	}
	if n := value[int](t, conn, "select count(*) from pg_class where relname = 'one_n'") - value[int](t, conn,
		validIndexes); n != 1 {
		t.Fatalf("%d invalid indexes are left, want 1: the test shows nothing", n)
	}
	if v := have(t, s, conn, "thing"); v != 1 {
		t.Errorf("it is at version %d, want 1", v)
	}
	exec(t, old, "commit")
	if err := s.Up(t.Context(), conn, "thing", Options{}); err != nil {
		t.Fatal(err)
	}
	if n := value[int](t, conn, validIndexes); n != 1 || have(t, s, conn, "thing") != 3 {
		t.Errorf("%d valid indexes at version %d, want 1 at 3", n, have(t, s, conn, "thing"))
	}
}

// TestAnIndexThatIsThereIsLeft checks that an index is not built again if its migrator died before it recorded the
// version.
func TestAnIndexThatIsThereIsLeft(t *testing.T) {
	t.Parallel()
	s, conn := indexed(t), connect(t, pgtest.Empty(t))
	if err := s.Up(t.Context(), conn, "thing", Options{To: 1}); err != nil {
		t.Fatal(err)
	}
	exec(t, conn, "create index one_n on thing.one (n)")
	was := value[uint32](t, conn, "select 'thing.one_n'::regclass::oid")
	if err := s.Up(t.Context(), conn, "thing", Options{}); err != nil {
		t.Fatal(err)
	}
	if is := value[uint32](t, conn, "select 'thing.one_n'::regclass::oid"); is != was || have(t, s, conn, "thing") != 3 {
		t.Errorf("the index was built anew, or the version is %d", have(t, s, conn, "thing"))
	}
}

// TestNoLongLocks checks that a transaction with a lock that a step needs delays the migrator, and others only
// briefly.
func TestNoLongLocks(t *testing.T) {
	t.Parallel()
	url := own(t)
	conn, old, migrator := connect(t, url), connect(t, url), connect(t, url)
	s := load(t, func(f fstest.MapFS) {
		f["migration/0002_two.sql"] = &fstest.MapFile{Data: []byte("alter table thing.one add column more int;")}
	})
	if err := s.Up(t.Context(), conn, "thing", Options{To: 1}); err != nil {
		t.Fatal(err)
	}
	exec(t, old, "begin; insert into thing.one values (1)")
	blocked := make(chan string, 100)
	ended := make(chan error, 1)
	go func() {
		ended <- s.Up(t.Context(), migrator, "thing", Options{Blocked: func(by string) { blocked <- by }})
	}()
	var longest time.Duration
	tries := 0
	// Run until one insert has waited for the migrator, or else the test shows nothing.
	for deadline := time.Now().Add(20 * time.Second); tries < 2 || longest < lockTimeout/4; {
		began := time.Now()
		brief, cancel := context.WithTimeout(t.Context(), 100*lockTimeout)
		_, err := conn.Exec(brief, "insert into thing.one values (2)")
		cancel()
		if err != nil {
			t.Fatalf("an insert waited for %v: %v", time.Since(began), err)
		}
		longest = max(longest, time.Since(began))
		select {
		case by := <-blocked:
			tries++
			if want := fmt.Sprint(old.PgConn().PID()); !strings.Contains(by, want) {
				t.Errorf("blocked by %s, want process %s", by, want)
			}
		case err := <-ended:
			t.Fatalf("the migrator ended: %v", err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("the migrator says %d times that it is blocked, and no insert took longer than %v", tries, longest)
		}
	}
	t.Logf("the longest insert beside %d attempts took %v", tries, longest)
	if v := have(t, s, conn, "thing"); v != 1 {
		t.Errorf("it is at version %d, want 1", v)
	}
	exec(t, old, "commit")
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if v := have(t, s, conn, "thing"); v != 3 {
		t.Errorf("it is at version %d, want 3", v)
	}
}

// TestAKilledMigrator checks that a migrator that is killed in a transaction leaves nothing of it, and that the
// next run continues.
func TestAKilledMigrator(t *testing.T) {
	t.Parallel()
	url := own(t)
	conn, migrator := connect(t, url), connect(t, url)
	good := load(t, nil)
	slow := load(t, func(f fstest.MapFS) {
		f["migration/0003_three.sql"] = &fstest.MapFile{
			Data: []byte("create table thing.three (n int); select pg_sleep(600);"),
		}
	})
	if err := good.Up(t.Context(), conn, "thing", Options{To: 1}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- slow.Up(t.Context(), migrator, "thing", Options{}) }()
	pgtest.Wait(t, "the migrator to be in the middle", func() bool {
		return value[bool](
			t,
			conn,
			"select exists (select from pg_stat_activity where pid = $1 and wait_event = 'PgSleep')",
			int32(migrator.PgConn().PID()),
		)
	})
	second := make(chan error, 1)
	other := connect(t, url)
	go func() { second <- good.Up(t.Context(), other, "thing", Options{}) }()
	exec(t, conn, fmt.Sprintf("select pg_terminate_backend(%d)", migrator.PgConn().PID()))
	if err := <-ended; err == nil {
		t.Error("the migrator was killed and says that it is done")
	}
	if err := <-second; err != nil {
		t.Errorf("the next one: %v", err)
	}
	if v := have(t, good, conn, "thing"); v != 3 {
		t.Errorf("it is at version %d, want 3", v)
	}
}

// TestUpGivesUpWithItsContext checks that Up returns when its context ends.
func TestUpGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	conn, old := connect(t, url), connect(t, url)
	s := load(t, nil)
	exec(t, old, "begin; "+lock("pg_advisory_xact_lock", "thing"))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := s.Up(ctx, conn, "thing", Options{}); err == nil || ctx.Err() == nil {
		t.Errorf("got %v", err)
	}
}

// TestUpNamesAStrangerThatHasTheLock checks that Up gives up when a session that is no migrator keeps the lock of
// migrators, and names it. Any login can take that lock.
func TestUpNamesAStrangerThatHasTheLock(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	conn, stranger := connect(t, url), connect(t, url)
	s := load(t, nil)
	exec(t, stranger, "set application_name = 'mallory'; "+lock("pg_advisory_lock", "thing"))
	err := s.Up(t.Context(), conn, "thing", Options{StrangerWait: 200 * time.Millisecond})
	want := fmt.Sprintf("held by session %d of", stranger.PgConn().PID())
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "(mallory)") {
		t.Fatalf("got %v, want %q", err, want)
	}
	// A migrator may take as long as it needs.
	exec(t, stranger, "set application_name = 'pawl migrate'")
	ended := make(chan error, 1)
	go func() { ended <- s.Up(t.Context(), conn, "thing", Options{StrangerWait: time.Millisecond}) }()
	select {
	case err := <-ended:
		t.Fatalf("beside a migrator: %v", err)
	case <-time.After(500 * time.Millisecond):
	}
	exec(t, stranger, "select pg_advisory_unlock_all()")
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
