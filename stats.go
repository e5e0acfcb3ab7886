package pawl

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Stats are figures of the whole installation.
type Stats struct {
	At           time.Time    // The database's clock.
	Queues       []QueueStats // By name: those with live, dead or archived jobs, those somebody said something of, and those in use within the last minute.
	Workers      int          // That live.
	StaleWorkers int          // Of them.
	Schema       int          // Version.
	Archived     int64        // An estimate, also of jobs past their retention that are not dropped yet.
	Dead         int64        // The sum over the queues.

	// Semaphores are the permits in use of named limits, by key: see Client.Semaphore.
	Semaphores map[string]int64

	// XminAge is how long the oldest transaction of this database is open: what died since cannot be vacuumed, and every claim walks over
	// it. It takes pg_read_all_stats, or the same role, to see those of others.
	XminAge time.Duration
}

// QueueStats are figures of a queue, or of a channel of one.
type QueueStats struct {
	Queue, Channel                            string
	Reserved, Scheduled, Ready, Running, Dead int64
	Estimated                                 bool          // One of the figures is beyond what is counted, and made of the planner's statistics or of a part.
	OldestReady                               time.Duration // How long the oldest ready job has been due. Of one that was given back, since it first was.
	Lag                                       time.Duration // The same of ready and scheduled ones: of scheduled jobs nobody promotes, too.
	Halted                                    bool          // Of a channel alone: it stands still until ResumeChannel, because its head died.

	// Those of a queue alone; of a channel they are zero.

	Waiting           int64     // For other jobs.
	Permits           int64     // In use of its limits: running jobs, and cancelled ones whose handlers have not ended.
	NewestJob         time.Time // When the newest of its live jobs was inserted; zero: it has none. Of many channels the first three are looked at.
	Archived          int64     // Completed and cancelled ones still kept.
	ArchivedEstimated bool      // Made of the planner's statistics, which may know nothing of a queue that is rare in a large archive.

	// In, Out and Failed are jobs inserted, jobs completed and attempts failed a second, over the last minute, as the clients of all
	// processes tell it every 3 s: not what SQL sessions do by themselves, and not the last seconds of a process that ended without Run's drain.
	In, Out, Failed float64
}

// Live is how many live jobs the queue has.
func (q QueueStats) Live() int64 { return q.Reserved + q.Waiting + q.Scheduled + q.Ready + q.Running }

// TableStats are figures of a table. Live and Dead are rows, as the server estimates them: dead ones not vacuumed yet.
type TableStats struct {
	Name       string // The archive is one.
	Live, Dead int64
	Bytes      int64     // With its indexes.
	VacuumedAt time.Time // Zero: never. Of the archive's parts the one longest ago.
}

// How much Stats and Channels look at: see queue_stats.sql and channel_stats.sql.
const (
	lookAt    = 5_000
	countUpTo = 10_000
)

// Stats are cheap at any size: of each state 5,000 jobs are counted, shared by the queues but at least 250 each, and the rest is
// estimated and marked. A paused or long unvacuumed queue may take longer, for dead rows have to be walked over. What this client has
// counted is handed over before, so that it is in the figures; With a transaction it is not.
func (c *Client) Stats(ctx context.Context) (Stats, error) {
	if c.db == nil {
		c.counters.report(ctx, c)
	}
	var stats Stats
	var age *float64
	var semaphores []byte
	err := c.row(ctx, "select * from pawl.system_stats()", nil, &stats.At, &stats.Workers, &stats.StaleWorkers, &stats.Schema, &stats.Archived, &age, &semaphores)
	stats.XminAge = span(age)
	if err == nil {
		err = json.Unmarshal(semaphores, &stats.Semaphores)
	}
	if err == nil {
		var archived int64
		// By statement_timestamp it counts ages, so that At less an age is the same moment each time.
		err = c.query(ctx, "select s.*, statement_timestamp() from pawl.queue_stats($1::integer) s", []any{lookAt}, func(s scanner) error {
			var q QueueStats
			var oldest, lag *float64
			var newest *time.Time
			err := s.Scan(&q.Queue, &q.Reserved, &q.Waiting, &q.Scheduled, &q.Ready, &q.Running, &q.Dead, &q.Archived, &q.Estimated, &q.ArchivedEstimated,
				&q.Permits, &oldest, &lag, &newest, &q.In, &q.Out, &q.Failed, &stats.At)
			q.OldestReady, q.Lag, q.NewestJob = span(oldest), span(lag), given(newest)
			stats.Queues = append(stats.Queues, q)
			stats.Dead += q.Dead
			archived += q.Archived
			return err
		})
		stats.Archived = max(stats.Archived, archived) // A small archive may have no statistics, and is counted.
	}
	if err != nil {
		return Stats{}, fmt.Errorf("pawl: stats: %w", err)
	}
	return stats, nil
}

// Tables are those that jobs go through, the largest first.
func (c *Client) Tables(ctx context.Context) ([]TableStats, error) {
	var tables []TableStats
	err := c.query(ctx, "select * from pawl.table_stats()", nil, func(s scanner) error {
		var t TableStats
		var vacuumed *time.Time
		err := s.Scan(&t.Name, &t.Live, &t.Dead, &t.Bytes, &vacuumed)
		t.VacuumedAt = given(vacuumed)
		tables = append(tables, t)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("pawl: tables: %w", err)
	}
	return tables, nil
}

// Channels are the figures of a queue's channels, by name; jobs without a channel are in the one named "". As cheap as Stats: where a
// queue has more than 10,000 jobs of a state, the channels of some stand for all; of more than 10,000 channels some are missing.
func (c *Client) Channels(ctx context.Context, queue string) ([]QueueStats, error) {
	var channels []QueueStats
	err := c.query(ctx, "select * from pawl.channel_stats($1::text, $2::integer)", []any{queue, countUpTo}, func(s scanner) error {
		q := QueueStats{Queue: queue}
		var oldest, lag *float64
		err := s.Scan(&q.Channel, &q.Reserved, &q.Scheduled, &q.Ready, &q.Running, &q.Dead, &q.Estimated, &oldest, &lag)
		q.OldestReady, q.Lag = span(oldest), span(lag)
		channels = append(channels, q)
		return err
	})
	if err == nil {
		err = c.query(ctx, "select h.channel from pawl.halted_channel h where h.queue = $1::text", []any{queue}, func(s scanner) error {
			q := QueueStats{Queue: queue, Halted: true}
			err := s.Scan(&q.Channel)
			i, known := slices.BinarySearchFunc(channels, q, func(a, b QueueStats) int { return strings.Compare(a.Channel, b.Channel) })
			if known {
				channels[i].Halted = true
			} else {
				channels = slices.Insert(channels, i, q) // Its dead head is all that is left of it, or not even that.
			}
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("pawl: channels: %w", err)
	}
	return channels, nil
}

// span is a duration the database gave in seconds; null is none.
func span(s *float64) time.Duration {
	if s == nil {
		return 0
	}
	return seconds(*s)
}

// given is what the database gave; null is zero.
func given[T any](v *T) (t T) {
	if v != nil {
		t = *v
	}
	return t
}
