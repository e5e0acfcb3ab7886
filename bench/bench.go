// Package bench measures Pawl on a real PostgreSQL server. Each scenario returns one Result.
package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/localpg"
)

// Config says what to measure. The flags of `pawl bench` fill it.
type Config struct {
	Scenarios   []string        // Scenarios are names of scenarios. If empty, the short ones run.
	Jobs        int             // Jobs is the number of jobs, at least 1.
	Duration    time.Duration   // Duration is how long scenarios run that have no number of jobs.
	ArgsBytes   int             // ArgsBytes is the size of a job's args, at least 20 bytes.
	Runners     int             // Runners is the number of calls of Run, at least 1.
	Min, Max    int             // Min and Max are RunnerConfig.Min and Max. If zero, they suit the scenario.
	Defaults    bool            // Defaults uses the defaults of RunnerConfig instead.
	DatabaseURL string          // DatabaseURL is the server to measure.
	JSON        bool            // JSON writes a line of JSON for each Result instead of text.
	Rate        int             // Rate is the number of inserts per second in latency, at least 1.
	Window      time.Duration   // Window is the length of the windows that pinned scenarios compare.
	Depth       int             // Depth is the number of rows around the jobs in archive, depth and stats.
	Disordered  bool            // Disordered is whether archived jobs finished in random order, in archive and depth.
	Claimed     int             // Claimed is the number of jobs that the killed worker of rescue has claimed, at least 1.
	Channels    int             // Channels is the number of channels, at least 1.
	Megabytes   int             // Megabytes is the size of the args of each measurement of sizes, at least 1.
	Queues      int             // Queues is the number of queues in fair. If above 1, the runners run all queues.
	Repeat      int             // Repeat is how often each scenario runs, at least 1.
	Out         io.Writer       // Out receives the results.
	Progress    io.Writer       // Progress receives the rate every second. If nil, it is not written.
	Rescue      func() []string // Rescue returns the command line of the worker that rescue kills. It must call ClaimJobs.
}

// A scenario is one measurement. Config.Scenarios selects it by name.
type scenario struct {
	about string
	short bool
	run   func(*bench, context.Context) (*Result, error)
}

var scenarios = map[string]scenario{
	"insert":            {"InsertMany in batches of 10,000", true, (*bench).insertMany},
	"insert-concurrent": {"1,000 goroutines calling Insert", true, (*bench).insertConcurrent},
	"work":              {"burn down a backlog with a handler that does nothing", true, (*bench).work},
	"flow":              {"insert and work at once", true, (*bench).flow},
	"latency":           {"paced single inserts, from the call to the handler's start", true, (*bench).latency},
	"retry":             {"flow with 20 % of the jobs failing at first", true, (*bench).retry},
	"bare":              {"the same SQL from one loop without the library: the ceiling of work", true, (*bench).bare},
	"pinned":            {"flow with a reader's snapshot open", false, (*bench).pinned},
	"pinned-writer":     {"flow with a writing transaction open", false, (*bench).pinnedWriter},
	"depth":             {"work on top of millions of rows, against none", false, (*bench).depth},
	"fair":              {"work spread over --channels channels and --queues queues", false, (*bench).fair},
	"slots": {
		"--jobs jobs of no work beside twice as many that take 200 ms; the jobs and seconds are those of no work",
		false, (*bench).slots,
	},
	"crowd": {
		"the first job of a channel beside another channel's --jobs: from the call to the handler's start",
		false, (*bench).crowd,
	},
	"limited": {"work in a queue with MaxRunning", false, (*bench).limited},
	"rated":   {"work in a queue with a Rate far above what is done", false, (*bench).rated},
	"ordered": {"work of ordered jobs over --channels channels", false, (*bench).ordered},
	"archive": {
		"Client.Get and List with --depth archived jobs, finished in order or --disordered; jobs are calls of Get",
		false, (*bench).archive,
	},
	"stats": {
		"Client.Stats with --depth archived and --jobs ready jobs in ten queues of --channels channels; jobs are calls",
		false, (*bench).stats,
	},
	"sizes": {
		"insert and work with args of 1 kB to 1 MB, compressible and not, --megabytes of each",
		false, (*bench).sizes,
	},
	"rescue": {"kill -9 of a worker to the restart of its last job", false, (*bench).rescue},
}

