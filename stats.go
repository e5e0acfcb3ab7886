package pawl

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pawlhq/pawl/pawlstats"
)

// countUpTo is how many jobs of a state Stats counts, over all queues. See queue_stats.sql.
const countUpTo = 5_000

// countChannelsUpTo is how many jobs of a state Channels counts. See channel_stats.sql.
const countChannelsUpTo = 10_000

// Stats returns figures of all queues and workers of the client's schema.
//
// Stats is cheap at any size. It counts up to 5,000 jobs of each state over all queues, and at least 250 for each
// queue. Beyond that it estimates and sets Estimated. Stats is slower if a queue was paused or not vacuumed for a
// long time, because it has to skip dead rows.
//
// Stats first reports this client's counters to the database, so that the rates include them. A client made by
// [Client.With] does not report them.
func (c *Client) Stats(ctx context.Context) (pawlstats.Stats, error) {
	if c.db == nil {
		c.counters.report(ctx, c)
	}
	var stats pawlstats.Stats
	err := c.readSystemStats(ctx, &stats)
	if err == nil {
		err = c.readQueueStats(ctx, &stats)
	}
	if err != nil {
		return pawlstats.Stats{}, fmt.Errorf("pawl: read stats: %w", err)
	}
	return stats, nil
}

// readSystemStats reads the figures that belong to no queue.
func (c *Client) readSystemStats(ctx context.Context, stats *pawlstats.Stats) error {
	var age *float64
	var semaphores []byte
	err := c.row(ctx, "select * from pawl.system_stats()", nil,
		&stats.At, &stats.Workers, &stats.StaleWorkers, &stats.Schema, &age, &semaphores, &stats.Stuck)
	if err != nil {
		return err
	}
	stats.XminAge = durationOrZero(age)
	return json.Unmarshal(semaphores, &stats.Semaphores)
}

// readQueueStats reads the figures of each queue, and the sums of them.
func (c *Client) readQueueStats(ctx context.Context, stats *pawlstats.Stats) error {
	// queue_stats computes ages from statement_timestamp, so At less an age is the same moment in every reading.
	err := c.query(ctx, "select s.*, statement_timestamp() from pawl.queue_stats($1::integer) s", []any{countUpTo},
		func(s scanner) error {
			var q pawlstats.Queue
			var oldest, lag *float64
			var newest *time.Time
			err := s.Scan(&q.Queue, &q.Reserved, &q.Waiting, &q.Scheduled, &q.Ready, &q.Running, &q.Dead,
				&q.Archived, &q.Estimated, &q.ArchivedEstimated, &q.Permits, &oldest, &lag, &newest,
				&q.In, &q.Out, &q.Failed, &stats.At)
			q.OldestReady, q.Lag, q.NewestJob = durationOrZero(oldest), durationOrZero(lag), valueOrZero(newest)
			stats.Queues = append(stats.Queues, q)
			stats.Dead += q.Dead
			stats.Archived += q.Archived
			return err
		})
	return err
}

// Tables returns the figures of the tables that jobs pass through, sorted by size, largest first. The archive's
// partitions count as one table.
func (c *Client) Tables(ctx context.Context) ([]pawlstats.Table, error) {
	var tables []pawlstats.Table
	err := c.query(ctx, "select * from pawl.table_stats()", nil, func(s scanner) error {
		var t pawlstats.Table
		var vacuumed *time.Time
		err := s.Scan(&t.Name, &t.Live, &t.Dead, &t.Bytes, &vacuumed)
		t.VacuumedAt = valueOrZero(vacuumed)
		tables = append(tables, t)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("pawl: read table stats: %w", err)
	}
	return tables, nil
}

// Channels returns the figures of a queue's channels, sorted by name. Jobs without a channel count in the channel "".
// A queue without jobs has no channels; that is not an error.
//
// Channels is about as cheap as Stats. If the queue has more than 10,000 jobs of a state, the figures are estimated
// from a part of the channels. If it has more than 10,000 channels, some are left out.
func (c *Client) Channels(ctx context.Context, queue string) ([]pawlstats.Queue, error) {
	var channels []pawlstats.Queue
	err := c.query(ctx, "select * from pawl.channel_stats($1::text, $2::integer)", []any{queue, countChannelsUpTo},
		func(s scanner) error {
			q := pawlstats.Queue{Queue: queue}
			var oldest, lag *float64
			err := s.Scan(&q.Channel, &q.Reserved, &q.Scheduled, &q.Ready, &q.Running, &q.Dead, &q.Estimated,
				&oldest, &lag)
			q.OldestReady, q.Lag = durationOrZero(oldest), durationOrZero(lag)
			channels = append(channels, q)
			return err
		})
	if err == nil {
		channels, err = c.markHalted(ctx, queue, channels)
	}
	if err != nil {
		return nil, fmt.Errorf("pawl: read channel stats of queue %.50q: %w", queue, err)
	}
	return channels, nil
}

// markHalted sets Halted in the channels that are halted. It adds those that have no jobs, because the dead job at
// their head may be all that is left of them.
func (c *Client) markHalted(ctx context.Context, queue string, channels []pawlstats.Queue) ([]pawlstats.Queue, error) {
	err := c.query(ctx, "select h.channel from pawl.halted_channel h where h.queue = $1::text", []any{queue},
		func(s scanner) error {
			q := pawlstats.Queue{Queue: queue, Halted: true}
			err := s.Scan(&q.Channel)
			i, found := slices.BinarySearchFunc(channels, q.Channel, func(a pawlstats.Queue, channel string) int {
				return strings.Compare(a.Channel, channel)
			})
			if found {
				channels[i].Halted = true
			} else {
				channels = slices.Insert(channels, i, q)
			}
			return err
		})
	return channels, err
}

// durationOrZero turns seconds from the database into a duration, and null into zero.
func durationOrZero(s *float64) time.Duration {
	if s == nil {
		return 0
	}
	return seconds(*s)
}

// valueOrZero returns the value that v points to, or the zero value if the database gave null.
func valueOrZero[T any](v *T) (t T) {
	if v != nil {
		t = *v
	}
	return t
}
