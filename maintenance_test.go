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

// In an outage maintenance tasks fail each second. The log says so when it begins, at growing intervals up to a minute,
// and when it is over.
func TestAFailingTaskIsLoggedAtGrowingIntervals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const outage = 5 * time.Minute
		var log bytes.Buffer
		began, times := time.Now(), 0
		task := maintenanceTask{name: "rescue", every: time.Second, do: func(context.Context) error {
			times++
			if time.Since(began) < outage {
				return errors.New("no database")
			}
			return nil
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 2*outage)
		defer cancel()
		task.run(ctx, slog.New(slog.NewTextHandler(&log, nil)), new(outages))
		lines := log.String()
		failed, again := strings.Count(lines, "maintenance task failed"), strings.Count(lines, "works again")
		if failed < 6 || failed > 9 || again != 1 {
			t.Errorf("the task was done %d times; %d lines say that it failed, and %d that it works again:\n%s",
				times, failed, again, lines)
		}
	})
}

func TestAnHourlyTaskIsRetriedWithinAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var times []time.Time
		task := maintenanceTask{name: "partitions", every: time.Hour, do: func(context.Context) error {
			if times = append(times, time.Now()); len(times) == 1 {
				return errors.New("no database")
			}
			return nil
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Minute)
		defer cancel()
		task.run(ctx, slog.New(slog.DiscardHandler), new(outages))
		if len(times) != 3 || times[1].Sub(times[0]) > time.Minute || times[2].Sub(times[1]) < time.Hour {
			t.Errorf("the task was done at %v; want it a minute after its failure, and then an hour later", times)
		}
	})
}
