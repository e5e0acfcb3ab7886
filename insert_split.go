package pawl

import (
	"context"
	"iter"
)

// exceeds reports whether the size of all rows is above most.
func exceeds(rows []insertRow, most int) bool {
	total := 0
	for i := range rows {
		if total += rows[i].size(); total > most {
			return true
		}
	}
	return false
}

// splitRows returns consecutive parts of rows, each of at most n rows and of at most most bytes, or of one row.
func splitRows(rows []insertRow, n, most int) iter.Seq[[]insertRow] {
	return func(yield func([]insertRow) bool) {
		for len(rows) > 0 {
			end, size := 0, 0
			for end < min(len(rows), n) {
				if size += rows[end].size(); size > most && end > 0 {
					break
				}
				end++
			}
			if !yield(rows[:end]) {
				return
			}
			rows = rows[end:]
		}
	}
}

// insertParts inserts rows in as many statements as they need. The caller has seen to the transaction.
func insertParts[R any](
	ctx context.Context, rows []insertRow, n, most int, insert func(context.Context, []insertRow) ([]R, error),
) ([]R, error) {
	results := make([]R, 0, len(rows))
	for part := range splitRows(rows, n, most) {
		more, err := insert(ctx, part)
		if err != nil {
			return nil, err
		}
		results = append(results, more...)
	}
	return results, nil
}
