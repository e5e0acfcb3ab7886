// Package bench measures Pawl on a real server: a file a group of scenarios, each returning one Result.
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

// Config says what to measure, and how. Flags of `pawl bench` fill it.
type Config struct {
	Scenarios   []string // If empty, Short.
	Jobs        int
	Duration    time.Duration
	ArgsBytes   int
	Runners     int
	Min, Max    int  // Of each runner; 0: tuned to the scenario.
	Defaults    bool // RunnerConfig's own defaults.
	DatabaseURL string
	JSON        bool
	Rate        int
	Window      time.Duration
	Depth       int
	Held        int
	Channels    int
	Repeat      int
	Out         io.Writer
	Progress    io.Writer       // nil: none
	Rescue      func() []string // The command line of the worker that rescue kills; it calls Hold.
}

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
	"fair":              {"work spread over --channels channels", false, (*bench).fair},
	"crowd":             {"the first job of a channel beside another channel's --jobs: from the call to the handler's start", false, (*bench).crowd},
	"limited":           {"work in a queue with MaxRunning", false, (*bench).limited},
	"rated":             {"work in a queue with a Rate far above what is done", false, (*bench).rated},
	"ordered":           {"work of ordered jobs over --channels channels", false, (*bench).ordered},
	"stats":             {"Client.Stats on top of --depth archived and --jobs ready jobs in ten queues of --channels channels; jobs are calls", false, (*bench).stats},
	"rescue":            {"kill -9 of a worker to the restart of its last job", false, (*bench).rescue},
}

// Names are the scenarios, with what they do.
func Names() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(scenarios)) {
		fmt.Fprintf(&b, "  %-18s %s\n", name, scenarios[name].about)
	}
	return b.String()
}

// Result is one scenario's figures, and its line of JSON.
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
	Settings     Settings `json:"settings"`
}

// Settings are the server's that matter to the figures.
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
	server   int // The postmaster's pid; 0 if not on this machine.
}

// database is made and dropped on a given server.
const (
	database = "pawl_bench"
	mine     = "made by pawl bench, dropped by it" // Its comment: another's database of that name is left alone.
)

// ServerSettings are those of a private server: big enough that checkpoints and reads from disk are not what is measured.
var ServerSettings = map[string]string{"shared_buffers": "512MB", "max_wal_size": "4GB", "max_connections": "200"}

// Check says what is wrong with a config before anything is started.
func (c Config) Check() error {
	for _, name := range c.Scenarios {
		if _, ok := scenarios[name]; !ok {
			return fmt.Errorf("bench: no scenario %q; there are:\n%s", name, strings.TrimRight(Names(), "\n"))
		}
	}
	if c.Jobs < 1 || c.Duration <= 0 || c.Runners < 1 || c.ArgsBytes < 20 || c.Rate < 1 || c.Repeat < 1 || c.Held < 1 || c.Channels < 1 || c.Depth < 0 {
		return errors.New("bench: want jobs, duration, runners, rate, repeat, held and channels above 0, depth not below and args-bytes from 20")
	}
	return nil
}

// Run measures the scenarios and writes a line for each.
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
		defer server.Stop()
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
		conn.Exec(ctx, "drop database if exists "+database+" with (force)")
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
	if err := conn.QueryRow(ctx, "select coalesce(bool_or(shobj_description(oid, 'pg_database') is distinct from $2), false) from pg_database where datname = $1",
		pgx.QueryExecModeExec, database, mine).Scan(&foreign); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if foreign {
		return fmt.Errorf("bench: there is a database %s on this server that this benchmark did not make: rename it, or use another server", database)
	}
	for _, text := range []string{"drop database if exists " + database + " with (force)", "create database " + database, "comment on database " + database + " is '" + mine + "'"} {
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

// fresh makes the schema anew.
func (b *bench) fresh(ctx context.Context) error {
	if err := b.client.Uninstall(ctx); err != nil {
		return err
	}
	return b.client.Migrate(ctx)
}

// settle makes runs comparable: statistics made, hint bits set, no checkpoint due.
func (b *bench) settle(ctx context.Context) error {
	for _, text := range []string{"vacuum analyze pawl.job", "vacuum analyze pawl.ready", "vacuum analyze pawl.scheduled", "checkpoint"} {
		if _, err := b.pool.Exec(ctx, text, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
	}
	return nil
}

// runnerConfig is the runner's as the flags say, or tuned for floods of handlers that do nothing.
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
	r := &Result{System: "pawl", ArgsBytes: b.ArgsBytes, Runners: b.Runners, MinRunning: config.Min, MaxRunning: config.Max, Settings: b.settings}
	if r.MaxRunning == 0 {
		r.MinRunning, r.MaxRunning = 16, 32
	}
	return r
}

// figure is what a scenario is measured by: a time where that is its point, else a rate.
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
	server := "?"
	if r.CPUServer != nil {
		server = fmt.Sprintf("%.4f", *r.CPUServer)
	}
	_, err := fmt.Fprintf(w, "\n%18s WAL %.0f MB, %d transactions, %d dead tuples, CPU s per 1,000 jobs: client %.4f, server %s; %d runner(s) %d..%d; PostgreSQL %s, fsync %s, synchronous_commit %s, shared_buffers %s\n",
		"", float64(r.WALBytes)/1e6, r.Transactions, r.DeadTuples, r.CPUClient, server, r.Runners, r.MinRunning, r.MaxRunning,
		r.Settings.Version, r.Settings.Fsync, r.Settings.SynchronousCommit, r.Settings.SharedBuffers)
	return err
}

// progress shows a rate each second while something is counted.
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
			case answer := <-done:
				if b.Progress != nil {
					fmt.Fprintf(b.Progress, "%60s\r", "")
				}
				answer <- rates
				return
			}
		}
	}()
	return func() []float64 {
		answer := make(chan []float64)
		done <- answer
		return <-answer
	}
}
