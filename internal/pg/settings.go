package pg

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A database or a role may change any setting of a session. Pawl's functions do not depend on settings. The settings
// below cannot be made harmless inside a function, because they act before it is called or on the whole transaction.
//
// Pawl's own connections pin them: see PinConfig. On a connection of another pool, a statement of Pawl runs in a
// transaction of its own that sets them, but only where they do harm: see isPlain. In a caller's transaction only the
// encoding is set, and set back.

// A pin is the value that a setting must have, and the condition, in SQL, under which its present value does harm.
// The condition is also evaluated on versions without the setting.
type pin struct{ name, value, harms string }

var pins = []pin{
	// Statements are written for read committed: a lock, and the rows it guards, are read by two statements.
	{"default_transaction_isolation", "read committed",
		"current_setting('default_transaction_isolation') not in ('read committed', 'read uncommitted')"},
	// Compiling a plan takes up to seconds; the plan runs for less than a millisecond. With the default threshold no
	// plan of the hot path is compiled.
	{"jit", "off", "current_setting('jit')::boolean and current_setting('jit_above_cost')::float8 between 0 and 99999"},
	// Functions turn off what would read a table. What they need instead must be on.
	usable("enable_indexscan"),
	usable("enable_indexonlyscan"),
	usable("enable_bitmapscan"),
	usable("enable_nestloop"),
	usable("enable_sort"),
}

func usable(name string) pin { return pin{name, "on", "not current_setting('" + name + "')::boolean"} }

// ownPins are pinned beside pins, but only on Pawl's own connections. On those, contexts limit what needs a limit.
var ownPins = []pin{
	noLimit("statement_timeout"),
	noLimit("lock_timeout"),
	noLimit("idle_in_transaction_session_timeout"),
	noLimit("idle_session_timeout"), // A connection that listens is idle for hours.
	noLimit("transaction_timeout"),
}

func noLimit(name string) pin {
	return pin{name, "0", fmt.Sprintf("coalesce(current_setting('%s', true), '0') <> '0'", name)}
}

// clientEncoding is sent when a connection starts, as libpq and most drivers do. PgBouncer keeps it for each client.
const clientEncoding, utf8 = "client_encoding", "UTF8"

// PinConfig changes the configuration of Pawl's own connections, so that they pin their settings.
//
// Behind a transaction pooler, settings of a session would leak to others. So they are set only in a server process
// that is seen to be the connection's own, and only if they do harm.
func PinConfig(config *pgxpool.Config) {
	pinEncoding(config.ConnConfig)
	before := config.AfterConnect
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		if before != nil {
			if err := before(ctx, conn); err != nil {
				return err
			}
		}
		return PinSession(ctx, conn)
	}
}

func pinEncoding(config *pgx.ConnConfig) {
	if config.RuntimeParams == nil {
		config.RuntimeParams = map[string]string{}
	}
	config.RuntimeParams[clientEncoding] = utf8
}

// PinSession sets the settings that do harm, if the server process that answers is the one that announced itself.
func PinSession(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, pinText, pgx.QueryExecModeExec, int64(conn.PgConn().PID()))
	return err
}

// The pins are read before any is set: that of jit stops the compilation of later statements only.
var pinText = func() string {
	var values []string
	for _, p := range append(ownPins, pins...) {
		values = append(values, fmt.Sprintf("('%s', '%s', %s)", p.name, p.value, p.harms))
	}
	return "select set_config(p.name, p.value, false) from (values " + strings.Join(values, ", ") +
		" offset 0) p (name, value, harms) where p.harms and pg_backend_pid() = $1::bigint"
}()

var harmText = func() string {
	var harms []string
	for _, p := range pins {
		harms = append(harms, p.harms)
	}
	return "select " + strings.Join(harms, " or ")
}()

// begin starts a transaction whose settings do no harm.
func begin(mode pgx.TxAccessMode) string {
	text := "begin isolation level read committed"
	if mode != "" {
		text += " " + string(mode)
	}
	text += "; set local " + clientEncoding + " = '" + utf8 + "'"
	for _, p := range pins[1:] { // The isolation is that of begin.
		text += "; set local " + p.name + " = '" + p.value + "'"
	}
	return text
}

// isPlain reports whether no setting of the session does harm. It asks the server once for each connection.
func isPlain(ctx context.Context, conn *pgx.Conn) (bool, error) {
	const known = "pawl: a setting does harm"
	data := conn.PgConn().CustomData()
	harm, ok := data[known].(bool)
	if !ok {
		if err := conn.QueryRow(ctx, harmText, pgx.QueryExecModeExec).Scan(&harm); err != nil {
			return false, err
		}
		data[known] = harm
	}
	return !harm && isUTF8(conn), nil
}