// Names returns one line for each scenario: its name and what it does.
func Names() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(scenarios)) {
		fmt.Fprintf(&b, "  %-18s %s\n", name, scenarios[name].about)
	}
	return b.String()
}

// A Result holds the figures of one scenario.
type Result struct {
	System        string  `json:"system"`
	Scenario      string  `json:"scenario"`
	Jobs          int64   `json:"jobs"`
	Seconds       float64 `json:"seconds"`
	JobsPerSecond float64 `json:"jobs_per_second"`

	P50 *float64 `json:"p50_ms,omitempty"`
	P90 *float64 `json:"p90_ms,omitempty"`
	P99 *float64 `json:"p99_ms,omitempty"`
	Max *float64 `json:"max_ms,omitempty"`

	SecondsToRerun *float64  `json:"seconds_to_rerun,omitempty"`
	FirstWindow    *float64  `json:"first_window_jobs_per_second,omitempty"`
	LastWindow     *float64  `json:"last_window_jobs_per_second,omitempty"`
	Ratio          *float64  `json:"ratio,omitempty"`
	PerSecond      []float64 `json:"per_second,omitempty"`
	ListPage       *float64  `json:"list_page_p50_ms,omitempty"`
	ArchiveBytes   *float64  `json:"archive_bytes_per_job,omitempty"`

	Sizes     []SizeResult `json:"sizes,omitempty"`
	SlotsUsed *float64     `json:"slots_used,omitempty"`

	WALBytes     int64    `json:"wal_bytes"`
	Transactions int64    `json:"transactions"`
	DeadTuples   int64    `json:"dead_tuples"`
	CPUClient    float64  `json:"cpu_client_seconds_per_1000"`
	CPUServer    *float64 `json:"cpu_server_seconds_per_1000,omitempty"`
	ArgsBytes    int      `json:"args_bytes"`
	Runners      int      `json:"runners"`
	MinRunning   int      `json:"min"`
	MaxRunning   int      `json:"max"`
	Channels     int      `json:"channels,omitempty"`
	Queues       int      `json:"queues,omitempty"`
	Settings     Settings `json:"settings"`
}

// Settings are the settings of the server that affect the figures.
type Settings struct {
	Version           string `json:"version"`
	Fsync             string `json:"fsync"`
	SynchronousCommit string `json:"synchronous_commit"`
	SharedBuffers     string `json:"shared_buffers"`
}

type bench struct {
	Config
	pool     *pgxpool.Pool
	client   *pawl.Client
	settings Settings
	server   int // server is the process number of the postmaster. It is 0 if the server runs on another machine.
}

const (
	// database is the database that a run creates and drops.
	database = "pawl_bench"

	// mine is the comment on the database. A run refuses to drop a database without this comment.
	mine = "made by pawl bench, dropped by it"
)

// ServerSettings are the settings of a private server. They are large enough that a run does not measure checkpoints
// and reads from disk.
var ServerSettings = map[string]string{"shared_buffers": "512MB", "max_wal_size": "4GB", "max_connections": "200"}

// Check returns an error if the config is invalid.
func (c Config) Check() error {
	for _, name := range c.Scenarios {
		if _, ok := scenarios[name]; !ok {
			return fmt.Errorf("bench: check config: no scenario %q; there are:\n%s", name, strings.TrimRight(Names(), "\n"))
		}
	}
	if min(c.Jobs, c.Runners, c.Rate, c.Repeat, c.Claimed, c.Channels, c.Megabytes) < 1 || c.Duration <= 0 {
		return errors.New("bench: check config: want jobs, duration, runners, rate, repeat, claimed, channels and " +
			"megabytes above 0")
	}
	if c.ArgsBytes < 20 || c.Depth < 0 {
		return errors.New("bench: check config: want args-bytes from 20 and depth from 0")
	}
	return nil
}

