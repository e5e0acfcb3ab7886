package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlhealth"
)

// defaultListen is for this machine alone: what is served has no password.
const defaultListen = "127.0.0.1:8484"

// serveHTTP listens at an address and serves until ctx ends; then what is under way has five seconds. It tells listening, if not
// nil, where it listens, before it serves anything.
func serveHTTP(ctx context.Context, address string, handler http.Handler, log *slog.Logger, listening func(net.Addr)) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	log.Info("pawl: serving HTTP", "address", listener.Addr().String())
	if listening != nil {
		listening(listener.Addr())
	}
	server := &http.Server{
		Handler: handler, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(closing); err != nil {
		server.Close()
		log.Warn("pawl: requests did not end within 5 s and were cut off")
	}
	return nil
}

// serveHandler is what pawl serve has under its address. Metrics may be nil.
func serveHandler(client *pawl.Client, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	health := pawlhealth.Handler(client)
	mux.Handle("/healthz", health)
	mux.Handle("/readyz", health)
	if metrics != nil {
		mux.Handle("GET /metrics", metrics)
	}
	return mux
}

// serve does the chores, if it is to, and serves HTTP, until ctx ends.
func serve(ctx context.Context, client *pawl.Client, address string, chores bool, handler http.Handler, log *slog.Logger, listening func(net.Addr)) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var around sync.WaitGroup
	defer around.Wait()
	if chores {
		around.Go(func() { tendThrough(ctx, client, log) })
	}
	defer stop()
	return serveHTTP(ctx, address, handler, log, listening)
}

// tendThrough does the chores until ctx ends, also where they cannot begin yet: the database is away, or nobody has migrated it.
// /readyz tells of that, and a restart would not help.
func tendThrough(ctx context.Context, client *pawl.Client, log *slog.Logger) {
	for wait := time.Second; ; wait = min(2*wait, 10*time.Second) {
		err := client.Tend(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		log.Warn("pawl: chores cannot begin, trying again", "in", wait, "error", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// probe asks a serving pawl how it is: nil if it is well.
func probe(ctx context.Context, url string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return nil
	}
	reason, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err != nil {
		return err
	}
	return errors.New(response.Status + ": " + strings.TrimSpace(string(reason)))
}
