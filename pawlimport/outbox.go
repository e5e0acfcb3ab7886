package pawlimport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// No transaction spans two databases. So a job is moved between databases in three transactions:
//
//  1. At the source, it goes from the job table into the outbox: the table pawl_import, which no worker reads.
//  2. In Pawl's database, it is inserted and its mark, a UUID, goes into the table pawl_import_mark.
//  3. At the source, it is deleted from the outbox. Then its mark is deleted.
//
// If an import is killed after a step, the next import starts with the outbox and inserts the jobs without a mark.

// openOutbox creates the tables if they do not exist and moves the jobs that an earlier import left in the outbox.
func (r *run) openOutbox(ctx context.Context) error {
	if r.options.DryRun {
		there, err := one[bool](ctx, r.pool, "select to_regclass($1::text) is not null", r.source.in("source.pawl_import"))
		if err == nil && there {
			err = r.drain(ctx)
		}
		return err
	}
	if _, err := r.pool.Exec(ctx, r.source.in(`create table if not exists source.pawl_import (
		mark     uuid not null primary key default gen_random_uuid(),
		seq      bigint generated always as identity,
		source   text not null,
		job_id   text not null,
		job      json not null,
		taken_at timestamptz not null default now())`), pgx.QueryExecModeExec); err != nil && !isThere(err) {
		return err
	}
	if _, err := r.target.Exec(ctx, "create table if not exists pawl_import_mark (mark uuid not null primary key)",
		pgx.QueryExecModeExec); err != nil && !isThere(err) {
		return fmt.Errorf("create the table pawl_import_mark in Pawl's database: %w", err)
	}
	return r.drain(ctx)
}

// isThere reports whether another import created the same table at the same moment. Despite "if not exists" the server
// then reports a duplicate table, a duplicate of the table's row type, or a duplicate key in its catalog.
func isThere(err error) bool {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains([]string{"42P07", "42710", "23505"}, refused.Code)
}

// viaOutbox moves jobs into the outbox and from there into Pawl.
func (r *run) viaOutbox(ctx context.Context, ids []string) error {
	err := r.again(ctx, func() error {
		return pgx.BeginTxFunc(ctx, r.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
			rows, err := r.take(ctx, tx, ids, true)
			if err != nil {
				return err
			}
			b := r.read(rows)
			if len(b.rows) == 0 {
				return nil
			}
			jobIDs, texts := make([]string, len(b.rows)), make([]string, len(b.rows))
			for i, row := range b.rows {
				text, err := json.Marshal(row)
				if err != nil {
					return err
				}
				jobIDs[i], texts[i] = row.ID, string(text)
			}
			if _, err := tx.Exec(ctx, r.source.in(`insert into source.pawl_import (source, job_id, job)
				select $1::text, u.id, u.job::json
				from unnest($2::text[], $3::text[]) with ordinality as u (id, job, ord) order by u.ord`),
				pgx.QueryExecModeCacheDescribe, r.source.name, jobIDs, texts); err != nil {
				return err
			}
			return r.remove(ctx, tx, b.rows)
		})
	})
	if err != nil {
		return err
	}
	return r.drain(ctx)
}

// drain inserts the jobs in the outbox.
func (r *run) drain(ctx context.Context) error {
	for last := int64(0); ; {
		more, err := r.drainSome(ctx, &last, r.options.Batch)
		if err != nil || !more {
			return err
		}
	}
}

// An outboxPage is a number of jobs read from the outbox. They are locked until its transaction ends.
type outboxPage struct {
	tx    pgx.Tx
	upTo  int64 // upTo is the position of the last job.
	ids   []string
	marks []string // marks[i] is the mark of ids[i].
	rows  []*row
}

// readOutbox reads up to most jobs after the position last.
func (r *run) readOutbox(ctx context.Context, tx pgx.Tx, last int64, most int) (*outboxPage, error) {
	text := r.source.in(`select seq, mark::text, job_id, job::text from source.pawl_import
		where source = $1::text and seq > $2::bigint order by seq limit $3::integer`)
	if !r.options.DryRun {
		text += " for update skip locked" // Another import may be moving some of them.
	}
	rows, err := tx.Query(ctx, text, pgx.QueryExecModeCacheDescribe, r.source.name, last, most)
	if err != nil {
		return nil, err
	}
	page := &outboxPage{tx: tx, upTo: last}
	var mark, id, job string
	var jobs []string
	if _, err := pgx.ForEachRow(rows, []any{&page.upTo, &mark, &id, &job}, func() error {
		page.marks, page.ids, jobs = append(page.marks, mark), append(page.ids, id), append(jobs, job)
		return nil
	}); err != nil {
		return nil, err
	}
	page.rows, err = parse(jobs, page.ids)
	return page, err
}

