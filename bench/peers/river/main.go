// Command river-bench measures River, another job queue for Go on
// PostgreSQL, so that its figures can stand beside those of `pawl bench`
// taken on the same server. See README.md for what each scenario does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	err := run(ctx, os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "river-bench:", err)
		stop()
		os.Exit(1)
	}
}

type options struct {
	databaseURL string
	profile     profile
	jobs        int
	duration    time.Duration
	window      time.Duration
	rate        int
	argsBytes   int
	batch       int
	backlog     int
	runners     int
	conns       int
	runnerConns int
	json        bool
	keep        bool
}

func run(ctx context.Context, args []string) error {
	opts, names, err := parse(args)
	if err != nil {
		return err
	}

	b, err := open(ctx, opts)
	if err != nil {
		return err
	}
	defer b.close()

	for _, name := range names {
		res, err := b.measure(ctx, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := res.write(os.Stdout, opts.json); err != nil {
			return err
		}
	}
	return nil
}

func parse(args []string) (options, []string, error) {
	var (
		opts        options
		profileName string
	)
	fs := flag.NewFlagSet("river-bench", flag.ContinueOnError)
	fs.StringVar(&opts.databaseURL, "database-url", "",
		"PostgreSQL `URL` of the server (required); the database "+databaseName+" is dropped and created on it")
	fs.StringVar(&profileName, "profile", "default", "River client settings: default or bench")
	fs.IntVar(&opts.jobs, "jobs", 100_000, "jobs of insert, insert-concurrent and work")
	fs.DurationVar(&opts.duration, "duration", 10*time.Second, "length of flow, latency, pinned and retry")
	fs.DurationVar(&opts.window, "window", 10*time.Second,
		"length of the first and last windows of pinned, at most half of --duration")
	fs.IntVar(&opts.rate, "rate", 300, "inserts per second of latency")
	fs.IntVar(&opts.argsBytes, "args-bytes", 90, "size of each job's args as JSON")
	fs.IntVar(&opts.batch, "batch", 10_000, "jobs per InsertManyFast call")
	fs.IntVar(&opts.backlog, "backlog", 20_000, "most unfinished jobs of flow, pinned and retry")
	fs.IntVar(&opts.runners, "runners", 1, "River clients that work jobs")
	fs.IntVar(&opts.conns, "conns", 20, "most connections of the inserting client")
	fs.IntVar(&opts.runnerConns, "runner-conns", 10, "most connections of each working client")
	fs.BoolVar(&opts.json, "json", false, "print one JSON object a line for each scenario")
	fs.BoolVar(&opts.keep, "keep", false, "leave the database in place at the end")
	fs.Usage = func() {
		fmt.Fprintf(fs.Output(), "Usage: river-bench [flags] SCENARIO...\n\nScenarios: %s\n\nFlags:\n",
			strings.Join(scenarioNames(), ", "))
		fs.PrintDefaults()
	}
	if err := fs.Parse(args); err != nil {
		return opts, nil, err
	}

	var ok bool
	if opts.profile, ok = profiles[profileName]; !ok {
		return opts, nil, fmt.Errorf("unknown profile %q", profileName)
	}
	if opts.databaseURL == "" {
		return opts, nil, errors.New("--database-url is required")
	}
	if opts.argsBytes < minArgsBytes {
		return opts, nil, fmt.Errorf("--args-bytes must be at least %d", minArgsBytes)
	}
	least := min(opts.jobs, opts.rate, opts.batch, opts.backlog, opts.runners, opts.conns)
	if least < 1 || opts.duration <= 0 || opts.window <= 0 {
		return opts, nil, errors.New("counts and durations must be positive")
	}
	// One connection is taken by the client's LISTEN for good.
	if opts.runnerConns < 2 {
		return opts, nil, errors.New("--runner-conns must be at least 2")
	}
	opts.window = min(opts.window, opts.duration/2)

	names := fs.Args()
	if len(names) == 0 {
		fs.Usage()
		return opts, nil, errors.New("no scenario given")
	}
	for _, name := range names {
		if !slices.Contains(scenarioNames(), name) {
			return opts, nil, fmt.Errorf("unknown scenario %q", name)
		}
	}
	return opts, names, nil
}
