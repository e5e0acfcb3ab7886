package pawl_test

import (
	"os"
	"testing"

	"github.com/pawlhq/pawl/internal/pgtest"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(childEnv); url != "" {
		os.Exit(child(url))
	}
	pgtest.Main(m, migrate)
}
