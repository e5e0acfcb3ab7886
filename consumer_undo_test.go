package pawl

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pawlhq/pawl/internal/pg"
)

// synctest.Test also proves that the goroutine ends: it waits for all goroutines of the test.

func TestLostClaimsAreUndoneOneAfterTheOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var u claimUndoer
		type key struct{}
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
		cancel() // The consumer has given up, and its claim is undone all the same.
		var undone []string
		atOnce := 0
		undo := func(ctx context.Context, lease string) error {
			if atOnce++; atOnce > 1 {
				t.Errorf("%d claims are undone at once, want one", atOnce)
			}
			time.Sleep(time.Second)
			if ctx.Err() != nil || ctx.Value(key{}) != "value" {
				t.Errorf("the context of %s has the error %v and the value %v", lease, ctx.Err(), ctx.Value(key{}))
			}
			undone = append(undone, lease)
			atOnce--
			return nil
		}
		for _, lease := range []string{"a", "b", "c"} {
			u.add(ctx, lease, undo)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if u.running {
			t.Error("the goroutine is still there with nothing to undo")
		}
		u.add(ctx, "d", undo)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if want := []string{"a", "b", "c", "d"}; !slices.Equal(undone, want) {
			t.Errorf("undone are %v, want %v", undone, want)
		}
	})
}

func TestUndoingALostClaimEndsWithItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var u claimUndoer
		began := time.Now()
		outage := func(ctx context.Context, lease string) error {
			return pg.RetryUntil(ctx, func() error { return errors.New("connection refused") })
		}
		for range 3 {
			u.add(t.Context(), "lease", outage)
		}
		for u.busy() {
			time.Sleep(time.Second)
		}
		if took := time.Since(began); took < undoTime || took > undoTime+10*time.Second {
			t.Errorf("in an outage the goroutine lived for %v, want %v", took, undoTime)
		}
	})
}

func (u *claimUndoer) busy() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.running
}
