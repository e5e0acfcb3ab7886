package pawl

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// DB is what statements run on: a pgx Tx, Conn or Pool, a database/sql Tx, DB or Conn, or a wrapper with the methods of either.
type DB any

type pgxDB interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

type stdDB interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// scanner is the current row of either driver.
type scanner interface{ Scan(dest ...any) error }

// query runs a statement and calls each for every row.
//
// On pgx, also under database/sql, it uses CacheDescribe, whatever the connection's own mode: no prepared statement outlives the
// call, so a transaction pooler may sit in between, and no plan made on an empty table is kept; Pawl's own statements are calls of
// functions, which keep their plans themselves. On database/sql all parameters go as text, which every driver for PostgreSQL passes on.
func query(ctx context.Context, db DB, text string, args []any, each func(scanner) error) error {
	switch db := db.(type) {
	case pgxDB:
		rows, err := db.Query(ctx, text, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := each(rows); err != nil {
				return err
			}
		}
		rows.Close()
		return rows.Err()
	case *textDB:
		texts := make([]any, len(args))
		for i, arg := range args {
			texts[i] = textParam(arg)
		}
		rows, err := db.query(ctx, text, texts)
		if err != nil {
			return preparedLost(err)
		}
		defer rows.Close()
		for rows.Next() {
			if err := each(rows); err != nil {
				return err
			}
		}
		return preparedLost(rows.Err())
	default:
		panic(fmt.Sprintf("pawl: a %T to run on", db))
	}
}

// dbOf is what query takes: db itself on pgx, else a *textDB. It panics on any other type.
func dbOf(db DB) DB {
	switch db := db.(type) {
	case pgxDB:
		return db
	case stdDB:
		return &textDB{stdDB: db}
	default:
		panic(fmt.Sprintf("pawl: With(%T): want a pgx Tx, Conn or Pool, or a database/sql Tx, DB or Conn", db))
	}
}

// textDB is a DB of database/sql. A *sql.Tx does not tell its driver, and pgx must be told by a leading argument, which another driver
// would take for a parameter, not to prepare by name. So the first statement finds out.
type textDB struct {
	stdDB
	driver atomic.Int32 // 0: not known yet.
}

const (
	driverPgx   = 1
	driverOther = 2
)

func (db *textDB) query(ctx context.Context, text string, args []any) (*sql.Rows, error) {
	if db.driver.Load() == 0 {
		if len(args) > 0 {
			k := &knock{value: args[0]}
			rows, err := db.QueryContext(ctx, text, append([]any{k}, args[1:]...)...)
			if db.learn(k); !k.pgx {
				return rows, err // That was the statement.
			}
		} else {
			k := &knock{value: ""}
			rows, err := db.QueryContext(ctx, "select $1::text", k)
			if err == nil {
				rows.Close()
			}
			db.learn(k)
		}
	}
	if db.driver.Load() == driverPgx {
		args = append([]any{pgx.QueryExecModeCacheDescribe}, args...)
	}
	return db.QueryContext(ctx, text, args...)
}

func (db *textDB) learn(k *knock) {
	switch {
	case k.pgx:
		db.driver.Store(driverPgx)
	case k.taken:
		db.driver.Store(driverOther)
	}
}

// knock stands in a parameter's place. pgx has it rewrite the statement before anything is sent, which it refuses; any other driver
// takes its value.
type knock struct {
	value      driver.Value
	pgx, taken bool
}

func (k *knock) RewriteQuery(context.Context, *pgx.Conn, string, []any) (string, []any, error) {
	k.pgx = true
	return "", nil, errors.New("pawl: asking for the driver; nothing was sent")
}

func (k *knock) Value() (driver.Value, error) {
	k.taken = true
	return k.value, nil
}

// preparedLost adds to the errors of a prepared statement that is on another server connection what to do about it.
func preparedLost(err error) error {
	switch sqlState(err) {
	case "26000", "42P05":
		return fmt.Errorf("a transaction pooler is in between and the driver prepares statements, which end up on another connection: have it prepare none"+
			" (lib/pq: binary_parameters=yes in the connection string), or PgBouncer 1.21 or later keep them (max_prepared_statements): %w", err)
	}
	return err
}

// textParam writes a parameter as PostgreSQL's text form; nil stays null.
func textParam(v any) any {
	if v == nil {
		return nil
	}
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Pointer:
		if r.IsNil() {
			return nil
		}
		return textParam(r.Elem().Interface())
	case reflect.Slice:
		if b, ok := v.([]byte); ok {
			if b == nil {
				return nil
			}
			return `\x` + hex.EncodeToString(b)
		}
		if r.IsNil() {
			return nil
		}
		var b strings.Builder
		b.WriteByte('{')
		for i := range r.Len() {
			if i > 0 {
				b.WriteByte(',')
			}
			element := textParam(r.Index(i).Interface())
			if element == nil {
				b.WriteString("NULL")
				continue
			}
			b.WriteByte('"')
			for _, c := range []byte(element.(string)) {
				if c == '"' || c == '\\' {
					b.WriteByte('\\')
				}
				b.WriteByte(c)
			}
			b.WriteByte('"')
		}
		b.WriteByte('}')
		return b.String()
	}
	switch v := v.(type) {
	case time.Time:
		v = v.UTC()
		if v.Year() < 1 {
			return v.AddDate(1-2*v.Year(), 0, 0).Format("2006-01-02 15:04:05.999999Z07:00") + " BC"
		}
		return v.Format("2006-01-02 15:04:05.999999Z07:00")
	case time.Duration:
		return interval(v)
	case bool:
		return strconv.FormatBool(v)
	default:
		return fmt.Sprint(v)
	}
}

// interval writes a duration as PostgreSQL reads it, in microseconds, the finest it keeps.
func interval(d time.Duration) string {
	return strconv.FormatInt(d.Microseconds(), 10) + " microseconds"
}
