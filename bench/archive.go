package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pawlhq/pawl"
)

// archiveRows inserts finished jobs into the archive, as complete does: the jobs of a batch with neighbouring ids are
// a chunk. The parameter of the format is a query with the columns id, batch, queue, channel, expires_at and args.
const archiveRows = `insert into pawl.archive_chunk (min_id, max_id, n, finished_at, expires_at, state, queue, worker,
		ids, epochs, created_at, waited_ms, ran_ms, priority, attempt, channel, kind, args)
	select min(j.id), max(j.id), count(*), now(), min(j.expires_at), 'completed', j.queue, 'w', array_agg(j.id),
	       array_agg(1), array_agg(now()), array_agg(1::bigint), array_agg(1::bigint), array_agg(0::smallint),
	       array_agg(1::smallint), array_agg(j.channel), array_agg('deep'::text), array_agg(j.args)
	from (select * from (%s) j order by j.batch, j.id) j
	group by j.batch, j.queue, j.id >> 10`

// argsText is the args of row i of a query, as SQL.
func (b *bench) argsText() string {
	return fmt.Sprintf("jsonb_build_object('n', i, 'pad', repeat('x', %d))", max(b.ArgsBytes-20, 0))
}

// fillArchive inserts b.Depth finished jobs into the archive, in batches of 500 in the order of their ids. If
// b.Disordered is true, each batch has random ids.
func (b *bench) fillArchive(ctx context.Context) error {
	const part = 1_000_000 // Rows in a statement, so that it sorts in memory.
	order := "i"
	if b.Disordered {
		order = "hashint8(i) + 2147483648"
	}
	var first int64
	if err := b.pool.QueryRow(ctx, "select nextval('pawl.pos')").Scan(&first); err != nil {
		return err
	}
	if _, err := b.pool.Exec(ctx, "select setval('pawl.pos', $1)", first+int64(b.Depth)); err != nil {
		return err
	}
	for from := 0; from < b.Depth; from += part {
		if b.Progress != nil {
			fmt.Fprintf(b.Progress, "archive: loading %d of %d jobs …\r", from, b.Depth)
		}
		// Disordered, this takes every k-th id of the whole archive, not the next million.
		ids := fmt.Sprintf("generate_series(%d::bigint, %d) i", first+int64(from), first+int64(min(from+part, b.Depth)-1))
		if b.Disordered {
			step := (b.Depth + part - 1) / part
			ids = fmt.Sprintf("generate_series(%d::bigint, %d, %d) i",
				first+int64(from/part), first+int64(b.Depth-1), step)
		}
		text := fmt.Sprintf(archiveRows, `select i as id, row_number() over (order by `+order+`) / 500 as batch,
			'default' as queue, '' as channel, now() + interval '1 day' as expires_at, `+b.argsText()+` as args from `+ids)
		if _, err := b.pool.Exec(ctx, text); err != nil {
			return err
		}
	}
	_, err := b.pool.Exec(ctx, "vacuum analyze pawl.archive_chunk")
	return err
}

// archive calls Client.Get for random jobs in an archive of b.Depth jobs for b.Duration, then List for ten seconds at
// most.
func (b *bench) archive(ctx context.Context) (*Result, error) {
	first, err := b.newestID(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.fillArchive(ctx); err != nil {
		return nil, err
	}
	random := func() pawl.ID { return first + 1 + pawl.ID(rand.Int64N(int64(b.Depth)-1)) }
	get := func() error {
		_, err := b.client.Get(ctx, random())
		return err
	}
	list := func() error {
		jobs, err := b.client.List(ctx, pawl.Filter{Before: random()})
		if err == nil && len(jobs) == 0 {
			err = errors.New("a page without jobs")
		}
		return err
	}
	if _, err := b.repeatCall(time.Second, get); err != nil { // The first calls plan the queries.
		return nil, err
	}
	before, err := b.usage(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	gets, err := b.repeatCall(b.Duration, get)
	if err != nil {
		return nil, err
	}
	r := b.result(b.runnerConfig(false))
	if err := b.spent(ctx, r, int64(len(gets)), time.Since(began), before); err != nil {
		return nil, err
	}
	r.setPercentiles(gets)
	lists, err := b.repeatCall(min(b.Duration, 10*time.Second), list)
	if err != nil {
		return nil, err
	}
	page := lists[len(lists)/2]
	r.ListPage = &page
	var size int64
	if err := b.pool.QueryRow(ctx, `select sum(pg_total_relation_size(i.inhrelid)) from pg_inherits i
		where i.inhparent = 'pawl.archive_chunk'::regclass`).Scan(&size); err != nil {
		return nil, err
	}
	each := float64(size) / float64(b.Depth)
	r.ArchiveBytes = &each
	return r, nil
}

func (b *bench) newestID(ctx context.Context) (id pawl.ID, err error) {
	err = b.pool.QueryRow(ctx, "select last_value from pawl.pos").Scan((*int64)(&id))
	return id, err
}

// repeatCall calls a function until the time is over, and returns how many milliseconds each call took, sorted.
func (b *bench) repeatCall(during time.Duration, call func() error) (times []float64, err error) {
	for began := time.Now(); time.Since(began) < during || len(times) == 0; {
		start := time.Now()
		if err := call(); err != nil {
			return nil, err
		}
		times = append(times, float64(time.Since(start))/float64(time.Millisecond))
	}
	slices.Sort(times)
	return times, nil
}

// setPercentiles sets the percentiles of sorted times.
func (r *Result) setPercentiles(times []float64) {
	at := func(share float64) *float64 { return &times[min(int(share*float64(len(times))), len(times)-1)] }
	r.P50, r.P90, r.P99, r.Max = at(0.5), at(0.9), at(0.99), at(1)
}
