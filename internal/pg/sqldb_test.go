package pg

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/lib/pq"

	"github.com/pawlhq/pawl/internal/pgtest"
)

// formatting is a wrapper that passes no parameters on, like bun. It counts the statements it sees.
type formatting struct {
	*sql.Tx
	seen int
}

func (f *formatting) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	f.seen++
	return f.Tx.QueryContext(ctx, query)
}

// preparing is a wrapper that prepares every statement, like gorm with PrepareStmt.
type preparing struct{ *sql.Tx }

func (p preparing) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	stmt, err := p.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

// hidden has the one method, and embeds nothing.
type hidden struct{ db SQLQuerier }

func (h hidden) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return h.db.QueryContext(ctx, query, args...)
}

// drivers are databases of pgx's driver and of lib/pq, with their defaults.
func drivers(t testing.TB, url string) map[string]*sql.DB {
	t.Helper()
	other, err := sql.Open("pgx", url)
	must(t, err)
	connector, err := pq.NewConnector(url)
	must(t, err)
	dbs := map[string]*sql.DB{"pgx": other, "lib/pq": sql.OpenDB(connector)}
	for _, db := range dbs {
		t.Cleanup(func() { db.Close() })
	}
	return dbs
}

var _ = stdlib.GetDefaultDriver // It registers the driver "pgx".

// Every kind of parameter gets to the server, however a wrapper passes it on, and the transaction lives on.
func TestOnSQL(t *testing.T) {
	t.Parallel()
	wrappers := map[string]func(*sql.Tx) SQLQuerier{
		"none":               func(tx *sql.Tx) SQLQuerier { return tx },
		"plain":              func(tx *sql.Tx) SQLQuerier { return hidden{tx} },
		"formatting":         func(tx *sql.Tx) SQLQuerier { return &formatting{Tx: tx} },
		"formatting, hidden": func(tx *sql.Tx) SQLQuerier { return hidden{&formatting{Tx: tx}} },
		"preparing":          func(tx *sql.Tx) SQLQuerier { return preparing{tx} },
		"preparing, hidden":  func(tx *sql.Tx) SQLQuerier { return hidden{preparing{tx}} },
	}
	for driver, db := range drivers(t, pgtest.Direct(t, pgtest.Database(t))) {
		for name, wrap := range wrappers {
			t.Run(driver+" "+name, func(t *testing.T) {
				t.Parallel()
				tx, err := db.BeginTx(t.Context(), nil)
				must(t, err)
				defer tx.Rollback()
				_, err = tx.ExecContext(t.Context(), "create temporary table mine on commit drop as select 1")
				must(t, err)
				on := OnSQL(wrap(tx))
				for range 3 {
					useParameters(t, on)
				}
			})
		}
	}
}

// useParameters runs statements with and without parameters in a transaction that has a table mine.
func useParameters(t *testing.T, db DB) {
	t.Helper()
	text, at := `it's $1 "a" \ ? é`, time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	var gotText, list, bytes string
	var gotAt time.Time
	var n int
	var isNull, flag bool
	err := db.Query(t.Context(), `select $1::text, $2::text[]::text, encode(($3::bytea[])[1], 'hex'),
		$4::timestamptz, $5::bigint,
		$6::text is null, $7::boolean, count(*) from mine group by ()`,
		[]any{text, []string{text, "b"}, [][]byte{{0, 255}}, at, int64(-7), (*string)(nil), true},
		func(row Row) error {
			var rows int
			return row.Scan(&gotText, &list, &bytes, &gotAt, &n, &isNull, &flag, &rows)
		})
	must(t, err)
	if gotText != text || bytes != "00ff" || !gotAt.Equal(at) || n != -7 || !isNull || !flag {
		t.Errorf("got %q, %q, %v, %d, %t, %t", gotText, bytes, gotAt, n, isNull, flag)
	}
	if want := `{"it's $1 \"a\" \\ ? é",b}`; list != want {
		t.Errorf("got the array %s, want %s", list, want)
	}
	must(t, db.Query(t.Context(), "select count(*) from mine", nil, func(row Row) error { return row.Scan(&n) }))
	if n != 1 {
		t.Errorf("counted %d", n)
	}
}

// Wrappers that embed a transaction work behind a transaction pooler, because statements go past them.
func TestOnSQLThroughAPooler(t *testing.T) {
	t.Parallel()
	url := pgtest.Direct(t, pgtest.Database(t))
	pooler := pgtest.Pooler(t, nil, map[string]string{"default_pool_size": "3"})
	dbs := drivers(t, pooler.URL(pgtest.Name(t, url)))
	connector, err := pq.NewConnector(pooler.URL(pgtest.Name(t, url)) + "&binary_parameters=yes")
	must(t, err)
	dbs["lib/pq"] = sql.OpenDB(connector)
	t.Cleanup(func() { dbs["lib/pq"].Close() })
	for driver, db := range dbs {
		for name, wrap := range map[string]func(*sql.Tx) SQLQuerier{
			"none":       func(tx *sql.Tx) SQLQuerier { return tx },
			"formatting": func(tx *sql.Tx) SQLQuerier { return &formatting{Tx: tx} },
			"preparing":  func(tx *sql.Tx) SQLQuerier { return preparing{tx} },
		} {
			t.Run(driver+" "+name, func(t *testing.T) {
				t.Parallel()
				for range 12 {
					t.Run("", func(t *testing.T) {
						t.Parallel()
						tx, err := db.BeginTx(t.Context(), nil)
						must(t, err)
						defer tx.Rollback()
						on := OnSQL(wrap(tx))
						for range 3 {
							n := 0
							must(t, on.Query(t.Context(), "select $1::bigint", []any{int64(7)},
								func(row Row) error { return row.Scan(&n) }))
							if n != 7 {
								t.Errorf("got %d", n)
							}
						}
					})
				}
			})
		}
	}
}

// A wrapper is probed once. If it embeds a transaction, it sees no statement.
func TestOnSQLProbesOnce(t *testing.T) {
	t.Parallel()
	for driver, db := range drivers(t, pgtest.Direct(t, pgtest.Database(t))) {
		tx, err := db.BeginTx(t.Context(), nil)
		must(t, err)
		defer tx.Rollback()
		inner, outer := &formatting{Tx: tx}, &formatting{Tx: tx}
		for db, want := range map[SQLQuerier]int{inner: 0, hidden{outer}: 4} {
			on := OnSQL(db)
			for range 3 {
				must(t, on.Query(t.Context(), "select $1::text", []any{"a"}, func(Row) error { return nil }))
			}
			if got := inner.seen + outer.seen; got != want {
				t.Errorf("%s: the wrapper saw %d statements, want %d", driver, got, want)
			}
			inner.seen, outer.seen = 0, 0
		}
	}
}

// A failed statement ends as an error of the server, and one of a lost prepared statement says what to do.
func TestOnSQLErrors(t *testing.T) {
	t.Parallel()
	for driver, db := range drivers(t, pgtest.Direct(t, pgtest.Database(t))) {
		err := OnSQL(db).Query(t.Context(), "select $1::text from missing", []any{"a"}, func(Row) error { return nil })
		if SQLState(err) != "42P01" || !IsMissing(err) {
			t.Errorf("%s: got %v", driver, err)
		}
	}
	lost := fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: "26000"})
	err := explain(lost)
	if !errors.Is(err, lost) || !strings.Contains(err.Error(), "max_prepared_statements") {
		t.Errorf("got %v", err)
	}
}
