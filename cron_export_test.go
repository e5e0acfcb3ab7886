package pawl

import (
	"context"
	_ "time/tzdata" // The tests need the same zones on every machine.
)

// TickCrons inserts the jobs of ticks that are due once, so that tests need not wait for a runner to do so.
func (c *Client) TickCrons(ctx context.Context) error { return (&cronTicker{client: c}).do(ctx) }
