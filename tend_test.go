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
		ch := chore{name: "rescue", every: time.Second, do: func(context.Context) error {
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
