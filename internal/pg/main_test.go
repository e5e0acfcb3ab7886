package pg

import (
	"context"
	"testing"

	"github.com/pawlhq/pawl/internal/pgtest"
)

func TestMain(m *testing.M) {
	pgtest.Main(m, func(context.Context, string) error { return nil })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
