package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

// A cronTicker is the maintenance task that inserts the jobs of crons. It sleeps until the next tick, and looks for
// new crons at intervals.
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
	cronBroken  = 10 * time.Second       // The time until a cron is tried again whose job was refused.
	cronUnknown = 24 * time.Hour         // The time until a cron is tried again that this binary cannot read.
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
	options := pgx.TxOptions{IsoLevel: pgx.ReadCommitted}
	err = pgx.BeginTxFunc(ctx, t.client.pool, options, func(tx pgx.Tx) error {
		in := t.client.With(tx)
		due, err := t.take(ctx, in)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		key = due.key
		return t.insert(ctx, in, due)
	})
	if err == nil || key == (cronKey{}) {
		return key, err
	}
	err = fmt.Errorf("cron %q: %w", key.name, err)
	if isTransient(err) {
		return cronKey{}, err
	}
	t.leaveOut(key, cronBroken)
	return key, err
}

// A dueCron is a cron that is due, as take_cron.sql returns it.
type dueCron struct {
	key     cronKey
	job     string // As JSON.
	jitter  float64
	catchUp int
	last    *time.Time // Its last tick. It is nil before the first one.
	tick    time.Time  // The tick that is due.
	now     time.Time  // By the database's clock.
}

// take locks a due cron. It returns ErrNotFound if there is none that is not locked.
func (t *cronTicker) take(ctx context.Context, in *Client) (due dueCron, err error) {
	err = in.row(ctx, "select * from pawl.take_cron($1::text[], $2::text[], $3::text[])", t.leftOut(),
		&due.key.name, &due.key.spec, &due.key.zone, &due.job, &due.jitter, &due.catchUp,
		&due.last, &due.tick, &due.now)
	return due, err
}

// insert inserts the jobs of a due cron, and sets its next tick.
func (t *cronTicker) insert(ctx context.Context, in *Client, due dueCron) error {
	log := t.client.config.Logger
	key := due.key
	var job cronJob
	table, err := readCron(key.spec, key.zone)
	if err == nil {
		err = json.Unmarshal([]byte(due.job), &job)
	}
	if err != nil {
		// A newer binary may have written it, and may understand it.
		log.Warn("pawl: this binary cannot read a cron; the cron is left to other workers",
			"cron", key.name, "spec", key.spec, "zone", key.zone, "error", err)
		t.leaveOut(key, cronUnknown)
		return nil
	}
	var last time.Time
	if due.last != nil {
		last = *due.last
	}
	ticks, next, err := table.due(due.tick, last, due.now, due.catchUp)
	if err != nil {
		return err
	}
	rows := make([]insertRow, len(ticks))
	for i, tick := range ticks {
		runAt := tick.Add(job.delay())
		if due.jitter > 0 {
			runAt = runAt.Add(time.Duration(rand.Float64() * due.jitter * float64(time.Second)))
		}
		if rows[i], err = job.row(key.name, tick, &runAt); err != nil {
			return err
		}
	}
	var inserted *time.Time // The last tick with a job.
	if len(ticks) > 0 {
		if _, err := in.insertResolved(ctx, rows); err != nil {
			return err
		}
		inserted = &ticks[len(ticks)-1]
	} else {
		log.Info("pawl: cron missed its tick", "cron", key.name, "tick", due.tick, "next", next)
	}
	return in.query(ctx, "select pawl.tick_cron($1::text, $2::timestamptz, $3::timestamptz)",
		[]any{key.name, inserted, next}, nil)
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
