package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/settings"
	"github.com/pawlhq/pawl/pawlhealth"
	"github.com/pawlhq/pawl/pawlprom"
)

func serveCommand(p *program.Program) *cobra.Command {
	var noMaintenance bool
	command := &cobra.Command{
		Use:   "serve",
		Short: "Run maintenance, and serve health probes and metrics over HTTP",
		Long: `Serve runs the maintenance tasks (rescue, cron, retention, partitions) and serves HTTP until it is
stopped:

  /healthz   200 while the process is alive
  /readyz    200 if the database is reachable and writable, and its schema fits; else 503 and the reason
  /metrics   figures of the whole installation, for Prometheus

Several pawl serve may run at once. If the database goes away, or the schema does not exist yet, serve keeps
running and retries. On SIGTERM it gives requests five seconds to end, and exits with code 0. HTTP has no
password: let --listen be an address that only you can reach, or put a proxy with authentication in front of it.`,
		Args:    cobra.NoArgs,
		GroupID: groupRun,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx := command.Context()
			client, err := p.Open(ctx)
			if err != nil {
				return err
			}
			listener, err := listen(ctx, p)
			if err != nil {
				return err
			}
			handler := httpHandler(p, client, pawlprom.Options{})
			if noMaintenance {
				return serveHTTP(ctx, p, listener, handler)
			}
			maintaining, stop := context.WithCancel(ctx)
			var background sync.WaitGroup
			background.Go(func() { maintain(maintaining, client, p.Log) })
			defer background.Wait()
			defer stop()
			return serveHTTP(ctx, p, listener, handler)
		},
	}
	settings.AddFlags(command, command.Flags(), "listen")
	command.Flags().BoolVar(&noMaintenance, "no-maintenance", false,
		"serve only HTTP, and leave the maintenance tasks to workers and to other pawl serve")
	return command
}

// serveBeside serves the probes and the metrics of this process beside a worker, until end is called. It serves only if
// --listen was given: several workers and pawl serve may share an environment or a file.
func serveBeside(ctx context.Context, p *program.Program, client *pawl.Client) (end func(), err error) {
	if !p.FlagChanged("listen") {
		return func() {}, nil
	}
	listener, err := listen(ctx, p)
	if err != nil {
		return nil, err
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx)) // A worker that drains is alive.
	var background sync.WaitGroup
	background.Go(func() {
		handler := httpHandler(p, client, pawlprom.Options{OwnOnly: true})
		if err := serveHTTP(serving, p, listener, handler); err != nil {
			p.Log.Error("pawl: HTTP server ended", "error", err)
		}
	})
	return func() { stop(); background.Wait() }, nil
}

func listen(ctx context.Context, p *program.Program) (net.Listener, error) {
	s, err := p.LoadSettings()
	if err != nil {
		return nil, err
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", s.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen (%s): %w", s.Origin("listen"), err)
	}
	return listener, nil
}

// serveHTTP serves until ctx ends. Then it gives the running requests five seconds.
func serveHTTP(ctx context.Context, p *program.Program, listener net.Listener, handler http.Handler) error {
	log, err := p.Logger()
	if err != nil {
		return err
	}
	log.Info("pawl: serving HTTP", "address", listener.Addr().String())
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
		log.Warn("pawl: requests did not end within 5 s; closing their connections")
		return server.Close()
	}
	return nil
}

func httpHandler(p *program.Program, client *pawl.Client, options pawlprom.Options) http.Handler {
	options.Logger = p.Log
	registry := prometheus.NewRegistry()
	registry.MustRegister(pawlprom.NewCollector(client, options), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	health := pawlhealth.Handler(client)
	mux.Handle("/healthz", health)
	mux.Handle("/readyz", health)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}

// maintain runs the maintenance tasks until ctx ends. If they cannot begin, because the database is away or not
// migrated, it retries: /readyz reports the problem, and a restart would not help.
func maintain(ctx context.Context, client *pawl.Client, log *slog.Logger) {
	for wait := time.Second; ; wait = min(2*wait, 10*time.Second) {
		err := client.Maintain(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		log.Warn("pawl: cannot start maintenance, retrying", "in", wait, "error", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}
