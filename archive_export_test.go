package pawl

import "context"

// Retain applies the retention once, so that tests need not wait for a runner to do so.
func (c *Client) Retain(ctx context.Context) error { return c.retain(ctx) }

// MakePartitions makes the archive's partitions once.
func (c *Client) MakePartitions(ctx context.Context) error { return c.makePartitions(ctx) }
