package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// bareBatch is how many jobs bare claims at once.
const bareBatch = 500

// runBare works the preloaded jobs from one loop on one connection, with the
// SQL functions alone: no handlers, no goroutines, no lanes to find, nothing
// at once. What work reaches of it is what the library leaves of the database.
func runBare(ctx context.Context, m *measurement) error {
	conn, err := m.db.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	m.result.Runners, m.result.Min, m.result.Max = 1, bareBatch, bareBatch
	b := bare{conn: conn}
	before, err := m.db.usage(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	worked := int64(0)
	for {
		n, err := b.round(ctx)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		worked += int64(n)
	}
	elapsed := time.Since(start)
	after, err := m.db.usage(ctx)
	if err != nil {
		return err
	}
	if worked != m.inserted.Load() {
		return fmt.Errorf("%d jobs worked of %d", worked, m.inserted.Load())
	}
	m.result.finish(worked, elapsed, before, after)
	return m.checkGone(ctx, conn, 0)
}

// bare is a connection and how far it has come in the one lane.
type bare struct {
	conn *pgx.Conn
	mark int64
	lap  int64
}

// round claims a batch and completes it.
func (b *bare) round(ctx context.Context) (int, error) {
	b.lap++
	lease := fmt.Sprintf("00000000-0000-4000-8000-%012d", b.lap)
	var (
		ids    = make([]int64, 0, bareBatch)
		epochs = make([]int32, 0, bareBatch)
		zeros  = make([]int64, 0, bareBatch)
	)
	rows, err := b.conn.Query(ctx, `select * from pawl.claim($1::uuid, null, '1 minute', $2::integer,
		array['default'], array[0], array[''], array[$3::bigint], array[$2::integer])`,
		pgx.QueryExecModeCacheDescribe, lease, bareBatch, b.mark)
	if err != nil {
		return 0, err
	}
	// queue, lane, channel, pos, id, found, epoch; the rest comes too, but is not looked at.
	dest := make([]any, len(rows.FieldDescriptions()))
	var pos, id int64
	var epoch int32
	dest[3], dest[4], dest[6] = &pos, &id, &epoch
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return 0, err
		}
		ids, epochs, zeros = append(ids, id), append(epochs, epoch), append(zeros, 0)
		b.mark = max(b.mark, pos)
	}
	if err := rows.Err(); err != nil || len(ids) == 0 {
		return 0, err
	}
	var finished int
	err = b.conn.QueryRow(ctx, `select count(*) from pawl.complete($1::bigint[], $2::integer[], $3::bigint[], $3::bigint[],
		$4::text[], 'bare', false, array[$5::uuid])`,
		pgx.QueryExecModeCacheDescribe, ids, epochs, zeros, make([]*string, len(ids)), lease).Scan(&finished)
	if err == nil && finished != len(ids) {
		err = fmt.Errorf("%d jobs completed of %d claimed", finished, len(ids))
	}
	return len(ids), err
}

// checkGone fails if a job above an id is still live.
func (m *measurement) checkGone(ctx context.Context, conn *pgx.Conn, above int64) error {
	var left int64
	if err := conn.QueryRow(ctx, "select count(*) from pawl.job where id > $1", above).Scan(&left); err != nil {
		return err
	}
	if left > 0 {
		return fmt.Errorf("%d jobs are not completed in the database", left)
	}
	return nil
}
