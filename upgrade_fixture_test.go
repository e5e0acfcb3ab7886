package pawl_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	migrator "github.com/pawlhq/pawl/internal/migrate"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/sql"
)

func connectTo(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// nextRelease returns this binary's schema with made-up migrations after it, of every kind that the rules allow, and
// a function with one more parameter. It stands for the next release.
func nextRelease(t testing.TB) *migrator.Source {
	t.Helper()
	files := fstest.MapFS{}
	must(t, fs.WalkDir(sql.Files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := sql.Files.ReadFile(path)
		files[path] = &fstest.MapFile{Data: text}
		return err
	}))
	source, err := migrator.Load(sql.Files, "pawl.")
	must(t, err)
	for i, text := range []string{
		"alter table pawl.job add column region text, add column weight integer not null default 1;\n" +
			"create table pawl.region (name text primary key);\nalter table pawl.queue add column region text;",
		"-- outside a transaction\ncreate index concurrently job_kind on pawl.job (kind, id);",
		"alter table pawl.ready add column region text;",
		"-- outside a transaction\ncreate index concurrently dead_kind on pawl.dead (kind, id);",
	} {
		files[fmt.Sprintf("migration/%04d_next.sql", source.Version()+1+i)] = &fstest.MapFile{Data: []byte(text)}
	}
	beat := string(files["function/worker/heartbeat.sql"].Data)
	more := strings.Replace(beat, "problem text default null\n)",
		"problem text default null, region text default null\n)", 1)
	if more == beat {
		t.Fatal("heartbeat.sql has no such parameters any more: choose another function")
	}
	drop := "drop function if exists pawl.heartbeat(bigint, integer, bigint[], integer[], text[], text);\n"
	files["function/worker/heartbeat.sql"] = &fstest.MapFile{Data: []byte(drop + more)}
	source, err = migrator.Load(files, "pawl.")
	must(t, err)
	return source
}

// runScript runs a text as psql does, one statement at a time.
func runScript(t testing.TB, conn *pgx.Conn, text string) {
	t.Helper()
	for _, s := range statementsOf(text) {
		if _, err := conn.Exec(t.Context(), s.text); err != nil {
			t.Fatalf("%.2000s\n%v", s.text, err)
		}
	}
}

// describeSchema returns everything that a migration makes, as text.
func describeSchema(t testing.TB, pool *pgxpool.Pool, schema string) string {
	t.Helper()
	return strings.Join(append(values[string](t, pool, `
		select pg_get_functiondef(p.oid) || coalesce(p.proacl::text, '')
		from pg_proc p where p.pronamespace = quote_ident($1)::regnamespace
		union all
		select indexrelid::regclass::text || indisvalid
		from pg_index i join pg_class c on c.oid = i.indexrelid where c.relnamespace = quote_ident($1)::regnamespace
		union all
		select c.relname || coalesce(c.relacl::text, '') || coalesce(array_to_string(c.reloptions, ','), '')
		from pg_class c where c.relnamespace = quote_ident($1)::regnamespace and c.relkind <> 'i'
		union all
		select nspname || coalesce(nspacl::text, '') from pg_namespace where nspname = $1
		union all
		select format('%s.%s %s %s %s %s', attrelid::regclass, attname, format_type(atttypid, atttypmod),
			attnotnull, attcollation, attstorage)
		from pg_attribute a join pg_class c on c.oid = a.attrelid
		where c.relnamespace = quote_ident($1)::regnamespace and attnum > 0 and not attisdropped
		union all
		select conrelid::regclass || pg_get_constraintdef(oid)
		from pg_constraint where connamespace = quote_ident($1)::regnamespace
		union all
		select pg_get_expr(d.adbin, d.adrelid)
		from pg_attrdef d join pg_class c on c.oid = d.adrelid where c.relnamespace = quote_ident($1)::regnamespace
		union all
		select pg_get_indexdef(c.oid)
		from pg_class c where c.relnamespace = quote_ident($1)::regnamespace and c.relkind in ('i', 'I')
		order by 1`, schema),
		values[string](t, pool, "select version || name from "+pgx.Identifier{schema}.Sanitize()+
			".migration order by version")...), "\n")
}

// keptSchema returns a new database with the schema of a kept version.
func keptSchema(t testing.TB, version int) (url string) {
	t.Helper()
	url = pgtest.Empty(t)
	text, err := os.ReadFile(filepath.Join(frozenFolder(version), "schema.sql"))
	must(t, err)
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	runScript(t, conn, string(text))
	return url
}

