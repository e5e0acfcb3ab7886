package pawl

import (
	"context"
	"slices"
	"time"

	"github.com/pawlhq/pawl/internal/inspect"
	"github.com/pawlhq/pawl/internal/migrate"
)

// DoctorStrict is Doctor with thresholds near zero, so that tests need not wait for age or make something large.
func (c *Client) DoctorStrict(ctx context.Context) ([]Finding, error) {
	return c.doctor(ctx, inspect.Thresholds{
		Overdue: time.Millisecond, Locked: time.Millisecond, Horizon: 1, Bloat: 1 << 20, Archive: 1 << 20,
	}, time.Now)
}

// DoctorAhead is Doctor on a machine whose clock is ahead.
func (c *Client) DoctorAhead(ctx context.Context, by time.Duration) ([]Finding, error) {
	return c.doctor(ctx, inspect.DefaultThresholds, func() time.Time { return time.Now().Add(by) })
}

// LaterBinary returns the client of a binary with one more migration.
func (c *Client) LaterBinary() *Client {
	source := *c.source
	source.Steps = append(slices.Clone(source.Steps), migrate.Step{Version: source.Version() + 1, Name: "later"})
	return &Client{installation: &installation{
		pool: c.pool, config: c.config, source: &source, counters: c.counters, noListen: c.noListen,
		limits: c.limits,
	}}
}
