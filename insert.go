package pawl

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// InsertResult is what became of a job to insert.
type InsertResult struct {
	ID        ID
	Duplicate bool // Nothing was put in: another job has the unique key, and ID is that job's.
}

// Insert puts in one job: plain Args, or a JobSpec with more to say. When it returns nil the job is committed (with With: in
// the transaction, and committed with it) and will not be lost.
//
// Inserts from concurrent goroutines share statements and commits; a job the database refuses fails alone. An *InvalidError and a
// *RateError are found before that. When the connection fails in the middle, the error says so and the job may have been inserted.
func (c *Client) Insert(ctx context.Context, job Args) (InsertResult, error) {
	if len(c.config.InsertMiddleware) == 0 {
		return c.insertOne(ctx, job)
	}
	spec, err := specOf(job)
	if err != nil {
		return InsertResult{}, &InvalidError{Field: "Args", Reason: err.Error()}
	}
	results, err := c.around(ctx, []JobSpec{spec}, func(ctx context.Context, jobs []JobSpec) ([]InsertResult, error) {
		result, err := c.insertOne(ctx, &jobs[0])
		return []InsertResult{result}, err
	})
	if len(results) == 0 {
		return InsertResult{}, err
	}
	return results[0], err
}

func (c *Client) insertOne(ctx context.Context, job Args) (InsertResult, error) {
	r, err := c.prepare(0, job)
	if err == nil {
		err = c.limit(ctx, 1)
	}
	if err != nil {
		return InsertResult{}, err
	}
	if r.ties != nil {
		results, err := c.insertTied(ctx, []row{r})
		if err != nil {
			return InsertResult{}, fmt.Errorf("pawl: insert: %w", c.explain(ctx, err))
		}
		return results[0], nil
	}
	if c.db == nil && c.pool != nil {
		id, err := c.inserter.insert(ctx, r)
		return InsertResult{ID: id}, err
	}
	ids, err := c.insertRows(ctx, []row{r})
	if err != nil {
		return InsertResult{}, fmt.Errorf("pawl: insert: %w", err)
	}
	return InsertResult{ID: ids[0]}, nil
}

// copyFrom is the number of jobs from which COPY beats one statement with arrays.
const copyFrom = 2000

// InsertMany puts in all jobs or none, with results in input order. The Index of an *InvalidError is that of the job at fault.
func (c *Client) InsertMany(ctx context.Context, jobs []JobSpec) ([]InsertResult, error) {
	if len(jobs) == 0 {
		return nil, nil
	}
	if len(c.config.InsertMiddleware) == 0 {
		return c.insertMany(ctx, jobs)
	}
	return c.around(ctx, jobs, c.insertMany)
}

func (c *Client) insertMany(ctx context.Context, jobs []JobSpec) ([]InsertResult, error) {
	rows := make([]row, len(jobs))
	for i := range jobs {
		r, err := c.prepare(i, &jobs[i])
		if err != nil {
			return nil, err
		}
		rows[i] = r
	}
	if err := c.limit(ctx, len(rows)); err != nil {
		return nil, err
	}
	results, err := c.insertResolved(ctx, rows)
	if err != nil {
		return nil, fmt.Errorf("pawl: insert: %w", c.explain(ctx, err))
	}
	return results, nil
}

// insertResolved inserts rows by the way that suits them, all or none.
func (c *Client) insertResolved(ctx context.Context, rows []row) ([]InsertResult, error) {
	if slices.ContainsFunc(rows, func(r row) bool { return r.ties != nil }) {
		return c.insertTied(ctx, rows)
	}
	insert := c.insertRows
	if len(rows) >= copyFrom && c.canCopy() {
		insert = c.copyRows
	}
	ids, err := insert(ctx, rows)
	if err != nil {
		return nil, err
	}
	results := make([]InsertResult, len(ids))
	for i, id := range ids {
		results[i].ID = id
	}
	return results, nil
}

// prepare is what is to be inserted for a job: checked, then encoded. What costs a token of the rate comes after it.
func (c *Client) prepare(index int, job Args) (row, error) {
	r, err := c.resolve(index, job)
	if err == nil {
		err = c.encode(index, &r)
	}
	return r, err
}

