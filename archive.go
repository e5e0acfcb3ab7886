package pawl

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// The archive is partitioned by the day a job may be dropped. Partitions are made standalone and attached, removed detached
// concurrently and dropped: CREATE … PARTITION OF and DROP of an attached one would stop completions while any transaction is open.

const (
	daysAhead       = 7
	partitionPrefix = "archive_"
	partitionDay    = "20060102"
)

// makePartitions makes the archive's partitions for a week ahead of every retention in use.
func (c *Client) makePartitions(ctx context.Context) error {
	var made int
	return c.row(ctx, "select pawl.make_partitions($1::integer)", []any{daysAhead}, &made)
}

// retain drops what is past its retention: partitions of the archive, the dead, workers and batches that are gone, what clients told.
func (c *Client) retain(ctx context.Context) error {
	for {
		const most = 1000
		var n int64
		if err := c.row(ctx, "select pawl.apply_retention($1::integer)", []any{most}, &n); err != nil {
			return err
		}
		if n < most {
			break
		}
	}
	var today time.Time
	if err := c.row(ctx, "select (clock_timestamp() at time zone 'UTC')::date", nil, &today); err != nil {
		return err
	}
	type partition struct {
		name          string
		day           time.Time
		pending, ours bool
	}
	var past []partition
	err := c.query(ctx, `select k.relname::text, i.inhdetachpending, pg_has_role(k.relowner, 'usage') from pg_inherits i join pg_class k on k.oid = i.inhrelid
		where i.inhparent = 'pawl.archive'::regclass`, nil, func(s scanner) error {
		var p partition
		if err := s.Scan(&p.name, &p.pending, &p.ours); err != nil {
			return err
		}
		var err error
		p.day, err = time.Parse(partitionPrefix+partitionDay, p.name)
		if err == nil && p.day.AddDate(0, 0, 1).Before(today.Add(time.Second)) {
			past = append(past, p)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range past {
		if !p.ours {
			if err := c.query(ctx, "select pawl.drop_partition($1::date)", []any{p.day}, nil); err != nil {
				return fmt.Errorf("drop %s: %w", p.name, err)
			}
			continue
		}
		// It waits for every transaction that may still look: give up after a while and come back, the rest can be finished then.
		detaching, cancel := context.WithTimeout(ctx, time.Minute)
		how := " concurrently"
		if p.pending {
			how = " finalize"
		}
		err := c.outsideTx(detaching, "alter table pawl.archive detach partition pawl."+p.name+how)
		cancel()
		if err != nil {
			return fmt.Errorf("detach %s: %w", p.name, err)
		}
		if err := c.query(ctx, "drop table if exists pawl."+p.name, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// outsideTx runs a statement that PostgreSQL refuses in a transaction, and so by the extended protocol's pipelines too.
func (c *Client) outsideTx(ctx context.Context, text string) error {
	return c.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		_, err := conn.Exec(ctx, c.source.Into(c.config.Schema, text), pgx.QueryExecModeSimpleProtocol)
		if err != nil && ctx.Err() != nil {
			err = errors.Join(ctx.Err(), err)
		}
		return err
	})
}
