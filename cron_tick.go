package pawl

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/internal/pg"
)

// A cronTicker is the maintenance task that inserts the jobs of crons. It sleeps until the next tick and reads the
// crons again at intervals.
type cronTicker struct {
	client *Client
	broken map[cronKey]time.Time // Crons that are left out until a time, because this process cannot insert their job.
	pause  time.Duration
}

// A cronKey identifies a cron until its schedule changes.
type cronKey struct{ name, spec, zone string }

const (
	cronLook    = time.Second            // The time between looks if there are crons.
	cronIdle    = 5 * time.Second        // The time between looks if there are none.
	cronLocked  = 250 * time.Millisecond // The time until the next look if another process has locked the due cron.
	cronBroken  = 10 * time.Second       // The time until the next try of a cron whose job was refused.
	cronUnknown = 24 * time.Hour         // The time until the next try of a cron that this binary cannot read.
	cronTimeout = 30 * time.Second       // The time for the transaction of one tick.
)

// wait returns the time until the next do.
func (t *cronTicker) wait() time.Duration { return t.pause }

// do inserts the jobs of all crons that are due.
func (t *cronTicker) do(ctx context.Context) error {
	var errs []error
	t.pause = cronLook
	for ctx.Err() == nil {
		var wait *float64
		err := t.client.row(ctx, "select pawl.due_cron($1::text[], $2::text[], $3::text[])", t.leftOut(), &wait)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		if wait == nil {
			t.pause = cronIdle
			break
		}
		if *wait > 0 {
			t.pause = min(t.pause, time.Duration(*wait*float64(time.Second))+time.Millisecond)
			break
		}
		key, err := t.tick(ctx)
		if err != nil {
			errs = append(errs, err)
			if key == (cronKey{}) {
				break // The other crons would fail for the same reason.
			}
			continue
		}
		if key == (cronKey{}) {
			t.pause = cronLocked
			break
		}
	}
	return errors.Join(errs...)
}

// tick takes one due cron, inserts its jobs, and sets its next tick, in one transaction. It returns the cron. If it
// got none, or if the database failed, the key is empty.
func (t *cronTicker) tick(ctx context.Context) (key cronKey, err error) {
	ctx, cancel := context.WithTimeout(ctx, cronTimeout)
	defer cancel()
	err = pg.Begin(ctx, t.client.pool, "", func(tx pgx.Tx) error {
		in := t.client.With(tx)
		cron, err := t.take(ctx, in)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		key = cronKey{cron.name, cron.spec, cron.zone}
		return t.insert(ctx, in, key, cron)
	})
	if err == nil || key == (cronKey{}) {
		return key, err
	}
	err = fmt.Errorf("cron %q: %w", key.name, err)
	if pg.IsTransient(err) {
		return cronKey{}, err
	}
	t.leaveOut(key, cronBroken)
	return key, err
}

// take locks a due cron. It returns ErrNotFound if there is none that is not locked.
func (t *cronTicker) take(ctx context.Context, in *Client) (cron takenCron, err error) {
	err = in.row(ctx, "select * from pawl.take_cron($1::text[], $2::text[], $3::text[])", t.leftOut(),
		&cron.name, &cron.spec, &cron.zone, &cron.job, &cron.jitter, &cron.catchUp, &cron.last, &cron.expected, &cron.now)
	return cron, err
}

// insert inserts the jobs of a due cron, and sets its next tick.
func (t *cronTicker) insert(ctx context.Context, in *Client, key cronKey, cron takenCron) error {
	log := t.client.config.Logger
	rows, last, next, err := cron.jobs()
	if errors.Is(err, errCannotRead) {
		log.Warn("pawl: this binary cannot read a cron; the cron is left to other workers",
			"cron", key.name, "spec", key.spec, "zone", key.zone, "error", err)
		t.leaveOut(key, cronUnknown)
		return nil
	}
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		log.Info("pawl: cron missed its tick", "cron", key.name, "tick", cron.expected, "next", next)
	} else if _, err := in.insertResolved(ctx, rows); err != nil {
		return err
	}
	return in.query(ctx, "select pawl.tick_cron($1::text, $2::timestamptz, $3::timestamptz)",
		[]any{key.name, last, next}, nil)
}

// leaveOut leaves a cron to other processes for some time.
func (t *cronTicker) leaveOut(key cronKey, d time.Duration) {
	if t.broken == nil {
		t.broken = map[cronKey]time.Time{}
	}
	t.broken[key] = time.Now().Add(d)
}

// leftOut returns the crons that are left out, as the parameters of due_cron.sql and take_cron.sql.
func (t *cronTicker) leftOut() []any {
	now := time.Now()
	maps.DeleteFunc(t.broken, func(_ cronKey, until time.Time) bool { return now.After(until) })
	names, specs, zones := []string{}, []string{}, []string{}
	for key := range t.broken {
		names, specs, zones = append(names, key.name), append(specs, key.spec), append(zones, key.zone)
	}
	return []any{names, specs, zones}
}
