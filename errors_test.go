package pawl_test

import (
	"testing"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// must1 is for verbs that say how many.
func must1(t testing.TB, want int64) func(n int64, err error) {
	return func(n int64, err error) {
		t.Helper()
		if err != nil || n != want {
			t.Fatalf("changed %d (%v), want %d", n, err, want)
		}
	}
}
