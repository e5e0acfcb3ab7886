package inspect

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

const (
	rowsPerTx    = 5000    // The number of rows that one transaction of Repair changes.
	rowsPerRound = 500_000 // The number of rows of a check that Repair keeps in memory.
)

// Repair repairs what Verify finds, as far as that is safe, and returns what it found. Repaired is true if a later look
// did not find the problem again.
func (in *Installation) Repair(ctx context.Context) ([]Finding, error) {
	var report []fault
	failures := map[string]error{} // By key, the error of the last repair.
	for round := 0; ; round++ {
		faults, err := in.faults(ctx, rowsPerRound)
		if err != nil {
			return nil, err
		}
		report = merge(report, faults)
		changed := false
		for _, f := range faults {
			if f.repair == nil || f.structural && round > 0 {
				continue
			}
			did, err := f.repair(ctx)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			changed = changed || did
			failures[f.key()] = err
		}
		if !changed {
			break
		}
	}
	for i := range report {
		if err := failures[report[i].key()]; err != nil && !report[i].Repaired {
			report[i].Problem += fmt.Sprintf("; the repair failed: %v", err)
		}
	}
	return findings(report), nil
}

// merge adds the faults of another look to a report, and marks those that the look did not find as repaired.
func merge(report, faults []fault) []fault {
	for i := range report {
		report[i].Repaired = true
	}
	for _, f := range faults {
		i := slices.IndexFunc(report, func(known fault) bool { return known.key() == f.key() })
		if i < 0 {
			report = append(report, f)
		} else {
			report[i].Repaired = false
		}
	}
	return report
}

// repairRows runs a repair statement for rows, in several transactions.
func (in *Installation) repairRows(ctx context.Context, statement string, rows []brokenRow) (changed bool, err error) {
	for part := range slices.Chunk(rows, rowsPerTx) {
		var n int64
		n, err = in.repairPart(ctx, statement, part)
		if err != nil && (ctx.Err() != nil || !in.IsTransient(err)) {
			return changed, err
		}
		changed = changed || err == nil && n > 0
	}
	if err := in.RunFollowups(ctx); err != nil {
		return changed, err
	}
	return changed, err
}

// repairPart runs a repair statement for rows in one transaction. It returns how many rows the statement changed.
func (in *Installation) repairPart(ctx context.Context, statement string, rows []brokenRow) (n int64, err error) {
	ids, leases := make([]int64, len(rows)), make([]string, len(rows))
	for i, row := range rows {
		ids[i], leases[i] = row.id, row.lease
	}
	arg := any(ids)
	if rows[0].lease != "" {
		arg = leases
	}
	err = in.Begin(ctx, pgx.ReadWrite, func(tx Runner) error {
		if err := tx.Query(ctx, "select set_config('lock_timeout', '5s', true)", nil, nil); err != nil {
			return err
		}
		return queryRow(ctx, tx, statement, []any{arg}, &n)
	})
	return n, err
}