// Validate is a dry run: the *InvalidError that Insert or InsertMany would return for these jobs. It does no I/O, calls no
// middleware and no Codec, and costs nothing of the rate.
func (c *Client) Validate(jobs ...JobSpec) error {
	for i := range jobs {
		if _, err := c.resolve(i, &jobs[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) insertRows(ctx context.Context, rows []row) ([]ID, error) {
	n := len(rows)
	var (
		queues, channels, kinds  = make([]string, n), make([]string, n), make([]string, n)
		priorities               = make([]int16, n)
		args, fingerprints, opts = make([]*string, n), make([]*string, n), make([]*string, n)
		data                     = make([][]byte, n)
		delays                   = make([]*float64, n)
		runAts                   = make([]*time.Time, n)
		attempts                 = make([]*int16, n)
	)
	for i := range rows {
		r := &rows[i]
		queues[i], channels[i], kinds[i], priorities[i] = r.queue, r.channel, r.kind, r.priority
		args[i], fingerprints[i], opts[i], data[i] = r.args, r.fingerprint, r.opts, r.data
		delays[i], runAts[i], attempts[i] = r.delay, r.runAt, r.attempts
	}
	ids := make([]ID, 0, n)
	err := c.query(ctx, `select pawl.insert($1::text[], $2::text[], $3::smallint[], $4::text[], $5::text[], $6::bytea[],
		$7::double precision[], $8::timestamptz[], $9::smallint[], $10::text[], $11::text[])`,
		[]any{queues, channels, priorities, kinds, args, data, delays, runAts, attempts, fingerprints, opts},
		func(s scanner) error {
			var id int64
			err := s.Scan(&id)
			ids = append(ids, ID(id))
			return err
		})
	if err == nil && len(ids) != n {
		err = fmt.Errorf("%d ids for %d jobs", len(ids), n)
	}
	if err == nil {
		c.tally.inserted(rows, nil)
	}
	return ids, err
}

// canCopy: on the pool, or in a transaction of pgx; a mock of one has no connection.
func (c *Client) canCopy() bool {
	if tx, ok := c.db.(pgx.Tx); ok {
		return tx.Conn() != nil
	}
	return c.db == nil && c.pool != nil
}

// copyRows inserts by COPY, in a transaction of its own or the caller's. Its first statement takes the transaction's
// number before any position is drawn: the safe mark's need (lanes.go).
func (c *Client) copyRows(ctx context.Context, rows []row) (ids []ID, err error) {
	err = c.inTx(ctx, func(c *Client) error {
		ids, err = c.copyIn(ctx, c.db.(pgx.Tx).Conn(), rows)
		return err
	})
	return ids, err
}

func (c *Client) copyIn(ctx context.Context, conn *pgx.Conn, rows []row) ([]ID, error) {
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
	c.tally.inserted(rows, nil)
	return ids, c.query(ctx, "select pawl.wake($1::text[])", []any{names}, nil)
}

// inserter makes single inserts share statements by natural batching: while a statement is under way the next ones gather,
// and go together when it returns. No timer: an insert alone goes at once. Its goroutines live only while there is work.
type inserter struct {
	client  *Client
	mu      sync.Mutex
	waiting []*oneInsert
	flights int
}

type oneInsert struct {
	row   row
	id    ID
	err   error
	done  chan struct{}
	group atomic.Pointer[flight] // Of the statement it travels in.
}

// flight is one statement under way; it is cancelled when nobody waits for it any more.
type flight struct {
	cancel  context.CancelFunc
	waiters atomic.Int32
}

const (
	maxFlights  = 2    // Statements at once: one runs while the other's commit is flushed.
	maxInFlight = 1000 // Jobs in one statement.
)

func (in *inserter) insert(ctx context.Context, r row) (ID, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	one := &oneInsert{row: r, done: make(chan struct{})}
	in.mu.Lock()
	in.waiting = append(in.waiting, one)
	if in.flights < maxFlights {
		in.flights++
		go in.fly()
	}
	in.mu.Unlock()
	select {
	case <-one.done:
	case <-ctx.Done():
		in.mu.Lock()
		for i, w := range in.waiting {
			if w == one {
				in.waiting = append(in.waiting[:i], in.waiting[i+1:]...)
				in.mu.Unlock()
				return 0, ctx.Err()
			}
		}
		in.mu.Unlock()
		if f := one.group.Load(); f != nil && f.waiters.Add(-1) == 0 {
			f.cancel()
		}
		return 0, fmt.Errorf("pawl: insert: %w while the statement was under way; the job may have been inserted", ctx.Err())
	}
	if one.err != nil {
		return 0, fmt.Errorf("pawl: insert: %w", one.err)
	}
	return one.id, nil
}

func (in *inserter) fly() {
	for {
		in.mu.Lock()
		n := min(len(in.waiting), maxInFlight)
		if n == 0 {
			in.flights--
			in.waiting = nil
			in.mu.Unlock()
			return
		}
		batch := make([]*oneInsert, n)
		copy(batch, in.waiting)
		in.waiting = in.waiting[:copy(in.waiting, in.waiting[n:])]
		ctx, cancel := context.WithCancel(context.Background())
		f := &flight{cancel: cancel}
		f.waiters.Store(int32(n))
		for _, one := range batch {
			one.group.Store(f)
		}
		in.mu.Unlock()
		in.land(ctx, batch)
		cancel()
	}
}

// land inserts a batch and tells each its answer. What the database refuses is tried in halves, so that a bad job fails alone.
func (in *inserter) land(ctx context.Context, batch []*oneInsert) {
	rows := make([]row, len(batch))
	for i, one := range batch {
		rows[i] = one.row
	}
	ids, err := in.client.insertRows(ctx, rows)
	if err != nil && isData(err) && len(batch) > 1 {
		in.land(ctx, batch[:len(batch)/2])
		in.land(ctx, batch[len(batch)/2:])
		return
	}
	for i, one := range batch {
		if err != nil {
			one.err = err
		} else {
			one.id = ids[i]
		}
		close(one.done)
	}
}
