package program

import (
	"context"
	"errors"
	"io"
	"testing"
)

// ^C ends a read of standard input at once, and bytes that were read arrive whole.
func TestInputIsInterruptible(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	from, to := io.Pipe()
	defer to.Close()
	in := &interruptible{ctx, from}
	go to.Write([]byte("ab"))
	if got, err := io.ReadAll(io.LimitReader(in, 2)); err != nil || string(got) != "ab" {
		t.Fatalf("%q, %v", got, err)
	}
	cancel()
	if _, err := io.ReadAll(in); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}
