package pg

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

// SQLQuerier is the method of database/sql's Tx, DB and Conn, and of their wrappers, that runs a statement.
type SQLQuerier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// OnSQL returns a DB on database/sql, with any driver for PostgreSQL, or on a wrapper of database/sql.
//
// If a wrapper embeds a *sql.Tx or *sql.Conn, statements run on that, and the wrapper does not see them. The wrapper
// may write parameters into the text itself, at placeholders of its own (bun), or prepare each statement by name
// (gorm with PrepareStmt), which a transaction pooler breaks. Of other wrappers, the first statement finds out what
// they do with parameters: see passing.
//
// Parameters go as text, which every driver passes on. But none may be of type bytea, because lib/pq encodes its text
// once more. An array of bytea may.
func OnSQL(db SQLQuerier) DB {
	if inner := embedded[*sql.Tx](db); inner != nil {
		db = inner
	} else if inner := embedded[*sql.Conn](db); inner != nil {
		db = inner
	}
	return &sqlDB{db: db}
}

type sqlDB struct {
	db      SQLQuerier
	passing atomic.Int32 // A passing; 0 if it is not known yet.
}

// passing says how parameters get to the server.
type passing int32

const (
	asParameters passing = 1 + iota // The driver sends them.
	asPgx                           // The driver is pgx: a mode before them says not to prepare by name.
	asLiterals                      // They are written into the text.
)

func (d *sqlDB) Query(ctx context.Context, text string, args []any, each func(Row) error) error {
	send := func() error { return d.send(ctx, text, args, each) }
	err := send()
	if err == nil {
		return nil
	}
	return inUTF8(err, d.setEncoding(ctx), send, d.alone(ctx, text, args, each))
}

// setEncoding sets client_encoding until the end of the transaction. The driver is pgx, because only pgx asks
// sessionGuard.
func (d *sqlDB) setEncoding(ctx context.Context) func(string) error {
	return func(encoding string) error {
		rows, err := d.db.QueryContext(ctx, setEncodingText, pgx.QueryExecModeExec, encoding)
		if err != nil {
			return err
		}
		return errors.Join(rows.Err(), rows.Close())
	}
}

// alone returns a function that sends a statement in a transaction of its own, or nil if none can be begun.
func (d *sqlDB) alone(ctx context.Context, text string, args []any, each func(Row) error) func() error {
	on, ok := d.db.(interface {
		BeginTx(ctx context.Context, options *sql.TxOptions) (*sql.Tx, error)
	})
	if !ok {
		return nil
	}
	return func() error {
		tx, err := on.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		in := &sqlDB{db: tx}
		in.passing.Store(int32(asPgx))
		if err := in.setEncoding(ctx)(utf8); err != nil {
			return err
		}
		if err := in.send(ctx, text, args, each); err != nil {
			return err
		}
		return tx.Commit()
	}
}

func (d *sqlDB) send(ctx context.Context, text string, args []any, each func(Row) error) error {
	rows, err := d.query(ctx, text, args)
	if err != nil {
		return explain(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return explain(rows.Err())
}

func (d *sqlDB) query(ctx context.Context, text string, args []any) (*sql.Rows, error) {
	p := passing(d.passing.Load())
	if p == 0 {
		var certain bool
		if p, certain = probe(ctx, d.db); certain {
			d.passing.Store(int32(p))
		}
	}
	texts := make([]any, 0, 1+len(args))
	switch p {
	case asLiterals:
		return d.db.QueryContext(ctx, inline(text, args))
	case asPgx:
		texts = append(texts, pgx.QueryExecModeCacheDescribe, sessionGuard{})
	}
	for _, arg := range args {
		texts = append(texts, Text(arg))
	}
	return d.db.QueryContext(ctx, text, texts...)
}

// probe finds out how db passes parameters on. It runs a statement that takes no parameter with a parameter that
// stops it before it is sent. If the wrapper dropped the parameter, the statement has run, which does no harm. If it
// failed before the parameter was seen, either the wrapper has prepared it and counted its parameters, or the
// connection has failed. The result is not certain then.
func probe(ctx context.Context, db SQLQuerier) (p passing, certain bool) {
	k := &probeParameter{}
	rows, err := db.QueryContext(ctx, "select 1 where false", k)
	if err == nil {
		err = errors.Join(rows.Err(), rows.Close())
	}
	switch {
	case k.pgx:
		return asPgx, true
	case k.other:
		return asParameters, true
	case err == nil:
		return asLiterals, true
	}
	return asParameters, false
}

var errProbed = errors.New("the driver is known; nothing was sent")

// probeParameter learns which driver it has got to. pgx asks it to rewrite the statement. Before any other driver,
// database/sql asks it for its value. It refuses both, so nothing is sent.
type probeParameter struct{ pgx, other bool }

// RewriteQuery implements pgx.QueryRewriter.
func (k *probeParameter) RewriteQuery(context.Context, *pgx.Conn, string, []any) (string, []any, error) {
	k.pgx = true
	return "", nil, errProbed
}

// Value implements driver.Valuer.
func (k *probeParameter) Value() (driver.Value, error) {
	k.other = true
	return nil, errProbed
}

// embedded returns the T that a wrapper embeds, or nil. A *sql.Tx and a *sql.Conn are one session of the server, so a
// statement on either is in the wrapper's transaction. A statement on an embedded *sql.DB would not be.
func embedded[T comparable](db SQLQuerier) (inner T) {
	v := reflect.ValueOf(db)
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return inner
	}
	for i := range v.NumField() {
		if field := v.Type().Field(i); field.Anonymous && field.IsExported() {
			if found, ok := v.Field(i).Interface().(T); ok && found != inner {
				return found
			}
		}
	}
	return inner
}

// placeholder matches placeholders, and quoted names and strings, which may have the form of one.
var placeholder = regexp.MustCompile(`\$[0-9]+|"[^"]*"|'[^']*'`)

// inline writes parameters into a statement as literals.
func inline(text string, args []any) string {
	return placeholder.ReplaceAllStringFunc(text, func(name string) string {
		n, err := strconv.Atoi(name[1:])
		if name[0] != '$' || err != nil || n < 1 || n > len(args) {
			return name
		}
		return literal(Text(args[n-1]))
	})
}

// literal quotes what Text returns.
func literal(text any) string {
	s, ok := text.(string)
	if !ok {
		return "null"
	}
	s = strings.ReplaceAll(s, "'", "''")
	if strings.Contains(s, `\`) {
		return " E'" + strings.ReplaceAll(s, `\`, `\\`) + "'"
	}
	return "'" + s + "'"
}

// explain adds advice to the error of a prepared statement that is on another connection to the server, and of a null
// that was read as text.
func explain(err error) error {
	switch SQLState(err) {
	case "22P02":
		if strings.Contains(err.Error(), `"NULL"`) {
			return fmt.Errorf("the setting array_nulls is off, and database/sql sends arrays as text:"+
				" turn it on for this role, or use pgx: %w", err)
		}
	case "26000", "42P05":
		return fmt.Errorf("the driver prepares statements by name, and a transaction pooler in between runs them"+
			" on another connection: have the driver prepare none (lib/pq: binary_parameters=yes in the"+
			" connection string), or have PgBouncer 1.21 or later keep them (max_prepared_statements): %w", err)
	}
	return err
}
