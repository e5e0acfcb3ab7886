// Package pg is what a client of PostgreSQL needs beside its driver. It runs statements on pgx or database/sql,
// writes COPY data, reads SQLSTATEs, retries, and listens for notifications on a connection of its own.
package pg

import (
	"context"

	"github.com/jackc/pgx/v5"
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
func (p Pgx) Query(ctx context.Context, text string, args []any, each func(Row) error) error {
	rows, err := p.Querier.Query(ctx, text, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
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