// drainSome inserts up to most jobs that are in the outbox after the position last, and moves last. It returns false if
// there were none. If the database refuses the data of a job, drainSome inserts them in halves. A job that is refused
// alone stays in the outbox, and so does one whose unique key another job has.
func (r *run) drainSome(ctx context.Context, last *int64, most int) (more bool, err error) {
	tx, err := r.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // After a commit it does nothing.
	page, err := r.readOutbox(ctx, tx, *last, most)
	if err != nil || len(page.ids) == 0 {
		return false, err
	}
	if r.options.DryRun {
		*last = page.upTo
		return true, r.pretendOutbox(ctx, page)
	}
	b, settled, err := r.deliver(ctx, page)
	switch {
	case isData(err) && len(page.ids) > 1:
		_ = tx.Rollback(ctx) // The halves have to lock the same jobs. A broken connection fails them too.
		for *last < page.upTo {
			if more, err := r.drainSome(ctx, last, (most+1)/2); err != nil || !more {
				return more, err
			}
		}
		return true, nil
	case isData(err):
		r.refuse(page.ids[0], fmt.Errorf("%w; it is in the table pawl_import", err))
		*last = page.upTo
		return true, nil
	case err != nil:
		return false, err
	}
	r.done(b)
	*last = page.upTo
	return true, r.closePage(ctx, page, settled)
}

// pretendOutbox adds the jobs in the outbox to the report of a dry run.
func (r *run) pretendOutbox(ctx context.Context, page *outboxPage) error {
	b := r.read(page.rows)
	for i := range b.rows {
		if err := r.pretend(ctx, b.rows[i], &b.jobs[i]); err != nil {
			return err
		}
		r.states[b.rows[i].State]-- // pretend counted the job, but it is not in the source's job table any more.
	}
	return nil
}

// deliver inserts the jobs of a page into Pawl unless an earlier import did. It returns the jobs it inserted and the
// marks of all jobs of the page that are in Pawl now.
func (r *run) deliver(ctx context.Context, page *outboxPage) (b *batch, settled []string, err error) {
	markOf := make(map[string]string, len(page.ids))
	for i, id := range page.ids {
		markOf[id] = page.marks[i]
	}
	err = r.again(ctx, func() error {
		return pgx.BeginTxFunc(ctx, r.target, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
			fresh, err := all[string](ctx, tx, `insert into pawl_import_mark (mark)
				select u.mark from unnest($1::text[]::uuid[]) u (mark) order by 1
				on conflict do nothing returning mark::text`, page.marks)
			if err != nil {
				return err
			}
			unused := make(map[string]bool, len(fresh)) // unused are the new marks of jobs that are not inserted.
			for _, mark := range fresh {
				unused[mark] = true
			}
			var todo []*row
			settled = []string{}
			for _, row := range page.rows {
				if unused[markOf[row.ID]] {
					todo = append(todo, row)
				} else {
					settled = append(settled, markOf[row.ID])
				}
			}
			b = r.read(todo)
			if err := r.insert(ctx, tx, b); err != nil {
				return err
			}
			for _, row := range b.rows {
				settled = append(settled, markOf[row.ID])
				delete(unused, markOf[row.ID])
			}
			// A job that was refused must not look as if it had been inserted.
			return deleteMarks(ctx, tx, slices.Collect(maps.Keys(unused)))
		})
	})
	return b, settled, err
}

// closePage deletes jobs that are in Pawl from the outbox, and then their marks.
func (r *run) closePage(ctx context.Context, page *outboxPage, settled []string) error {
	_, err := page.tx.Exec(ctx, r.source.in("delete from source.pawl_import where mark = any ($1::text[]::uuid[])"),
		pgx.QueryExecModeCacheDescribe, settled)
	if err != nil {
		return err
	}
	if err := page.tx.Commit(ctx); err != nil {
		return err
	}
	return deleteMarks(ctx, r.target, settled)
}

func deleteMarks(ctx context.Context, db db, marks []string) error {
	_, err := db.Exec(ctx, "delete from pawl_import_mark where mark = any ($1::text[]::uuid[])",
		pgx.QueryExecModeCacheDescribe, marks)
	return err
}
