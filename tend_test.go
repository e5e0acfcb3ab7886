package pawl

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// In an outage chores fail each second. That is said when it begins, once a minute, and when it is over.
func TestChoresFailQuietly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const outage = 5 * time.Minute
		var log bytes.Buffer
		began, times := time.Now(), 0
		ch := maintenanceTask{name: "rescue", every: time.Second, do: func(context.Context) error {
			times++
			if time.Since(began) < outage {
				return errors.New("no database")
			}
			return nil
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 2*outage)
		defer cancel()
		ch.run(ctx, slog.New(slog.NewTextHandler(&log, nil)))
		said := log.String()
		if failed, again := strings.Count(said, "chore failed"), strings.Count(said, "works again"); failed < 5 || failed > 6 || again != 1 {
			t.Errorf("%d times in vain or not: %d lines of failures and %d of their end:\n%s", times, failed, again, said)
		}
	})
}

// What is done once an hour is not an hour late for an outage of seconds.
func TestChoresAreTriedAgainSoon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var times []time.Time
		ch := maintenanceTask{name: "partitions", every: time.Hour, do: func(context.Context) error {
			if times = append(times, time.Now()); len(times) == 1 {
				return errors.New("no database")
			}
			return nil
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Minute)
		defer cancel()
		ch.run(ctx, slog.New(slog.DiscardHandler))
		if len(times) != 3 || times[1].Sub(times[0]) > time.Minute || times[2].Sub(times[1]) < time.Hour {
			t.Errorf("done at %v", times)
		}
	})
}
