package bench

import (
	"context"
	"time"

	"github.com/pawlhq/pawl"
)

// runInsert is one caller with a lot to put in.
func runInsert(ctx context.Context, m *measurement) error {
	return m.timeInsert(ctx, func(client *pawl.Client) error { return m.insertAll(ctx, client, m.Jobs) })
}

// callers is how many goroutines insert at once in insert-concurrent, like
// requests being served; they share the pool's few connections.
const callers = 1000

func runInsertConcurrent(ctx context.Context, m *measurement) error {
	return m.timeInsert(ctx, func(client *pawl.Client) error {
		// A caller beyond the last job draws a number too, hence another counter.
		drawn, next := int64(m.Jobs), &m.inserted
		err := together(ctx, callers, func(ctx context.Context) error {
			for {
				id := next.Add(1) - 1
				if id >= drawn {
					return nil
				}
				if _, err := client.Insert(ctx, newArgs(id, m.ArgsBytes)); err != nil {
					return err
				}
			}
		})
		next.Store(drawn)
		return err
	})
}

func (m *measurement) timeInsert(ctx context.Context, insert func(*pawl.Client) error) error {
	client, done, err := m.inserter(ctx)
	if err != nil {
		return err
	}
	defer done()
	defer m.display.watch("inserted", m.inserted.Load)()

	before, err := m.db.usage(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := insert(client); err != nil {
		return err
	}
	elapsed := time.Since(start)
	after, err := m.db.usage(ctx)
	if err != nil {
		return err
	}
	m.result.finish(int64(m.Jobs), elapsed, before, after)
	return nil
}
