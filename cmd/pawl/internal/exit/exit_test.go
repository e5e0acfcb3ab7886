package exit_test

import (
	"errors"
	"testing"

	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
)

func TestUnreachableListsEachAttemptOnce(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"failed:\n\th (1): tls error: server refused TLS connection\n\th (1): no such database": "cannot reach the database: " +
			"failed:\n\th (1): no such database",
		"failed:\n\th (1): refused\n\th (1): refused": "cannot reach the database: failed:\n\th (1): refused",
		"failed:\n\th (1): tls error: server refused TLS connection": "cannot reach the database: " +
			"failed:\n\th (1): tls error: server refused TLS connection",
	} {
		if got := exit.Unreachable(errors.New(text)).Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
