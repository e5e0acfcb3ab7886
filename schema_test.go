package pawl_test

import (
	"flag"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/sql"
)

var update = flag.Bool("update", false, "write sql/schema.sql instead of comparing it")

// TestSchemaDump compares sql/schema.sql with what the migrations and functions make. The dump is made from the catalog rather
// than by pg_dump, whose text differs from version to version.
func TestSchemaDump(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.Database(t))
	rows, err := pool.Query(t.Context(), `
		select 1, c.relname, format('table %I (%s)%s%s', c.relname,
		         (select string_agg(format(E'\n  %I %s%s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
		                   case when a.attcollation <> 0 and a.attcollation <> (select typcollation from pg_type t where t.oid = a.atttypid)
		                        then ' collate ' || quote_ident((select collname from pg_collation l where l.oid = a.attcollation)) else '' end,
		                   case when a.attnotnull then ' not null' else '' end,
		                   coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')), ',' order by a.attnum)
		          from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
		          where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) || E'\n',
		         coalesce(' partition by ' || pg_get_partkeydef(c.oid), ''), coalesce(' with (' || array_to_string(c.reloptions, ', ') || ')', ''))
		from pg_class c where c.relnamespace = 'pawl'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
		union all
		select 2, c.relname, pg_get_indexdef(c.oid) from pg_class c
		where c.relnamespace = 'pawl'::regnamespace and c.relkind in ('i', 'I') and not c.relispartition
		union all
		select 3, c.relname, format('sequence %I cache %s', c.relname, s.seqcache) from pg_class c join pg_sequence s on s.seqrelid = c.oid
		where c.relnamespace = 'pawl'::regnamespace
		union all
		select 4, p.proname, format(E'function %I(%s)\n  returns %s', p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid))
		from pg_proc p where p.pronamespace = 'pawl'::regnamespace
		order by 1, 2, 3`)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("-- What the migrations and functions make, for reading. Made by `make schema`; a test compares it.\n")
	for rows.Next() {
		var kind int
		var name, text string
		if err := rows.Scan(&kind, &name, &text); err != nil {
			t.Fatal(err)
		}
		b.WriteString("\n" + text + ";\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("sql/schema.sql", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile("sql/schema.sql")
	if err != nil || string(want) != b.String() {
		t.Fatalf("sql/schema.sql is stale (%v): run `make schema`; it should be\n%s", err, b.String())
	}
}

// TestReadmeProgram: the README's program is examples/first, which compiles.
func TestReadmeProgram(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("examples/first/main.go")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```go\n(package main.*?)```").FindSubmatch(readme)
	if found == nil || string(found[1]) != string(program) {
		t.Fatal("the README's program is not examples/first/main.go")
	}
}

// The migrator makes functions unchecked, because they call each other in whatever order they come. Here all are there.
func TestFunctionsCompile(t *testing.T) {
	t.Parallel()
	_, pool := install(t)
	names, err := fs.Glob(sql.Files, "function/*.sql")
	if err != nil || len(names) == 0 {
		t.Fatalf("%d functions (%v)", len(names), err)
	}
	for _, name := range names {
		text, err := sql.Files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pool.Exec(t.Context(), string(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
