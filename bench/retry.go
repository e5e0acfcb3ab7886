package bench

import (
	"context"
	"errors"
	"sync/atomic"
)

var errFirstAttempt = errors.New("first attempt fails on purpose")

// runRetry is flow with every fifth job failing once. The default backoff has
// the second attempt come after about a second.
func runRetry(ctx context.Context, m *measurement) error {
	var failed atomic.Int64
	err := m.flow(ctx, func(id int64, attempt int) error {
		if attempt == 1 && id%5 == 0 {
			failed.Add(1)
			return errFirstAttempt
		}
		return nil
	})
	if err == nil {
		m.result.FailedAttempts = failed.Load()
	}
	return err
}
