package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlhealth"
	"github.com/pawlhq/pawl/pawlprom"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
)

func serveCommand(p *program) *cobra.Command {
	var noChores bool
	command := &cobra.Command{
		Use:   "serve",
		Short: "Do the chores, and serve health probes and metrics over HTTP",
		Long: `Serve does the chores (rescue, cron, retention, partitions) and serves HTTP, until it is told to stop:

  /healthz   200 as long as the process is alive
  /readyz    200 if the database can be reached, takes writes and has a fitting schema; else 503 and the reason
  /metrics   figures of the whole installation, for Prometheus

Several may run at once. It outlives an outage of the database, and waits for a schema that is not there yet. On SIGTERM it lets
requests end for five seconds at most and ends with exit code 0. There is no password: keep --listen to yourself, or put it
behind something that asks for one.`,
		Args:    cobra.NoArgs,
		GroupID: groupRun,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx := command.Context()
			client, err := p.open(ctx)
			if err != nil {
				return err
			}
			listener, err := p.listen(ctx)
			if err != nil {
				return err
			}
			handler := p.serveHandler(client, pawlprom.Options{})
			if noChores {
				return p.serveHTTP(ctx, listener, handler)
			}
			tending, stop := context.WithCancel(ctx)
			var around sync.WaitGroup
			around.Go(func() { tendThrough(tending, client, p.log) })
			defer around.Wait()
			defer stop()
			return p.serveHTTP(ctx, listener, handler)
		},
	}
	p.settingFlags(command, command.Flags(), "listen")
	command.Flags().BoolVar(&noChores, "no-chores", false, "serve HTTP alone, and leave the chores to workers and others that serve")
	return command
}

// serveBeside serves the probes, and what this process counts, beside a worker, until it is told to end. It does so only where the
// flag says where: an environment or a file may be that of several workers, and of pawl serve.
func (p *program) serveBeside(ctx context.Context, client *pawl.Client) (end func(), err error) {
	if !p.command.Flag("listen").Changed {
		return func() {}, nil
	}
	listener, err := p.listen(ctx)
	if err != nil {
		return nil, err
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx)) // It is alive while it drains.
	var around sync.WaitGroup
	around.Go(func() {
		if err := p.serveHTTP(serving, listener, p.serveHandler(client, pawlprom.Options{OwnOnly: true})); err != nil {
			p.log.Error("pawl: HTTP is not served any more", "error", err)
		}
	})
	return func() { stop(); around.Wait() }, nil
}

// listen opens the address that the settings say.
func (p *program) listen(ctx context.Context) (net.Listener, error) {
	s, err := p.settings()
	if err != nil {
		return nil, err
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", s.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen (%s): %w", s.origin["listen"], err)
	}
	return listener, nil
}

// serveHTTP serves until ctx ends; then what is under way has five seconds.
func (p *program) serveHTTP(ctx context.Context, listener net.Listener, handler http.Handler) error {
	log, err := p.logger()
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
		log.Warn("pawl: requests did not end within 5 s and are cut off")
		return server.Close()
	}
	return nil
}

// serveHandler is what there is under the address.
func (p *program) serveHandler(client *pawl.Client, figures pawlprom.Options) http.Handler {
	figures.Logger = p.log
	registry := prometheus.NewRegistry()
	registry.MustRegister(pawlprom.NewCollector(client, figures), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	health := pawlhealth.Handler(client)
	mux.Handle("/healthz", health)
	mux.Handle("/readyz", health)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}

// tendThrough does the chores until ctx ends, also where they cannot begin yet: the database is away, or nobody has migrated it.
// /readyz tells of that, and a restart would not help.
func tendThrough(ctx context.Context, client *pawl.Client, log *slog.Logger) {
	for wait := time.Second; ; wait = min(2*wait, 10*time.Second) {
		err := client.Maintain(ctx)
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
