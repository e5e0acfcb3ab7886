package pawl

import (
	"context"
	"time"

	"github.com/pawlhq/pawl/internal/pg"
)

// Names of package pg as this package has called them. `go fix -inline .` replaces every use; then this file can be deleted.

//go:fix inline
func sqlState(err error) string { return pg.SQLState(err) }

//go:fix inline
func isDataError(err error) bool { return pg.IsDataError(err) }

//go:fix inline
func isTransient(err error) bool { return pg.IsTransient(err) }

//go:fix inline
func isAmbiguous(err error) bool { return pg.IsAmbiguous(err) }

//go:fix inline
func textParam(v any) any { return pg.Text(v) }

//go:fix inline
func interval(d time.Duration) string { return pg.Interval(d) }

//go:fix inline
func retryUntil(ctx context.Context, try func() error) error { return pg.RetryUntil(ctx, try) }

//go:fix inline
func sleep(ctx context.Context, d time.Duration) bool { return pg.Sleep(ctx, d) }
