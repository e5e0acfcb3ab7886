package pawl

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/internal/migrate"
)

// Repair mends what Verify finds, as far as that is safe, and says what it found: Repaired is true where a second Verify did not find
// it any more. A job that lacked its ticket gets one, at a new epoch: whoever still runs it has lost it. What is left of jobs that are
// gone is taken away; functions, indexes and partitions are made anew, without stopping the queue. Tables are not, nor is a schema of
// another version touched. It may run beside the queue at work, and waits for nobody longer than a few seconds, but an index is built
// only when all transactions older than it have ended.
func (c *Client) Repair(ctx context.Context) ([]Finding, error) {
	if err := c.requirePool("Repair"); err != nil {
		return nil, err
	}
	var all []violation
	failed := map[string]error{}
	for round := 0; ; round++ {
		flaws, err := c.violations(ctx, mendInRound)
		if err != nil {
			return nil, fmt.Errorf("pawl: repair: %w", err)
		}
		for i := range all {
			all[i].Repaired = true
		}
		for _, f := range flaws {
			i := slices.IndexFunc(all, func(known violation) bool { return known.Check == f.Check && known.about == f.about })
			if i < 0 {
				all = append(all, f)
			} else {
				all[i].Repaired = false
			}
		}
		changed := false
		for _, f := range flaws {
			if f.mend == nil || f.structural && round > 0 {
				continue
			}
			did, err := f.mend(ctx, c)
			if ctx.Err() != nil {
				return nil, fmt.Errorf("pawl: repair: %w", ctx.Err())
			}
			changed = changed || did
			failed[f.Check+" "+f.about] = err
		}
		if !changed {
			break
		}
	}
	for i, f := range all {
		if err := failed[f.Check+" "+f.about]; err != nil && !f.Repaired {
			all[i].Problem += fmt.Sprintf("; repair failed: %v", err)
		}
	}
	return findings(all), nil
}

// concurrently is the statement that builds an index beside the queue at work.
func concurrently(definition string) string {
	if strings.Contains(definition, " ON ONLY ") {
		return strings.Replace(definition, " ON ONLY ", " ON ", 1)
	}
	return strings.Replace(definition, " INDEX ", " INDEX CONCURRENTLY ", 1)
}

// makeIndex builds an index that is missing, or was not built to the end.
func (c *Client) makeIndex(ctx context.Context, d migrate.Difference) error {
	if strings.Contains(d.Want, " ON ONLY ") {
		return c.makeIndexOfPartitions(ctx, d)
	}
	if d.Have != "" {
		return c.outsideTx(ctx, "reindex index concurrently pawl."+d.Name)
	}
	if err := c.outsideTx(ctx, concurrently(d.Want)); err != nil {
		return err
	}
	table, isKey := strings.CutSuffix(d.Name, "_pkey")
	if !isKey {
		return nil
	}
	return pgx.BeginTxFunc(ctx, c.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		in := c.With(tx)
		err := in.query(ctx, "select set_config('lock_timeout', '2s', true)", nil, nil)
		if err == nil {
			err = in.query(ctx, fmt.Sprintf("alter table pawl.%s add constraint %s primary key using index %s", table, d.Name, d.Name), nil, nil)
		}
		return err
	})
}

// makeIndexOfPartitions builds an index of the archive as PostgreSQL cannot do at once without stopping all that ends: partition by
// partition.
func (c *Client) makeIndexOfPartitions(ctx context.Context, d migrate.Difference) error {
	if d.Have == "" {
		if err := c.query(ctx, d.Want, nil, nil); err != nil {
			return err
		}
	}
	var lacking []string
	err := c.query(ctx, `select k.relname::text from pg_inherits t join pg_class k on k.oid = t.inhrelid
		where t.inhparent = 'pawl.archive'::regclass
		  and not exists (select from pg_inherits x join pg_index i on i.indexrelid = x.inhrelid
		                  where x.inhparent = to_regclass($1::text) and i.indrelid = k.oid)`, []any{c.into("pawl.%s", d.Name)}, func(s scanner) error {
		var name string
		err := s.Scan(&name)
		lacking = append(lacking, name)
		return err
	})
	if err != nil {
		return err
	}
	_, using, _ := strings.Cut(d.Want, " USING ")
	for _, partition := range lacking {
		index := partition + strings.TrimPrefix(d.Name, "archive")
		err := c.outsideTx(ctx, "drop index concurrently if exists pawl."+index) // Of a repair that did not come to its end.
		if err == nil {
			err = c.outsideTx(ctx, fmt.Sprintf("create index concurrently %s on pawl.%s using %s", index, partition, using))
		}
		if err == nil {
			err = c.query(ctx, fmt.Sprintf("alter index pawl.%s attach partition pawl.%s", d.Name, index), nil, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mend does to rows what a fault needs, some at a time, each some in a transaction of their own.
func (c *Client) mend(ctx context.Context, how string, rows []brokenRow) (changed bool, err error) {
	for some := range slices.Chunk(rows, mendAtOnce) {
		ids, leases := make([]int64, len(some)), make([]string, len(some))
		for i, row := range some {
			ids[i], leases[i] = row.id, row.lease
		}
		arg := any(ids)
		if some[0].lease != "" {
			arg = leases
		}
		var n int64
		err = pgx.BeginTxFunc(ctx, c.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
			in := c.With(tx)
			if err := in.query(ctx, "select set_config('lock_timeout', '5s', true)", nil, nil); err != nil {
				return err
			}
			return in.row(ctx, how, []any{arg}, &n)
		})
		if err != nil && (ctx.Err() != nil || !isTransient(err)) {
			return changed, err
		}
		changed = changed || err == nil && n > 0
	}
	if err := c.runFollowups(ctx); err != nil {
		return changed, err
	}
	return changed, err
}