// Begin runs do in a transaction on the pool, at isolation level read committed, in which no setting does harm.
func Begin(ctx context.Context, pool *pgxpool.Pool, mode pgx.TxAccessMode, do func(pgx.Tx) error) error {
	return pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		return beginOn(ctx, conn, mode, do)
	})
}

func beginOn(ctx context.Context, conn *pgxpool.Conn, mode pgx.TxAccessMode, do func(pgx.Tx) error) error {
	options := pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: mode}
	plain, err := isPlain(ctx, conn.Conn())
	if err != nil {
		return err
	}
	if !plain {
		options.BeginQuery = begin(mode)
	}
	return pgx.BeginTxFunc(ctx, conn, options, do)
}

// CheckEncoding returns an error if the encoding of the connection's database is not UTF8. The server has announced
// it, so this costs nothing.
func CheckEncoding(conn *pgx.Conn) error {
	encoding := conn.PgConn().ParameterStatus("server_encoding")
	if encoding == "" || encoding == utf8 { // A pooler may hide it.
		return nil
	}
	return &encodingError{encoding}
}

type encodingError struct{ encoding string }

func (e *encodingError) Error() string {
	return fmt.Sprintf("database encoding is %s; Pawl needs UTF8: create a database with"+
		" \"create database NAME encoding 'UTF8' template template0\", and use that", e.encoding)
}

// isUTF8 reports whether the session takes and returns text as UTF-8.
func isUTF8(conn *pgx.Conn) bool {
	switch conn.PgConn().ParameterStatus(clientEncoding) {
	case "", utf8, "SQL_ASCII": // SQL_ASCII means that nothing is converted.
		return true
	}
	return false
}

// A sessionGuard stops a statement before it is sent on a connection that would garble or refuse it. As pgx's
// QueryRewriter, it sees the connection behind any wrapper.
type sessionGuard struct{}

// RewriteQuery implements pgx.QueryRewriter.
func (sessionGuard) RewriteQuery(
	_ context.Context, conn *pgx.Conn, text string, args []any,
) (string, []any, error) {
	if err := CheckEncoding(conn); err != nil {
		return "", nil, err
	}
	if !isUTF8(conn) {
		c := conn.PgConn()
		return "", nil, &foreignTextError{encoding: c.ParameterStatus(clientEncoding), inTx: c.TxStatus() == 'T'}
	}
	return text, args, nil
}

// A foreignTextError says that a session converts text from and to another encoding than UTF-8, which is what Go
// and pgx send.
type foreignTextError struct {
	encoding string
	inTx     bool
}

func (e *foreignTextError) Error() string {
	return fmt.Sprintf("client_encoding of the connection is %s, but Go's text is UTF-8:"+
		" put client_encoding=UTF8 into the connection string", e.encoding)
}

// inUTF8 runs a statement that sessionGuard has stopped. In a transaction, client_encoding is UTF8 meanwhile; set
// sets it until the transaction's end. Outside, alone runs the statement in a transaction of its own; if alone is nil,
// inUTF8 returns the error.
func inUTF8(stopped error, set func(encoding string) error, do, alone func() error) error {
	if e, ok := errors.AsType[*encodingError](stopped); ok {
		return e
	}
	foreign, ok := errors.AsType[*foreignTextError](stopped)
	if !ok {
		return stopped
	}
	switch {
	case !foreign.inTx && alone != nil:
		return alone()
	case !foreign.inTx:
		return foreign
	}
	if err := set(utf8); err != nil {
		return err
	}
	err := do()
	return errors.Join(err, ignoreAborted(set(foreign.encoding)))
}

const setEncodingText = "select set_config('client_encoding', $1::text, true)"

// setEncoding sets client_encoding until the end of db's transaction.
func setEncoding(ctx context.Context, db Querier) func(string) error {
	return func(encoding string) error {
		rows, err := db.Query(ctx, setEncodingText, pgx.QueryExecModeExec, encoding)
		if err != nil {
			return err
		}
		rows.Close()
		return rows.Err()
	}
}

// ignoreAborted drops the error of a transaction that had failed before: its rollback sets the encoding back.
func ignoreAborted(err error) error {
	if SQLState(err) == "25P02" {
		return nil
	}
	return err
}
