package migrate

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m, nil) }

// files returns a source of three versions, each of which fails if it is applied twice.
func files() fstest.MapFS {
	return fstest.MapFS{
		"migration/0001_one.sql":   {Data: []byte("create table thing.one (n int);")},
		"migration/0002_two.sql":   {Data: []byte("create table thing.two (n int); insert into thing.one values (2);")},
		"migration/0003_three.sql": {Data: []byte("create table thing.three (n int);")},
		"function/x/b.sql": {
			Data: []byte("create or replace function thing.b() returns int language sql as 'select thing.a() + 1'"),
		},
		"function/x/a.sql": {
			Data: []byte(
				"create or replace function thing.a() returns int language sql as 'select count(*)::int from thing.three'",
			),
		},
	}
}

func load(t *testing.T, edit func(fstest.MapFS)) *Source {
	t.Helper()
	all := files()
	if edit != nil {
		edit(all)
	}
	source, err := Load(all, "thing.")
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// own returns a database without a pooler, so that the test can tell sessions apart and kill them.
func own(t *testing.T) (url string) { return pgtest.Direct(t, pgtest.Empty(t)) }

func have(t *testing.T, s *Source, conn *pgx.Conn, schema string) int {
	t.Helper()
	version, err := s.Have(t.Context(), conn, schema)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func TestLoadWantsNumbersWithoutGaps(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(fstest.MapFS){
		"a gap":        func(f fstest.MapFS) { delete(f, "migration/0002_two.sql") },
		"a double":     func(f fstest.MapFS) { f["migration/0002_zwei.sql"] = f["migration/0002_two.sql"] },
		"not a number": func(f fstest.MapFS) { f["migration/four.sql"] = f["migration/0002_two.sql"] },
	} {
		all := files()
		edit(all)
		if _, err := Load(all, "thing."); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestUpStepByStep(t *testing.T) {
	t.Parallel()
	s, conn := load(t, nil), connect(t, pgtest.Empty(t))
	if v := have(t, s, conn, "thing"); v != 0 {
		t.Errorf("nothing is there, and it is at version %d", v)
	}
	for _, to := range []int{1, 1, 2, 0, 3} {
		if err := s.Up(t.Context(), conn, "thing", Options{To: to}); err != nil {
			t.Fatalf("up to %d: %v", to, err)
		}
		want := to
		if to == 0 {
			want = 3
		}
		if v := have(t, s, conn, "thing"); v != want {
			t.Errorf("up to %d: it is at version %d", to, v)
		}
	}
	if err := s.Up(t.Context(), conn, "thing", Options{To: 1}); err != nil || have(t, s, conn, "thing") != 3 {
		t.Errorf("up to a version gone by: %v, and it is at %d", err, have(t, s, conn, "thing"))
	}
	for _, to := range []int{-1, 4} {
		if err := s.Up(t.Context(), conn, "thing", Options{To: to}); err == nil {
			t.Errorf("up to %d returned nil", to)
		}
	}
	var n int
	if err := conn.QueryRow(t.Context(), "select thing.b()").Scan(&n); err != nil || n != 1 {
		t.Errorf("the functions: %d, %v", n, err)
	}
}

func TestUpConcurrently(t *testing.T) {
	t.Parallel()
	s, url := load(t, nil), pgtest.Empty(t)
	var all sync.WaitGroup
	for range 5 {
		conn := connect(t, url)
		all.Go(func() {
			if err := s.Up(t.Context(), conn, "thing", Options{}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestAStepThatFailsLeavesTheSchemaAsItWas(t *testing.T) {
	t.Parallel()
	conn := connect(t, pgtest.Empty(t))
	if err := load(t, nil).Up(t.Context(), conn, "thing", Options{To: 1}); err != nil {
		t.Fatal(err)
	}
	broken := load(t, func(f fstest.MapFS) {
		f["migration/0003_three.sql"] = &fstest.MapFile{
			Data: []byte("create table thing.half (n int);\nselect no_such_thing();"),
		}
	})
	err := broken.Up(t.Context(), conn, "thing", Options{})
	if err == nil || !strings.Contains(err.Error(), `migration 3 (three), at "select no_such_thing();"`) {
		t.Errorf("got %v, want it to say what is wrong", err)
	}
	if v := have(t, broken, conn, "thing"); v != 1 {
		t.Errorf("it is at version %d, want 1", v)
	}
	var half bool
	if err := conn.QueryRow(t.Context(), "select to_regclass('thing.two') is not null").Scan(&half); err != nil || half {
		t.Errorf("half a migration is there: %t, %v", half, err)
	}
	if err := load(t, nil).Up(t.Context(), conn, "thing", Options{}); err != nil {
		t.Errorf("and with the mistake mended: %v", err)
	}
}

func TestANewerSchemaIsLeftAlone(t *testing.T) {
	t.Parallel()
	conn := connect(t, pgtest.Empty(t))
	if err := load(t, nil).Up(t.Context(), conn, "thing", Options{}); err != nil {
		t.Fatal(err)
	}
	older := load(t, func(f fstest.MapFS) {
		delete(f, "migration/0003_three.sql")
		f["function/x/b.sql"] = &fstest.MapFile{
			Data: []byte("create or replace function thing.b() returns int language sql as 'select 1000'"),
		}
	})
	err := older.Up(t.Context(), conn, "thing", Options{})
	if version, ok := errors.AsType[*VersionError](err); !ok || version.Have != 3 || version.Want != 2 {
		t.Errorf("got %v, want a *VersionError with 3 and 2", err)
	}
	var n int
	if err := conn.QueryRow(t.Context(), "select thing.b()").Scan(&n); err != nil || n != 1 {
		t.Errorf("the functions of a newer schema were replaced: %d, %v", n, err)
	}
}

func TestSchemaNames(t *testing.T) {
	t.Parallel()
	conn := connect(t, pgtest.Empty(t))
	s := load(t, nil)
	for _, name := range []string{"thing", "Thing", "select", "_x$1", strings.Repeat("x", 63)} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if err := s.Up(t.Context(), conn, name, Options{}); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if v := have(t, s, conn, name); v != 3 {
			t.Errorf("%q is at version %d", name, v)
		}
	}
	if err := s.Down(t.Context(), conn, "Thing"); err != nil {
		t.Error(err)
	}
	if have(t, s, conn, "Thing") != 0 || have(t, s, conn, "thing") != 3 {
		t.Error("Down dropped another schema, or not the one meant")
	}
	for _, name := range []string{"", "1x", "$x", "a b", `a"b`, "a.b", "ä", strings.Repeat("x", 64)} {
		if CheckName(name) == nil {
			t.Errorf("%q was accepted", name)
		}
	}
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	s, conn := load(t, nil), connect(t, pgtest.Empty(t))
	if err := s.Up(t.Context(), conn, "Other", Options{To: 1}); err != nil {
		t.Fatal(err)
	}
	var dry bytes.Buffer
	if err := s.Up(t.Context(), conn, "Other", Options{Dry: &dry}); err != nil {
		t.Fatal(err)
	}
	text := dry.String()
	for part, want := range map[string]bool{`"Other".one (n int)`: false, `table "Other".two`: true,
		`table "Other".three`: true, `function "Other".a`: true, "thing.": false} {
		if strings.Contains(text, part) != want {
			t.Errorf("that the dry run says %q is %t:\n%s", part, !want, text)
		}
	}
	if v := have(t, s, conn, "Other"); v != 1 {
		t.Errorf("a dry run brought it to version %d", v)
	}
}
