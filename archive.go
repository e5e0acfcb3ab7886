package pawl

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Finished jobs are kept in the table archive, which has a partition for each day on which jobs may be dropped.
//
// A partition is created as a table of its own and then attached. It is detached concurrently and then dropped. CREATE
// TABLE ... PARTITION OF and DROP TABLE of an attached partition would block the completion of jobs for as long as any
// older transaction is open.

const (
	daysAhead       = 7 // Partitions are created this many days ahead of every retention.
	partitionPrefix = "archive_"
	partitionDay    = "20060102"
)

// makePartitions creates the archive's partitions for a week ahead of every retention in use.
func (c *Client) makePartitions(ctx context.Context) error {
	var made int
	return c.row(ctx, "select pawl.make_partitions($1::integer)", []any{daysAhead}, &made)
}

// retain deletes data past its retention: partitions of the archive, dead jobs, workers and batches that are gone, and
// old counters.
func (c *Client) retain(ctx context.Context) error {
	const most = 1000 // Rows a statement deletes, so that it holds no lock for long.
	for {
		var n int64
		if err := c.row(ctx, "select pawl.apply_retention($1::integer)", []any{most}, &n); err != nil {
			return err
		}
		if n < most {
			break
		}
	}
	past, err := c.pastPartitions(ctx)
	if err != nil {
		return err
	}
	for _, p := range past {
		if err := c.dropPartition(ctx, p); err != nil {
			return fmt.Errorf("drop partition %s: %w", p.name, err)
		}
	}
	return nil
}

// An archivePartition is a partition of the archive.
type archivePartition struct {
	name     string
	day      time.Time
	detached bool // detached says that a detach has begun and must be finalized.
	ours     bool // ours says that this role may alter the table.
}

// pastPartitions returns the partitions of days that are over.
func (c *Client) pastPartitions(ctx context.Context) ([]archivePartition, error) {
	var past []archivePartition
	err := c.query(ctx, `select k.relname::text, i.inhdetachpending, pg_has_role(k.relowner, 'usage'),
			(clock_timestamp() at time zone 'UTC')::date
		from pg_inherits i join pg_class k on k.oid = i.inhrelid
		where i.inhparent = 'pawl.archive_chunk'::regclass`, nil, func(s scanner) error {
		var p archivePartition
		var today time.Time
		if err := s.Scan(&p.name, &p.detached, &p.ours, &today); err != nil {
			return err
		}
		var err error
		p.day, err = time.Parse(partitionPrefix+partitionDay, p.name)
		if err == nil && p.day.Before(today) { // A name of another form is not a partition that Pawl made.
			past = append(past, p)
		}
		return nil
	})
	return past, err
}

func (c *Client) dropPartition(ctx context.Context, p archivePartition) error {
	if !p.ours {
		// A role that is not the owner cannot detach concurrently. The function waits for its locks only briefly.
		return c.query(ctx, "select pawl.drop_partition($1::date)", []any{p.day}, nil)
	}
	// The detach waits for every transaction that may still read the partition. If it takes too long, the next call
	// finalizes it.
	detaching, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	how := " concurrently"
	if p.detached {
		how = " finalize"
	}
	if err := c.outsideTx(detaching, "alter table pawl.archive_chunk detach partition pawl."+p.name+how); err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	return c.query(ctx, "drop table if exists pawl."+p.name, nil, nil)
}

// outsideTx runs a statement that PostgreSQL refuses in a transaction. It uses the simple protocol because a pipeline
// of the extended protocol is a transaction too.
func (c *Client) outsideTx(ctx context.Context, text string) error {
	return c.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		_, err := conn.Exec(ctx, c.source.Into(c.config.Schema, text), pgx.QueryExecModeSimpleProtocol)
		if err != nil && ctx.Err() != nil {
			err = errors.Join(ctx.Err(), err)
		}
		return err
	})
}