// Run measures the scenarios and writes a Result for each.
func Run(ctx context.Context, config Config) (err error) {
	if err := config.Check(); err != nil {
		return err
	}
	names := config.Scenarios
	if len(names) == 0 {
		for _, name := range slices.Sorted(maps.Keys(scenarios)) {
			if scenarios[name].short {
				names = append(names, name)
			}
		}
	}
	b := &bench{Config: config}
	defer b.close()
	if config.DatabaseURL == "" {
		server, err := localpg.Start(ctx, localpg.Config{Durable: true, Settings: ServerSettings})
		if err != nil {
			return err
		}
		defer func() { _ = server.Stop() }()
		b.DatabaseURL = server.URL("postgres")
	}
	if err := b.connect(ctx); err != nil {
		return err
	}
	for _, name := range names {
		var runs []*Result
		for range config.Repeat {
			if err := b.fresh(ctx); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			result, err := scenarios[name].run(b, ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			findings, err := b.client.Verify(ctx)
			if err != nil {
				return fmt.Errorf("%s: verify: %w", name, err)
			}
			if len(findings) > 0 {
				return fmt.Errorf("%s: the queue is broken afterwards: %v", name, findings)
			}
			result.Scenario = name
			runs = append(runs, result)
		}
		slices.SortFunc(runs, func(a, b *Result) int { return cmp.Compare(a.figure(), b.figure()) })
		if err := runs[len(runs)/2].write(config.Out, config.JSON); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) close() {
	if b.pool == nil {
		return
	}
	b.pool.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if conn, err := pgx.Connect(ctx, b.DatabaseURL); err == nil {
		_, _ = conn.Exec(ctx, "drop database if exists "+database+" with (force)")
		conn.Close(ctx)
	}
}

func (b *bench) connect(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, b.DatabaseURL)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer conn.Close(ctx)
	var foreign bool
	if err := conn.QueryRow(ctx, `
		select coalesce(bool_or(shobj_description(oid, 'pg_database') is distinct from $2), false)
		from pg_database where datname = $1`,
		pgx.QueryExecModeExec, database, mine).Scan(&foreign); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if foreign {
		return fmt.Errorf("bench: create database %s: it exists and was not made by a benchmark: "+
			"rename it, or use another server", database)
	}
	for _, text := range []string{
		"drop database if exists " + database + " with (force)", "create database " + database,
		"comment on database " + database + " is '" + mine + "'",
	} {
		if _, err := conn.Exec(ctx, text); err != nil {
			return fmt.Errorf("bench: %w", err)
		}
	}
	if err := conn.QueryRow(ctx, `select current_setting('server_version'), current_setting('fsync'),
		current_setting('synchronous_commit'), current_setting('shared_buffers')`, pgx.QueryExecModeExec).Scan(
		&b.settings.Version, &b.settings.Fsync, &b.settings.SynchronousCommit, &b.settings.SharedBuffers); err != nil {
		return err
	}
	b.server = postmaster(int(conn.PgConn().PID()))
	config, err := pgxpool.ParseConfig(b.DatabaseURL)
	if err != nil {
		return err
	}
	config.ConnConfig.Database = database
	config.MaxConns = 16
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe // A transaction pooler may be in between.
	b.pool, err = pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	b.client, err = pawl.New(b.pool, pawl.Config{Logger: quiet})
	return err
}

// fresh drops the schema and installs it again.
func (b *bench) fresh(ctx context.Context) error {
	if err := b.client.Uninstall(ctx); err != nil {
		return err
	}
	return b.client.Migrate(ctx)
}

// prepare makes runs comparable: it analyzes the tables, sets hint bits and makes a checkpoint.
func (b *bench) prepare(ctx context.Context) error {
	for _, text := range []string{
		"vacuum analyze pawl.job", "vacuum analyze pawl.ready", "vacuum analyze pawl.scheduled", "checkpoint",
	} {
		if _, err := b.pool.Exec(ctx, text, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
	}
	return nil
}

// runnerConfig returns the runner's config from the flags, or one tuned for handlers that do nothing.
func (b *bench) runnerConfig(tuned bool) pawl.RunnerConfig {
	switch {
	case b.Min > 0 || b.Max > 0:
		return pawl.RunnerConfig{Min: b.Min, Max: b.Max}
	case b.Defaults || !tuned:
		return pawl.RunnerConfig{}
	default:
		return pawl.RunnerConfig{Min: 2000, Max: 4000}
	}
}

func (b *bench) result(config pawl.RunnerConfig) *Result {
	r := &Result{
		System: "pawl", ArgsBytes: b.ArgsBytes, Runners: b.Runners, MinRunning: config.Min, MaxRunning: config.Max,
		Settings: b.settings,
	}
	if r.MaxRunning == 0 {
		r.MinRunning, r.MaxRunning = 16, 32
	}
	return r
}

// figure returns the main figure of a scenario: a time if it measures times, otherwise a rate.
func (r *Result) figure() float64 {
	switch {
	case r.SecondsToRerun != nil:
		return *r.SecondsToRerun
	case r.P50 != nil:
		return *r.P50
	default:
		return r.JobsPerSecond
	}
}

func (r *Result) write(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(r)
	}
	fmt.Fprintf(w, "%-18s %9d jobs %8.2f s %9.0f jobs/s", r.Scenario, r.Jobs, r.Seconds, r.JobsPerSecond)
	if r.ListPage != nil {
		fmt.Fprintf(w, "   a page %.2f ms   archive %.0f bytes a job", *r.ListPage, *r.ArchiveBytes)
	}
	if r.P50 != nil {
		fmt.Fprintf(w, "   p50 %.2f p90 %.2f p99 %.2f max %.2f ms", *r.P50, *r.P90, *r.P99, *r.Max)
	}
	if r.SecondsToRerun != nil {
		fmt.Fprintf(w, "   %.1f s from the kill to the last restart", *r.SecondsToRerun)
	}
	if r.FirstWindow != nil {
		fmt.Fprintf(w, "   first window %.0f/s, last %.0f/s", *r.FirstWindow, *r.LastWindow)
	}
	if r.Ratio != nil {
		fmt.Fprintf(w, "   %.2f of none", *r.Ratio)
	}
	if r.SlotsUsed != nil {
		fmt.Fprintf(w, "   %.2f of the slots used", *r.SlotsUsed)
	}
	server := "?"
	if r.CPUServer != nil {
		server = fmt.Sprintf("%.4f", *r.CPUServer)
	}
	_, err := fmt.Fprintf(w, "\n%18s WAL %.0f MB, %d transactions, %d dead tuples, "+
		"CPU s per 1,000 jobs: client %.4f, server %s; %d runner(s) %d..%d; "+
		"PostgreSQL %s, fsync %s, synchronous_commit %s, shared_buffers %s\n",
		"", float64(r.WALBytes)/1e6, r.Transactions, r.DeadTuples, r.CPUClient, server, r.Runners, r.MinRunning, r.MaxRunning,
		r.Settings.Version, r.Settings.Fsync, r.Settings.SynchronousCommit, r.Settings.SharedBuffers)
	if err == nil && len(r.Sizes) > 0 {
		err = r.writeSizes(w)
	}
	return err
}

// progress writes the rate of a counter at every interval. stop ends it and returns the rates.
func (b *bench) progress(name string, each time.Duration, count func() int64) (stop func() []float64) {
	done := make(chan chan []float64)
	go func() {
		tick := time.NewTicker(each)
		defer tick.Stop()
		var rates []float64
		last := count()
		for {
			select {
			case <-tick.C:
				now := count()
				rate := float64(now-last) / each.Seconds()
				rates, last = append(rates, rate), now
				if b.Progress != nil {
					fmt.Fprintf(b.Progress, "%s %4.0f s %9.0f jobs/s\r", name, float64(len(rates))*each.Seconds(), rate)
				}
			case reply := <-done:
				if b.Progress != nil {
					fmt.Fprintf(b.Progress, "%60s\r", "")
				}
				reply <- rates
				return
			}
		}
	}()
	return func() []float64 {
		reply := make(chan []float64)
		done <- reply
		return <-reply
	}
}
