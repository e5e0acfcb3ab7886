package pawl_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// unnamed leaves a pool in pgx's default mode, which prepares statements by name, and fails the test if that is done to one: behind
// a transaction pooler the next one would not find it.
func unnamed(t testing.TB) func(*pgxpool.Config) {
	return func(c *pgxpool.Config) {
		c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
		c.ConnConfig.Tracer = namedStatements{t}
	}
}

type namedStatements struct{ t testing.TB }

func (n namedStatements) TracePrepareStart(ctx context.Context, _ *pgx.Conn, data pgx.TracePrepareStartData) context.Context {
	if data.Name != "" {
		n.t.Errorf("a statement was prepared by name: %s", data.SQL)
	}
	return ctx
}

func (namedStatements) TracePrepareEnd(context.Context, *pgx.Conn, pgx.TracePrepareEndData) {}

func (namedStatements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (namedStatements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
