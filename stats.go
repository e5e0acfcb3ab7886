package pawl

import (
	"context"
	"fmt"
	"time"
)

// Stats are figures of the whole installation.
type Stats struct {
	Queues       []QueueStats // By name: those with live or dead jobs, and those somebody said something of.
	Workers      int          // That live.
	StaleWorkers int          // Of them.
	Schema       int          // Version.
	Archived     int64        // An estimate, also of jobs past their retention that are not dropped yet.
	Dead         int64        // The sum over the queues.

	// XminAge is how long the oldest transaction of this database is open: what died since cannot be vacuumed, and every claim walks over
	// it. It takes pg_read_all_stats, or the same role, to see those of others.
	XminAge time.Duration
}

// QueueStats are figures of a queue, or of a channel of one. Waiting jobs are in none of them: see Count.
type QueueStats struct {
	Queue, Channel                            string
	Reserved, Scheduled, Ready, Running, Dead int64
	Estimated                                 bool          // One of the counts is beyond what is counted, and made of the planner's statistics.
	OldestReady                               time.Duration // How long the oldest ready job has been due. Of one that was given back, since it first was.
	Lag                                       time.Duration // The same of ready and scheduled ones: of scheduled jobs nobody promotes, too.

	// In, Out and Failed are jobs a second: inserted, completed, failed. Stats and Channels leave them zero, for nothing in the
	// database tells them without reading the jobs: they are for who counts in the process.
	In, Out, Failed float64
}

// countUpTo is how many jobs of a state and queue are counted one by one.
const countUpTo = 10_000

// Stats are cheap at any size: up to 10,000 jobs of a state and queue are counted, more are estimated and marked. A paused or long
// unvacuumed queue may take longer, for dead rows have to be walked over.
func (c *Client) Stats(ctx context.Context) (Stats, error) {
	var stats Stats
	err := c.query(ctx, "select * from pawl.stats($1::integer)", []any{countUpTo}, func(s scanner) error {
		var q QueueStats
		err := q.scan(s, &q.Queue)
		stats.Queues = append(stats.Queues, q)
		stats.Dead += q.Dead
		return err
	})
	if err == nil {
		var age float64
		err = c.row(ctx, `select count(*), count(*) filter (where clock_timestamp() > greatest(w.seen_at, pg_postmaster_start_time()) + w.stale_after),
				(select coalesce(max(m.version), 0)::integer from pawl.migration m),
				(select coalesce(sum(greatest(k.reltuples, 0)), 0)::bigint
					from pg_inherits i join pg_class k on k.oid = i.inhrelid where i.inhparent = 'pawl.archive'::regclass),
				(select greatest(
					coalesce((select extract(epoch from clock_timestamp() - min(a.xact_start)) from pg_stat_activity a
						where a.datname = current_database() and a.pid <> pg_backend_pid() and (a.backend_xmin is not null or a.backend_xid is not null)), 0),
					coalesce((select extract(epoch from clock_timestamp() - min(p.prepared)) from pg_prepared_xacts p
						where p.database = current_database()), 0)))::double precision
			from pawl.worker w where w.gone_at is null`, nil, &stats.Workers, &stats.StaleWorkers, &stats.Schema, &stats.Archived, &age)
		stats.XminAge = span(&age)
	}
	if err != nil {
		return Stats{}, fmt.Errorf("pawl: stats: %w", err)
	}
	return stats, nil
}

// Channels are the figures of a queue's channels, by name; jobs without a channel are in the one named "". As cheap as Stats: where a
// queue has more than 10,000 jobs of a state, the channels of some stand for all; of more than 10,000 channels some are missing.
func (c *Client) Channels(ctx context.Context, queue string) ([]QueueStats, error) {
	var channels []QueueStats
	err := c.query(ctx, "select * from pawl.channel_stats($1::text, $2::integer)", []any{queue, countUpTo}, func(s scanner) error {
		q := QueueStats{Queue: queue}
		err := q.scan(s, &q.Channel)
		channels = append(channels, q)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("pawl: channels: %w", err)
	}
	return channels, nil
}

func (q *QueueStats) scan(s scanner, name *string) error {
	var oldest, lag *float64
	err := s.Scan(name, &q.Reserved, &q.Scheduled, &q.Ready, &q.Running, &q.Dead, &q.Estimated, &oldest, &lag)
	q.OldestReady, q.Lag = span(oldest), span(lag)
	return err
}

// span is a duration the database gave in seconds; null is none.
func span(s *float64) time.Duration {
	if s == nil {
		return 0
	}
	return time.Duration(*s * float64(time.Second))
}
