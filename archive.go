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
	return pgx.BeginTxFunc(ctx, c.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		in := c.With(tx)
		if err := in.query(ctx, "select pg_advisory_xact_lock(hashtextextended('pawl.partitions', 0))", nil, nil); err != nil {
			return err
		}
		var missing []time.Time
		err := in.query(ctx, `select distinct d.day
			from (select interval '1 day' union select retain_completed from pawl.queue union select retain_cancelled from pawl.queue) r (retain)
			cross join generate_series(0, $1::integer) n (days)
			cross join lateral (select ((clock_timestamp() + r.retain) at time zone 'UTC')::date + n.days) d (day)
			where r.retain > '0'
			  and to_regclass('pawl.archive_' || to_char(d.day, 'YYYYMMDD')) is null
			order by d.day`, []any{daysAhead}, func(s scanner) error {
			var day time.Time
			err := s.Scan(&day)
			missing = append(missing, day)
			return err
		})
		if err != nil {
			return err
		}
		for _, day := range missing {
			name := partitionPrefix + day.Format(partitionDay)
			for _, text := range []string{
				"create table pawl." + name + " (like pawl.archive including defaults including indexes)",
				"alter table pawl." + name + " set (autovacuum_vacuum_insert_scale_factor = 0.5, autovacuum_analyze_scale_factor = 0.5)",
				fmt.Sprintf("alter table pawl.archive attach partition pawl.%s for values from ('%s 00:00:00+00') to ('%s 00:00:00+00')",
					name, day.Format(time.DateOnly), day.AddDate(0, 0, 1).Format(time.DateOnly)),
			} {
				if err := in.query(ctx, text, nil, nil); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// retain drops what is past its retention: partitions of the archive, the dead, workers gone for a day, and what clients told ten minutes ago.
func (c *Client) retain(ctx context.Context) error {
	if err := c.query(ctx, "delete from pawl.worker where gone_at < clock_timestamp() - interval '1 day'", nil, nil); err != nil {
		return err
	}
	if err := c.query(ctx, "delete from pawl.batch where finished_at < clock_timestamp() - interval '30 days'", nil, nil); err != nil {
		return err
	}
	if err := c.query(ctx, "delete from pawl.tally where slot < extract(epoch from clock_timestamp()) / 10 - 60", nil, nil); err != nil {
		return err
	}
	for {
		var n int64
		if err := c.row(ctx, `with gone as (
			delete from pawl.dead where id = any (array(select id from pawl.dead where expires_at < clock_timestamp() limit 1000 for update skip locked))
			returning 1) select count(*) from gone`, nil, &n); err != nil {
			return err
		}
		if n < 1000 {
			break
		}
	}
	var today time.Time
	if err := c.row(ctx, "select (clock_timestamp() at time zone 'UTC')::date", nil, &today); err != nil {
		return err
	}
	type partition struct {
		name    string
		pending bool
	}
	var past []partition
	err := c.query(ctx, `select k.relname::text, i.inhdetachpending from pg_inherits i join pg_class k on k.oid = i.inhrelid
		where i.inhparent = 'pawl.archive'::regclass`, nil, func(s scanner) error {
		var p partition
		if err := s.Scan(&p.name, &p.pending); err != nil {
			return err
		}
		day, err := time.Parse(partitionPrefix+partitionDay, p.name)
		if err == nil && day.AddDate(0, 0, 1).Before(today.Add(time.Second)) {
			past = append(past, p)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range past {
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
