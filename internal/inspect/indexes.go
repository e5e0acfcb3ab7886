package inspect

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/internal/migrate"
)

// concurrently returns the statement that builds an index without blocking writers.
func concurrently(definition string) string {
	if strings.Contains(definition, " ON ONLY ") {
		return strings.Replace(definition, " ON ONLY ", " ON ", 1)
	}
	return strings.Replace(definition, " INDEX ", " INDEX CONCURRENTLY ", 1)
}

// buildIndex builds an index that is missing or not valid.
func (in *Installation) buildIndex(ctx context.Context, d migrate.Difference) error {
	if strings.Contains(d.Want, " ON ONLY ") {
		return in.buildPartitionedIndex(ctx, d)
	}
	if d.Have != "" {
		return in.OutsideTx(ctx, "reindex index concurrently pawl."+d.Name)
	}
	if err := in.OutsideTx(ctx, concurrently(d.Want)); err != nil {
		return err
	}
	table, isKey := strings.CutSuffix(d.Name, "_pkey")
	if !isKey {
		return nil
	}
	return in.Begin(ctx, pgx.ReadWrite, func(tx Runner) error {
		err := tx.Query(ctx, "select set_config('lock_timeout', '2s', true)", nil, nil)
		if err == nil {
			err = tx.Query(ctx, fmt.Sprintf("alter table pawl.%[1]s add constraint %[2]s primary key using index %[2]s",
				table, d.Name), nil, nil)
		}
		return err
	})
}

// buildPartitionedIndex builds an index of the archive, one partition at a time. PostgreSQL cannot build such an index
// concurrently, and any other build would block every job that finishes.
func (in *Installation) buildPartitionedIndex(ctx context.Context, d migrate.Difference) error {
	if d.Have == "" {
		if err := in.Query(ctx, d.Want, nil, nil); err != nil {
			return err
		}
	}
	var partitions []string // The partitions that have no such index yet.
	err := in.Query(ctx, `select k.relname::text from pg_inherits t join pg_class k on k.oid = t.inhrelid
		where t.inhparent = 'pawl.archive_chunk'::regclass
		  and not exists (select from pg_inherits x join pg_index i on i.indexrelid = x.inhrelid
		                  where x.inhparent = to_regclass($1::text) and i.indrelid = k.oid)`,
		[]any{in.statement("pawl.%s", d.Name)}, func(row Row) error {
			var name string
			err := row.Scan(&name)
			partitions = append(partitions, name)
			return err
		})
	if err != nil {
		return err
	}
	_, using, _ := strings.Cut(d.Want, " USING ")
	for _, partition := range partitions {
		index := partition + strings.TrimPrefix(d.Name, "archive_chunk")
		// An interrupted repair may have left an index of that name.
		err := in.OutsideTx(ctx, "drop index concurrently if exists pawl."+index)
		if err == nil {
			err = in.OutsideTx(ctx, fmt.Sprintf("create index concurrently %s on pawl.%s using %s", index, partition, using))
		}
		if err == nil {
			err = in.Query(ctx, fmt.Sprintf("alter index pawl.%s attach partition pawl.%s", d.Name, index), nil, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
