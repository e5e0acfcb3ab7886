// Package pg is what a client of PostgreSQL needs beside its driver. It runs statements on pgx or database/sql,
// writes COPY data, reads SQLSTATEs, retries, and listens for notifications on a connection of its own.
package pg

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A DB runs statements. See Pgx and OnSQL.
type DB interface {
	// Query runs a statement and calls each for every row.
	Query(ctx context.Context, text string, args []any, each func(Row) error) error
}

// A Row is the current row of a result.
type Row interface{ Scan(dest ...any) error }

// Querier is the method of pgx's Tx, Conn and Pool that runs a statement.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Pgx is a DB on pgx.
type Pgx struct{ Querier }

// Query runs a statement in mode CacheDescribe, whatever the mode of the connection. No prepared statement outlives
// the call, so a transaction pooler may be in between. The server plans the statement each time, so no plan made for
// an empty table is kept.
//
// Settings of the session do no harm: see pins.
func (p Pgx) Query(ctx context.Context, text string, args []any, each func(Row) error) error {
	pool, ok := p.Querier.(*pgxpool.Pool)
	if !ok {
		err := p.send(ctx, text, args, each)
		if err == nil {
			return nil
		}
		do := func() error { return p.send(ctx, text, args, each) }
		return inUTF8(err, setEncoding(ctx, p.Querier), do, p.alone(ctx, text, args, each))
	}
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if err := CheckEncoding(conn.Conn()); err != nil {
		return err
	}
	plain, err := isPlain(ctx, conn.Conn())
	switch {
	case err != nil:
		return err
	case plain:
		return Pgx{conn.Conn()}.send(ctx, text, args, each)
	default:
		return beginOn(ctx, conn, "", func(tx pgx.Tx) error { return Pgx{tx}.send(ctx, text, args, each) })
	}
}

// alone returns a function that sends a statement in a transaction of its own, or nil if none can be begun.
func (p Pgx) alone(ctx context.Context, text string, args []any, each func(Row) error) func() error {
	on, ok := p.Querier.(interface {
		BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
	})
	if !ok {
		return nil
	}
	return func() error {
		options := pgx.TxOptions{BeginQuery: begin("")}
		return pgx.BeginTxFunc(ctx, on, options, func(tx pgx.Tx) error { return Pgx{tx}.send(ctx, text, args, each) })
	}
}

// send sends a statement on a connection, and passes each row on.
func (p Pgx) send(ctx context.Context, text string, args []any, each func(Row) error) error {
	args = append([]any{pgx.QueryExecModeCacheDescribe, sessionGuard{}}, args...)
	rows, err := p.Querier.Query(ctx, text, args...)
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
}
