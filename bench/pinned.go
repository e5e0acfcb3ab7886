package bench

import "context"

// runPinned is flow beside a snapshot that keeps vacuum from removing any row
// version of the whole run, as a long report or a backup does.
func runPinned(ctx context.Context, m *measurement) error {
	// The snapshot is taken by the first query.
	return m.beside(ctx, "begin isolation level repeatable read", "select id from pawl.job limit 1")
}

// runPinnedWriter is flow beside a transaction that has a number and does not
// end. That holds up more than vacuum: it might have inserted a job unseen.
func runPinnedWriter(ctx context.Context, m *measurement) error {
	return m.beside(ctx, "begin", "select pg_current_xact_id()")
}

// beside is flow while a transaction of these statements stays open.
func (m *measurement) beside(ctx context.Context, statements ...string) error {
	conn, err := m.db.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, s := range append([]string{"set idle_in_transaction_session_timeout = 0"}, statements...) {
		if _, err := conn.Exec(ctx, s); err != nil {
			return err
		}
	}
	m.result.WindowFigures = &WindowFigures{WindowSeconds: m.Window.Seconds()}
	if err := m.flow(ctx, noop); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "rollback")
	return err
}
