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

// Between two databases there is no common transaction, so a job is moved in three, and is runnable in at most one of them:
//
//  1. At the source it goes from the table of jobs into the outbox, the table pawl_import beside it: nobody runs it.
//  2. In Pawl's database it is inserted, and its mark goes into the table pawl_import_mark.
//  3. At the source it is deleted from the outbox, then its mark.
//
// Whoever is killed in between leaves it in the outbox, and the next import begins with that: it inserts what has no mark.

// openOutbox makes the tables where they are missing and moves what an import before has left.
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
	if _, err := r.target.Exec(ctx, "create table if not exists pawl_import_mark (mark uuid not null primary key)", pgx.QueryExecModeExec); err != nil && !isThere(err) {
		return fmt.Errorf("the table of marks in Pawl's database: %w", err)
	}
	return r.drain(ctx)
}

// isThere reports whether another import made the same table at the same moment. Despite "if not exists" the server then
// reports a duplicate table, a duplicate of the table's row type, or a duplicate key in its catalog.
func isThere(err error) bool {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains([]string{"42P07", "42710", "23505"}, refused.Code)
}

// viaOutbox moves jobs into the outbox and then on.
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
				select $1::text, u.id, u.job::json from unnest($2::text[], $3::text[]) with ordinality as u (id, job, ord) order by u.ord`),
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

// drain inserts what is in the outbox.
func (r *run) drain(ctx context.Context) error {
	for last := int64(0); ; {
		more, err := r.drainSome(ctx, &last, r.options.Batch)
		if err != nil || !more {
			return err
		}
	}
}

// drainSome inserts up to so many jobs that lie in the outbox after last; none are left if more is false. What the database refuses is
// tried in halves; one that it refuses alone stays, and so does one whose unique key is taken.
func (r *run) drainSome(ctx context.Context, last *int64, most int) (more bool, err error) {
	lock := " for update skip locked" // Another import may be at it.
	if r.options.DryRun {
		lock = ""
	}
	tx, err := r.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
	if err != nil {
		return false, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	var marks, ids, texts []string
	rows, err := tx.Query(ctx, r.source.in(`select seq, mark::text, job_id, job::text from source.pawl_import where source = $1::text and seq > $2::bigint
		order by seq limit $3::integer`)+lock, pgx.QueryExecModeCacheDescribe, r.source.name, *last, most)
	if err != nil {
		return false, err
	}
	upTo := *last
	var mark, id, text string
	if _, err := pgx.ForEachRow(rows, []any{&upTo, &mark, &id, &text}, func() error {
		marks, ids, texts = append(marks, mark), append(ids, id), append(texts, text)
		return nil
	}); err != nil || len(ids) == 0 {
		return false, err
	}
	parsed, err := parse(texts, ids)
	if err != nil {
		return false, err
	}
	if r.options.DryRun {
		b := r.read(parsed)
		for i := range b.rows {
			if err := r.pretend(ctx, b.rows[i], &b.jobs[i]); err != nil {
				return false, err
			}
			r.states[b.rows[i].State]-- // It is not in the table of jobs.
		}
		*last = upTo
		return true, nil
	}

	marked := make(map[string]string, len(ids)) // By id.
	for i, id := range ids {
		marked[id] = marks[i]
	}
	var b *batch
	var settled []string // Marks of what is in Pawl.
	err = r.again(ctx, func() error {
		return pgx.BeginTxFunc(ctx, r.target, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
			fresh, err := all[string](ctx, tx, `insert into pawl_import_mark (mark) select u.mark from unnest($1::text[]::uuid[]) u (mark) order by 1
				on conflict do nothing returning mark::text`, marks)
			if err != nil {
				return err
			}
			is := make(map[string]bool, len(fresh))
			for _, mark := range fresh {
				is[mark] = true
			}
			var todo []*row
			settled = []string{}
			for _, row := range parsed {
				if is[marked[row.ID]] {
					todo = append(todo, row)
				} else {
					settled = append(settled, marked[row.ID])
				}
			}
			b = r.read(todo)
			if err := r.insert(ctx, tx, b); err != nil {
				return err
			}
			for _, row := range b.rows {
				settled = append(settled, marked[row.ID])
				delete(is, marked[row.ID])
			}
			// What was not inserted after all must not look as if it had been.
			_, err = tx.Exec(ctx, "delete from pawl_import_mark where mark = any ($1::text[]::uuid[])", pgx.QueryExecModeCacheDescribe, slices.Collect(maps.Keys(is)))
			return err
		})
	})
	switch {
	case isData(err) && len(ids) > 1:
		tx.Rollback(ctx)
		for *last < upTo {
			if more, err := r.drainSome(ctx, last, (most+1)/2); err != nil || !more {
				return more, err
			}
		}
		return true, nil
	case isData(err):
		r.refuse(ids[0], fmt.Errorf("%w; it is in the table pawl_import", err))
		*last = upTo
		return true, nil
	case err != nil:
		return false, err
	}
	r.done(b)
	*last = upTo
	if _, err := tx.Exec(ctx, r.source.in("delete from source.pawl_import where mark = any ($1::text[]::uuid[])"), pgx.QueryExecModeCacheDescribe, settled); err != nil {
		return false, err
	}
	if err := tx.Commit(ctx); err != nil {
		return false, err
	}
	_, err = r.target.Exec(ctx, "delete from pawl_import_mark where mark = any ($1::text[]::uuid[])", pgx.QueryExecModeCacheDescribe, settled)
	return true, err
}
