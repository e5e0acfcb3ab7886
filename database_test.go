package pawl_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

type queryer interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// values returns the rows of a query with one column.
func values[T any](t testing.TB, db queryer, sql string, args ...any) []T {
	t.Helper()
	rows, _ := db.Query(t.Context(), sql, args...)
	list, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return list
}

// value returns the only row of a query with one column.
func value[T any](t testing.TB, db queryer, sql string, args ...any) T {
	t.Helper()
	list := values[T](t, db, sql, args...)
	if len(list) != 1 {
		t.Fatalf("%s: %d rows, want one", sql, len(list))
	}
	return list[0]
}

type execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

func exec(t testing.TB, db execer, sql string, args ...any) {
	t.Helper()
	if _, err := db.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// begin opens a transaction. If it is still open at the end of the test, it is rolled back.
func begin(t testing.TB, pool *pgxpool.Pool) pgx.Tx {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback(context.Background()) })
	return tx
}

func commit(t testing.TB, tx pgx.Tx) {
	t.Helper()
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// stdTx returns a database/sql transaction on the pool.
func stdTx(t testing.TB, pool *pgxpool.Pool) *sql.Tx {
	t.Helper()
	db := stdlib.OpenDBFromPool(pool)
	t.Cleanup(func() { db.Close() })
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback() })
	return tx
}

const (
	dropFunctions = `do $$ declare f text; begin
		for f in select oid::regprocedure from pg_proc where pronamespace = 'pawl'::regnamespace loop
			execute 'drop function ' || f;
		end loop;
	end $$`
	// eachPartition runs a statement with each partition's name at its end.
	eachPartition = `do $$ declare p text; begin
		for p in select inhrelid::regclass from pg_inherits where inhparent = 'pawl.archive_chunk'::regclass loop
			execute '%s ' || p;
		end loop;
	end $$`
	replacedFunction = "create or replace function pawl.poke_heartbeats() returns void language sql as 'select'"
	otherIndex       = "drop index pawl.dead_queue; create index dead_queue on pawl.dead (id)"
)

// statementsOf cuts a block at semicolons that end a line outside of $$.
func statementsOf(block string) (list []pageStatement) {
	var text strings.Builder
	for line := range strings.Lines(block) {
		line = strings.TrimRight(line, "\n")
		code, _, _ := strings.Cut(line, "  --")
		row, isRow := strings.CutPrefix(line, "-- → ")
		state, fails := strings.CutPrefix(line, "-- ! ")
		switch {
		case isRow && text.Len() == 0:
			list[len(list)-1].rows = append(list[len(list)-1].rows, row)
			continue
		case fails && text.Len() == 0:
			list[len(list)-1].fails = state
			continue
		case strings.HasPrefix(line, "--") && text.Len() == 0:
			continue
		}
		text.WriteString(line + "\n")
		// For a schema with a dollar in its name, the migrator writes $_$ instead of $$.
		quotes := strings.Count(text.String(), "$$") + strings.Count(text.String(), "$_$")
		if strings.HasSuffix(strings.TrimSpace(code), ";") && quotes%2 == 0 {
			list = append(list, pageStatement{text: text.String()})
			text.Reset()
		}
	}
	return list
}

type pageStatement struct {
	text, fails string
	rows        []string
}
