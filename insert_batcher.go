package pawl

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/pawlhq/pawl/internal/pg"
)

// An insertBatcher makes inserts of single jobs share statements. While statements run, it collects further jobs.
// When a statement returns, the next one inserts the collected jobs. There is no timer: a single job is inserted at
// once. Its goroutines run only while there are jobs to insert.
type insertBatcher struct {
	client     *Client
	mu         sync.Mutex
	waiting    []*pendingInsert
	statements int
}

type pendingInsert struct {
	row       insertRow
	id        ID
	err       error
	done      chan struct{}
	statement atomic.Pointer[insertStatement] // The statement that inserts it.
}

// An insertStatement is a running statement. It is cancelled when the last caller has stopped waiting.
type insertStatement struct {
	cancel  context.CancelFunc
	waiters atomic.Int32
}

const (
	maxInsertStatements = 2    // Statements at once: one runs while the commit of the other is flushed.
	maxRowsInStatement  = 1000 // Jobs in one statement.
)

func (in *insertBatcher) insert(ctx context.Context, r insertRow) (ID, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	one := &pendingInsert{row: r, done: make(chan struct{})}
	in.mu.Lock()
	in.waiting = append(in.waiting, one)
	if in.statements < maxInsertStatements {
		in.statements++
		go in.run()
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
		if f := one.statement.Load(); f != nil && f.waiters.Add(-1) == 0 {
			f.cancel()
		}
		return 0, fmt.Errorf("pawl: insert job: %w while the statement was under way; the job may have been inserted",
			ctx.Err())
	}
	if one.err != nil {
		return 0, fmt.Errorf("pawl: insert job: %w", one.err)
	}
	return one.id, nil
}

func (in *insertBatcher) run() {
	for {
		in.mu.Lock()
		n := in.take()
		if n == 0 {
			in.statements--
			in.waiting = nil
			in.mu.Unlock()
			return
		}
		batch := make([]*pendingInsert, n)
		copy(batch, in.waiting)
		in.waiting = in.waiting[:copy(in.waiting, in.waiting[n:])]
		ctx, cancel := context.WithCancel(context.Background())
		f := &insertStatement{cancel: cancel}
		f.waiters.Store(int32(n))
		for _, one := range batch {
			one.statement.Store(f)
		}
		in.mu.Unlock()
		in.insertRows(ctx, batch)
		cancel()
	}
}

// take returns how many of the waiting jobs the next statement inserts. Both their number and their size are bounded.
func (in *insertBatcher) take() int {
	n, size := 0, 0
	for n < min(len(in.waiting), maxRowsInStatement) {
		if size += in.waiting[n].row.size(); size > in.client.limits.batch && n > 0 {
			break
		}
		n++
	}
	return n
}

// insertRows inserts a batch and gives each job its result. If the database refuses what may be the fault of one job,
// it inserts the halves, so that a bad job fails alone.
func (in *insertBatcher) insertRows(ctx context.Context, batch []*pendingInsert) {
	rows := make([]insertRow, len(batch))
	for i, one := range batch {
		rows[i] = one.row
	}
	ids, err := in.client.insertRows(ctx, rows)
	if len(batch) > 1 && isRowError(err) {
		in.insertRows(ctx, batch[:len(batch)/2])
		in.insertRows(ctx, batch[len(batch)/2:])
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

// isRowError reports whether one job of a statement may have made it fail: with its data, with the memory that its data
// needs, or with what a trigger says of it. The statement has done nothing then.
func isRowError(err error) bool {
	const outOfMemory, raised = "53200", "P0001"
	state := pg.SQLState(err)
	return err != nil && (pg.IsDataError(err) || state == outOfMemory || state == raised)
}
