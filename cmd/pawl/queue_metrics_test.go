package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/pawlhq/pawl/internal/localpg"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// queue metrics --watch continues through an outage.
func TestWatchThroughAnOutage(t *testing.T) {
	pgtest.Ensure(migrate)
	t.Parallel()
	server := pgtest.Server(t)
	url := server.URL("postgres")
	if err := migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	create := []string{"queue", "create", "mail", "--dsn", url}
	if err := run(t.Context(), create, strings.NewReader(""), io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out, log running
	ended := make(chan error, 1)
	go func() {
		watch := []string{"queue", "metrics", "mail", "--watch=100ms", "--format", "csv", "--dsn", url}
		ended <- run(ctx, watch, strings.NewReader(""), &out, &log)
	}()
	rows := func() int { return strings.Count(out.logged(), "mail,") }
	pgtest.Wait(t, "the first rows", func() bool { return rows() > 1 })
	if err := server.StopServer(t.Context(), localpg.Immediate); err != nil {
		t.Fatal(err)
	}
	pgtest.Wait(t, "a message about the outage", func() bool {
		return strings.Contains(log.logged(), "retrying every 100ms")
	})
	if err := server.StartServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := rows()
	pgtest.Wait(t, "more rows", func() bool { return rows() > before })
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("after the stop: %v", err)
	}
}
