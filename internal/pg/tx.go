package pg

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrNoTx is returned where several statements need a transaction, and the database handle is neither in one nor can
// begin one.
var ErrNoTx = errors.New("the database handle is in no transaction, and Pawl cannot begin one on a handle of this" +
	" type: pass a transaction")

// InTx calls do with a DB in a transaction: db itself if it is in one, else a new one that db begins.
func InTx(ctx context.Context, db DB, do func(DB) error) error {
	switch on := db.(type) {
	case Pgx:
		if begin, ok := on.Querier.(pgxBeginner); ok && !inPgxTx(on.Querier) {
			options := pgx.TxOptions{IsoLevel: pgx.ReadCommitted}
			return pgx.BeginTxFunc(ctx, begin, options, func(tx pgx.Tx) error { return do(Pgx{tx}) })
		}
		if _, ok := on.Querier.(pgx.Tx); ok || inPgxTx(on.Querier) {
			return do(db)
		}
	case *sqlDB:
		if _, ok := on.db.(*sql.Tx); ok {
			return do(db)
		}
		if begin, ok := on.db.(sqlBeginner); ok {
			return inSQLTx(ctx, on, begin, do)
		}
		if pool := embedded[*sql.DB](on.db); pool != nil {
			return inSQLTx(ctx, on, pool, do)
		}
	}
	in, err := inTx(ctx, db)
	if err == nil && !in {
		err = ErrNoTx
	}
	if err != nil {
		return err
	}
	return do(db)
}

// A pgxBeginner is a Conn or Pool of pgx. A Tx of pgx has no such method.
type pgxBeginner interface {
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
}

// inPgxTx reports whether q is a connection in a transaction, which the caller began by a statement.
func inPgxTx(q Querier) bool {
	var conn *pgconn.PgConn
	switch on := q.(type) {
	case interface{ PgConn() *pgconn.PgConn }:
		conn = on.PgConn()
	case interface{ Conn() *pgx.Conn }:
		if on.Conn() != nil {
			conn = on.Conn().PgConn()
		}
	}
	return conn != nil && conn.TxStatus() != 'I'
}

// A sqlBeginner is a DB or Conn of database/sql. A Tx has no such method.
type sqlBeginner interface {
	BeginTx(ctx context.Context, options *sql.TxOptions) (*sql.Tx, error)
}

func inSQLTx(ctx context.Context, on *sqlDB, begin sqlBeginner, do func(DB) error) error {
	if _, pool := on.db.(*sql.DB); !pool { // A Conn may be in a transaction that a statement began.
		in, err := inTx(ctx, on)
		if err != nil {
			return err
		}
		if in {
			return do(on)
		}
	}
	tx, err := begin.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := do(OnSQL(tx)); err != nil {
		return err
	}
	return tx.Commit()
}

// inTx asks the server whether db is in a transaction: two statements then have the same transaction id.
func inTx(ctx context.Context, db DB) (bool, error) {
	var ids [2]string
	for i := range ids {
		err := db.Query(ctx, "select pg_current_xact_id()::text", nil, func(row Row) error { return row.Scan(&ids[i]) })
		if err != nil {
			return false, err
		}
	}
	return ids[0] == ids[1], nil
}
