package pawl

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// canCopy: on the pool, or in a transaction of pgx; a mock of one has no connection.
func (c *Client) canCopy() bool {
	if tx, ok := c.db.(pgx.Tx); ok {
		return tx.Conn() != nil
	}
	return c.db == nil && c.pool != nil
}

// copyRows inserts by COPY, in a transaction of its own or the caller's. Its first statement takes the transaction's
// number before any position is drawn: the safe mark's need (lanes.go).
func (c *Client) copyRows(ctx context.Context, rows []insertRow) (ids []ID, err error) {
	err = c.inTx(ctx, func(c *Client) error {
		ids, err = c.copyIn(ctx, c.db.(pgx.Tx).Conn(), rows)
		return err
	})
	return ids, err
}

func (c *Client) copyIn(ctx context.Context, conn *pgx.Conn, rows []insertRow) ([]ID, error) {
	var now time.Time
	if err := c.row(ctx, "select clock_timestamp() from (select pg_current_xact_id()) x (id) where x.id is not null", nil, &now); err != nil {
		return nil, err
	}
	// In one value: a row an id took longer than the ids. Null for who may not COPY: see docs/roles.md.
	ids, epochs := make([]ID, 0, len(rows)), make([]int32, len(rows))
	var drawn []int64
	err := c.row(ctx, `select case when has_table_privilege('pawl.job', 'insert') then array(select nextval('pawl.pos') from generate_series(1, $1::int)) end`,
		[]any{len(rows)}, &drawn)
	if err == nil && drawn == nil {
		for some := range slices.Chunk(rows, copyFrom) {
			more, err := c.insertRows(ctx, some)
			if err != nil {
				return nil, err
			}
			ids = append(ids, more...)
		}
		return ids, nil
	}
	if err == nil && len(drawn) != len(rows) {
		err = fmt.Errorf("%d ids for %d jobs", len(drawn), len(rows))
	}
	if err != nil {
		return nil, err
	}
	for i, id := range drawn {
		ids, epochs[i] = append(ids, ID(id)), rand.Int32N(1_000_000_000)
	}
	queues := map[string]bool{}
	var ready, scheduled []int
	for i := range rows {
		r := &rows[i]
		queues[r.queue] = true
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
	// Pointers: values would be allocated one by one. A row is written out before the next is asked for.
	err = copyTo(ctx, conn, pgx.Identifier{c.config.Schema, "job"}, jobColumns, len(rows), func(i int, values []any) {
		r := &rows[i]
		values[0], values[1], values[2], values[3], values[4], values[5] = &drawn[i], &now, r.runAt, &epochs[i], &r.priority, r.attempts
		values[6], values[7], values[8], values[9], values[10], values[11], values[12] = &r.queue, &r.channel, &r.kind, r.args, r.data, r.fingerprint, r.opts
	})
	if err == nil && len(ready) > 0 {
		err = copyTo(ctx, conn, pgx.Identifier{c.config.Schema, "ready"}, readyColumns, len(ready), func(k int, values []any) {
			i := ready[k]
			values[0], values[1], values[2], values[3], values[4], values[5] = &drawn[i], &drawn[i], &epochs[i], int32(rows[i].priority), &rows[i].queue, &rows[i].channel
		})
	}
	if err == nil && len(scheduled) > 0 {
		err = copyTo(ctx, conn, pgx.Identifier{c.config.Schema, "scheduled"}, scheduledColumns, len(scheduled), func(k int, values []any) {
			i := scheduled[k]
			values[0], values[1], values[2], values[3] = rows[i].runAt, &drawn[i], &epochs[i], &rows[i].queue
		})
	}
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(queues))
	for q := range queues {
		names = append(names, q)
	}
	c.counters.inserted(rows, nil)
	return ids, c.query(ctx, "select pawl.wake($1::text[])", []any{names}, nil)
}

var (
	jobColumns = []column{{"id", pgtype.Int8OID}, {"created_at", pgtype.TimestamptzOID}, {"run_at", pgtype.TimestamptzOID}, {"epoch", pgtype.Int4OID},
		{"priority", pgtype.Int2OID}, {"max_attempts", pgtype.Int2OID}, {"queue", pgtype.TextOID}, {"channel", pgtype.TextOID}, {"kind", pgtype.TextOID},
		{"args", pgtype.JSONBOID}, {"data", pgtype.ByteaOID}, {"fingerprint", pgtype.TextOID}, {"opts", pgtype.JSONBOID}}
	readyColumns = []column{{"pos", pgtype.Int8OID}, {"job_id", pgtype.Int8OID}, {"epoch", pgtype.Int4OID}, {"priority", pgtype.Int4OID},
		{"queue", pgtype.TextOID}, {"channel", pgtype.TextOID}}
	scheduledColumns = []column{{"run_at", pgtype.TimestamptzOID}, {"job_id", pgtype.Int8OID}, {"epoch", pgtype.Int4OID}, {"queue", pgtype.TextOID}}
)
