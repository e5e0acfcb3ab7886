package pg

import (
	"context"
	"time"
)

// RetryUntil calls try until it succeeds, its error is not transient, or ctx ends. It returns the last error. The
// waits between tries grow from 50 milliseconds to 5 seconds.
func RetryUntil(ctx context.Context, try func() error) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := try()
		if err == nil || !IsTransient(err) || ctx.Err() != nil {
			return err
		}
		if !Sleep(ctx, wait) {
			return err
		}
	}
}

// Sleep waits for d. It returns false if ctx ends first.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