// migrateTo migrates a database to the schema of a source.
func migrateTo(t testing.TB, url string, source *migrator.Source) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	must(t, source.Up(t.Context(), conn, "pawl", migrator.Options{}))
}

// frozenVersions returns the kept versions, oldest first. It skips the test while statements are recorded, because the
// test would send those of older versions.
func frozenVersions(t testing.TB) (versions []int) {
	t.Helper()
	if os.Getenv(pgtest.EnvRecord) != "" {
		t.Skip("the statements of this binary are recorded")
	}
	names, err := filepath.Glob("testdata/upgrade/[0-9][0-9][0-9][0-9]")
	if err != nil || len(names) == 0 {
		t.Fatalf("no version is kept: run `make freeze` (%v)", err)
	}
	for _, name := range names {
		var version int
		if _, err := fmt.Sscanf(filepath.Base(name), "%d", &version); err != nil {
			t.Fatal(err)
		}
		versions = append(versions, version)
	}
	return versions
}

// describeStatement returns the parameters and columns of a statement in the database of conn.
func describeStatement(t testing.TB, conn *pgx.Conn, text string) (s frozenStatement, err error) {
	t.Helper()
	s.text = text
	switch {
	case s.isOrder():
		return s, nil
	case s.isCopy():
		parts := regexp.MustCompile(`^copy (\S+) \((.*)\) from stdin$`).FindStringSubmatch(text)
		s.takes = values[string](t, conn, `select format_type(a.atttypid, a.atttypmod)
			from unnest($2::text[]) with ordinality as u (name, ord)
			join pg_attribute a on a.attrelid = $1::text::regclass and a.attname = u.name
			order by u.ord`, parts[1], strings.Split(parts[2], ", "))
		if n := strings.Count(parts[2], ",") + 1; len(s.takes) != n {
			return s, fmt.Errorf("of %d columns %d are there", n, len(s.takes))
		}
		return s, nil
	}
	described, err := conn.Prepare(t.Context(), "", text)
	if err != nil {
		return s, err
	}
	oids, names := described.ParamOIDs, []string{}
	for _, field := range described.Fields {
		oids, names = append(oids, field.DataTypeOID), append(names, field.Name)
	}
	types := values[string](t, conn, `select format_type(u.oid, null)
		from unnest($1::oid[]) with ordinality as u (oid, ord) order by u.ord`, oids)
	s.takes = types[:len(described.ParamOIDs)]
	for i, name := range names {
		s.gives = append(s.gives, name+" "+types[len(described.ParamOIDs)+i])
	}
	return s, nil
}

// frozenStatements reads the statements that the binary of a version sends.
func frozenStatements(t testing.TB, version int) (list []frozenStatement) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(frozenFolder(version), "statements.sql"))
	if err != nil {
		t.Fatal(err)
	}
	split := func(s string) []string {
		if s == "" {
			return nil
		}
		return strings.Split(s, ", ")
	}
	entry := regexp.MustCompile(`(?ms)^([a-z].*?);\n-- takes ?(.*?)\n-- gives ?(.*?)\n`)
	for _, m := range entry.FindAllStringSubmatch(string(b), -1) {
		list = append(list, frozenStatement{m[1], split(m[2]), split(m[3])})
	}
	if len(list) < 50 {
		t.Fatalf("only %d statements of version %d were found", len(list), version)
	}
	return list
}

// frozenFolder returns the folder that keeps a version's schema and statements.
func frozenFolder(version int) string { return fmt.Sprintf("testdata/upgrade/%04d", version) }

// A frozenStatement is a statement that the binary of a version sends: its text with $1, $2, … and the schema's
// name pawl. For a COPY the text is "copy pawl.table (columns) from stdin".
type frozenStatement struct {
	text  string
	takes []string // Types of its parameters, or of the columns it copies.
	gives []string // Names and types of the columns it returns.
}

func (s frozenStatement) String() string {
	return fmt.Sprintf("%s;\n-- takes %s\n-- gives %s\n", s.text, strings.Join(s.takes, ", "),
		strings.Join(s.gives, ", "))
}

func (s frozenStatement) isCopy() bool { return strings.HasPrefix(s.text, "copy ") }

// isOrder reports whether the statement has no plan. Such statements are executed, in the order of the file.
func (s frozenStatement) isOrder() bool {
	return slices.ContainsFunc(orders, func(verb string) bool { return strings.HasPrefix(s.text, verb) })
}

// orders are the beginnings of statements without a plan, in the order in which the binary sends them.
var orders = []string{"listen ", "alter table pawl.archive_20200229 ", "alter table pawl.archive_chunk attach ",
	"alter table pawl.archive_chunk detach ", "drop "}
