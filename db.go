package pawl

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
	"strings"
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
// On pgx it uses CacheDescribe: no prepared statement outlives the call, so a transaction pooler may sit in between, and no
// plan made on an empty table is kept; Pawl's own statements are calls of functions, which keep their plans themselves.
// On database/sql all parameters go as text, which every driver for PostgreSQL passes on.
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
	case stdDB:
		texts := make([]any, len(args))
		for i, arg := range args {
			texts[i] = textParam(arg)
		}
		rows, err := db.QueryContext(ctx, text, texts...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := each(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	default:
		panic(fmt.Sprintf("pawl: With(%T): want a pgx Tx, Conn or Pool, or a database/sql Tx, DB or Conn", db))
	}
}

func checkDB(db DB) {
	switch db.(type) {
	case pgxDB, stdDB:
	default:
		panic(fmt.Sprintf("pawl: With(%T): want a pgx Tx, Conn or Pool, or a database/sql Tx, DB or Conn", db))
	}
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
