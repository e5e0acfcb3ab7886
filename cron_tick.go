package pawl

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"
)

// ticker is the chore that makes jobs of ticks. It sleeps until the next tick, but looks around for new crons every so often.
type cronTicker struct {
	client *Client
	broken map[cronKey]time.Time // Left out until then: they cannot be read here, or their job could not be inserted.
	pause  time.Duration
}

// cronKey is a cron as long as nobody changes when it ticks.
type cronKey struct{ name, spec, zone string }

const (
	cronLook   = time.Second            // Between looks, if there are crons.
	cronIdle   = 5 * time.Second        // If there are none.
	cronHeld   = 250 * time.Millisecond // If what is due is held by somebody.
	cronBroken = 10 * time.Second       // Until a cron whose job was refused is tried again.
)

func (t *cronTicker) wait() time.Duration { return t.pause }

func (t *cronTicker) do(ctx context.Context) error {
	var errs []error
	t.pause = cronLook
	for ctx.Err() == nil {
		var wait *float64
		if err := t.client.row(ctx, "select pawl.due_cron($1::text[], $2::text[], $3::text[])", t.leftOut(), &wait); err != nil {
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
				break // The next ones would fare no better.
			}
			continue
		}
		if key == (cronKey{}) {
			t.pause = cronHeld
			break
		}
	}
	return errors.Join(errs...)
}

// tick takes one cron that is due, inserts what there is to insert and moves it on, in one transaction. It returns no key if it got none.
func (t *cronTicker) tick(ctx context.Context) (key cronKey, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	log := t.client.config.Logger
	err = pgx.BeginTxFunc(ctx, t.client.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		in := t.client.With(tx)
		var cron takenCron
		err := in.row(ctx, "select * from pawl.take_cron($1::text[], $2::text[], $3::text[])", t.leftOut(), &cron.name, &cron.spec,
			&cron.zone, &cron.job, &cron.jitter, &cron.catchUp, &cron.last, &cron.expected, &cron.now)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		key = cronKey{cron.name, cron.spec, cron.zone}
		rows, last, next, err := cron.jobs()
		if errors.Is(err, errCannotRead) {
			log.Warn("pawl: this binary cannot read a cron and leaves it to others", "cron", key.name, "spec", key.spec, "zone", key.zone, "error", err)
			t.leaveOut(key, 24*time.Hour)
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
		return in.query(ctx, "select pawl.tick_cron($1::text, $2::timestamptz, $3::timestamptz)", []any{key.name, last, next}, nil)
	})
	if err != nil && key != (cronKey{}) {
		err = fmt.Errorf("cron %q: %w", key.name, err)
		if isTransient(err) {
			return cronKey{}, err
		}
		t.leaveOut(key, cronBroken)
	}
	return key, err
}

func (t *cronTicker) leaveOut(key cronKey, d time.Duration) {
	if t.broken == nil {
		t.broken = map[cronKey]time.Time{}
	}
	t.broken[key] = time.Now().Add(d)
}

// leftOut are due_cron's and take_cron's parameters.
func (t *cronTicker) leftOut() []any {
	now := time.Now()
	maps.DeleteFunc(t.broken, func(_ cronKey, until time.Time) bool { return now.After(until) })
	names, specs, zones := []string{}, []string{}, []string{}
	for key := range t.broken {
		names, specs, zones = append(names, key.name), append(specs, key.spec), append(zones, key.zone)
	}
	return []any{names, specs, zones}
}
