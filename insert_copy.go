package pawl

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawlhq/pawl/internal/pg"
)

// copyTx returns the pgx transaction that the client runs on, or nil. A mock of a transaction has no connection, and
// counts as none.
func (c *Client) copyTx() pgx.Tx {
	on, _ := c.db.(pg.Pgx)
	if tx, ok := on.Querier.(pgx.Tx); ok && tx.Conn() != nil {
		return tx
	}
	return nil
}

// canCopy reports whether COPY is possible: on the pool, or in a transaction of pgx.
func (c *Client) canCopy() bool {
	return c.db == nil && c.pool != nil || c.copyTx() != nil
}

// insertLarge inserts jobs in a transaction of its own or the caller's: by COPY if that is possible, else by several
// statements.
func (c *Client) insertLarge(ctx context.Context, rows []insertRow) (ids []ID, err error) {
	err = c.inTx(ctx, func(c *Client) error {
		if tx := c.copyTx(); tx != nil {
			ids, err = c.copyIn(ctx, tx.Conn(), rows)
		} else {
			ids, err = c.insertChunks(ctx, rows)
		}
		return err
	})
	return ids, err
}

// copyIn inserts jobs by COPY. Its first statement assigns the transaction's id before it draws any position. The safe
// mark of a lane relies on that: see lanes.go.
func (c *Client) copyIn(ctx context.Context, conn *pgx.Conn, rows []insertRow) ([]ID, error) {
	var now time.Time
	err := c.row(ctx, `select clock_timestamp() from (select pg_current_xact_id()) x (id)
		where x.id is not null`, nil, &now)
	if err != nil {
		return nil, err
	}
	drawn, err := c.drawIDs(ctx, len(rows))
	if err != nil {
		return nil, err
	}
	if drawn == nil {
		return c.insertChunks(ctx, rows)
	}
	if err := c.copyJobs(ctx, conn, rows, drawn, now); err != nil {
		return nil, err
	}
	ids := make([]ID, len(drawn))
	for i, id := range drawn {
		ids[i] = ID(id)
	}
	queues := map[string]bool{}
	for i := range rows {
		queues[rows[i].queue] = true
	}
	c.counters.inserted(rows, nil)
	return ids, c.query(ctx, "select pawl.wake($1::text[])", []any{slices.Collect(maps.Keys(queues))}, nil)
}

// drawIDs draws n ids. It returns nil if the role may not COPY: see docs/roles.md. The ids come in one value, because
// a row for each takes longer.
func (c *Client) drawIDs(ctx context.Context, n int) (drawn []int64, err error) {
	err = c.row(ctx, `select case when has_table_privilege('pawl.job', 'insert')
		then array(select nextval('pawl.pos') from generate_series(1, $1::int)) end`, []any{n}, &drawn)
	if err == nil && drawn != nil && len(drawn) != n {
		err = fmt.Errorf("%d ids for %d jobs", len(drawn), n)
	}
	return drawn, err
}

// insertChunks inserts jobs without COPY.
func (c *Client) insertChunks(ctx context.Context, rows []insertRow) ([]ID, error) {
	return insertParts(ctx, rows, copyFrom, c.limits.statement, c.insertRows)
}

// copyJobs writes the rows of jobs, and their tickets: ready ones and scheduled ones. The values of a row are
// pointers, because values would be allocated one by one. A row is encoded before the next is asked for.
func (c *Client) copyJobs(ctx context.Context, conn *pgx.Conn, rows []insertRow, drawn []int64, now time.Time) error {
	epochs := make([]int32, len(rows))
	var ready, scheduled []int
	for i := range rows {
		r := &rows[i]
		epochs[i] = rand.Int32N(1_000_000_000)
		if r.delay != nil {
			at := now.Add(time.Duration(*r.delay * float64(time.Second)))
			r.runAt = &at
		}
		if r.runAt != nil && r.runAt.After(now) {
			scheduled = append(scheduled, i)
		} else {
			ready = append(ready, i)
		}
	}
	table := func(name string) pgx.Identifier { return pgx.Identifier{c.config.Schema, name} }
	err := pg.Copy(ctx, conn, table("job"), jobColumns, len(rows), func(i int, values []any) {
		r := &rows[i]
		values[0], values[1], values[2], values[3] = &drawn[i], &now, r.runAt, &epochs[i]
		values[4], values[5], values[6], values[7] = &r.priority, r.attempts, &r.queue, &r.channel
		values[8], values[9], values[10], values[11], values[12] = &r.kind, r.args, r.data, r.fingerprint, r.opts
	})
	if err == nil && len(ready) > 0 {
		err = pg.Copy(ctx, conn, table("ready"), readyColumns, len(ready), func(k int, values []any) {
			i := ready[k]
			values[0], values[1], values[2], values[3] = &drawn[i], &drawn[i], &epochs[i], int32(rows[i].priority)
			values[4], values[5] = &rows[i].queue, &rows[i].channel
		})
	}
	if err == nil && len(scheduled) > 0 {
		err = pg.Copy(ctx, conn, table("scheduled"), scheduledColumns, len(scheduled), func(k int, values []any) {
			i := scheduled[k]
			values[0], values[1], values[2], values[3] = rows[i].runAt, &drawn[i], &epochs[i], &rows[i].queue
		})
	}
	return err
}

var (
	jobColumns = []pg.Column{
		{Name: "id", OID: pgtype.Int8OID}, {Name: "created_at", OID: pgtype.TimestamptzOID},
		{Name: "run_at", OID: pgtype.TimestamptzOID}, {Name: "epoch", OID: pgtype.Int4OID},
		{Name: "priority", OID: pgtype.Int2OID}, {Name: "max_attempts", OID: pgtype.Int2OID},
		{Name: "queue", OID: pgtype.TextOID}, {Name: "channel", OID: pgtype.TextOID},
		{Name: "kind", OID: pgtype.TextOID}, {Name: "args", OID: pgtype.JSONBOID}, {Name: "data", OID: pgtype.ByteaOID},
		{Name: "fingerprint", OID: pgtype.TextOID}, {Name: "opts", OID: pgtype.JSONBOID},
	}
	readyColumns = []pg.Column{
		{Name: "pos", OID: pgtype.Int8OID}, {Name: "job_id", OID: pgtype.Int8OID}, {Name: "epoch", OID: pgtype.Int4OID},
		{Name: "priority", OID: pgtype.Int4OID}, {Name: "queue", OID: pgtype.TextOID},
		{Name: "channel", OID: pgtype.TextOID},
	}
	scheduledColumns = []pg.Column{
		{Name: "run_at", OID: pgtype.TimestamptzOID}, {Name: "job_id", OID: pgtype.Int8OID},
		{Name: "epoch", OID: pgtype.Int4OID}, {Name: "queue", OID: pgtype.TextOID},
	}
)
