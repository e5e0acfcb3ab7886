package pawl_test

import (
	"errors"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantCount returns a check of a verb's result: it must have changed want jobs without an error.
func wantCount(t testing.TB, want int64) func(n int64, err error) {
	return func(n int64, err error) {
		t.Helper()
		if err != nil || n != want {
			t.Fatalf("changed %d (%v), want %d", n, err, want)
		}
	}
}

func mustValue[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func wantRateError(t testing.TB, err error) time.Duration {
	t.Helper()
	over, ok := errors.AsType[*pawl.RateError](err)
	if !ok || over.RetryAfter <= 0 {
		t.Fatalf("got %v, want a *RateError", err)
	}
	return over.RetryAfter
}
