package pawl_test

import (
	"flag"
	"io/fs"
	"os"
	"regexp"
	"testing"

	"github.com/jackc/pgx/v5"

	schema "github.com/pawlhq/pawl/internal/migrate"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/sql"
)

var update = flag.Bool("update", false, "write sql/schema.sql instead of comparing it")

// TestSchemaDump compares sql/schema.sql with what the migrations and functions make. The dump is made from the
// catalog rather than by pg_dump, whose text differs from version to version.
func TestSchemaDump(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.Database(t))
	query, err := sql.Files.ReadFile("query/catalog.sql")
	if err != nil {
		t.Fatal(err)
	}
	rows, _ := pool.Query(t.Context(), string(query), "pawl")
	objects, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (schema.Object,
		error) {
		return schema.ScanObject(row)
	})
	if err != nil {
		t.Fatal(err)
	}
	dump := schema.Dump(objects)
	if *update {
		if err := os.WriteFile("sql/schema.sql", []byte(dump), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile("sql/schema.sql")
	if err != nil || string(want) != dump {
		t.Fatalf("sql/schema.sql is stale (%v): run `make schema`; it should be\n%s", err, dump)
	}
}

// TestReadmeProgram checks that the program in the README is examples/first, which compiles.
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

// TestFunctionsCompile creates each function again with checks. The migrator creates them without, because they
// call each other.
func TestFunctionsCompile(t *testing.T) {
	t.Parallel()
	_, pool := install(t)
	names, err := fs.Glob(sql.Files, "function/*/*.sql")
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
