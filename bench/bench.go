// Package bench measures Pawl. Each scenario has a file of its own, whose
// comments say what it measures; docs and `pawl bench --help` list them.
//
// A scenario runs on a schema made anew, holding its preload and nothing else,
// with fresh planner statistics and a fresh checkpoint. At its end
// [pawl.Client.Verify] must find nothing, and no job may be missing.
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Config says what to measure, and how.
type Config struct {
	Scenarios   []string // If empty, all but the long ones.
	DatabaseURL string   // If empty, a private server is started for the run.

	Jobs      int           // Of insert, insert-concurrent, work, depth and bare.
	Duration  time.Duration // Of flow, retry, the pinned ones and latency.
	Window    time.Duration // First and last of the pinned ones; at most half of Duration.
	Rate      int           // Inserts a second of latency.
	ArgsBytes int           // Of each job's args as JSON.
	Runners   int           // Run loops in this process, each with a pool of its own.
	Min, Max  int           // RunnerConfig's. If both are zero, tuned, see Defaults.
	Defaults  bool          // Leaves Min and Max to RunnerConfig. latency always does if both are zero.
	Depth     int           // Rows of each sort that depth works on top of.
	Held      int           // Jobs the process killed in rescue holds.
	Repeat    int           // Runs of each scenario; the median is reported.

	// Holder is the command that becomes rescue's process to be killed: it
	// calls [Hold]. It must end when its standard input does.
	Holder []string

	JSON     bool      // One object a line on Out for each scenario, instead of a table.
	Out      io.Writer // Results.
	Progress io.Writer // Jobs per second, each second; nil: none.
}

// Tuned is what Min and Max are where nothing else was asked for: few claims
// of many jobs each are what throughput wants.
const (
	tunedMin = 1000
	tunedMax = 2000
)

// What RunnerConfig's zero Min and Max stand for.
const (
	defaultMin = 16
	defaultMax = 32
)

const (
	batch   = 10_000 // Jobs of an InsertMany.
	backlog = 20_000 // Most unfinished jobs of flow and its kin.
)

// A scenario measures one thing.
type scenario struct {
	name    string
	short   string // What it measures, in a line.
	long    bool   // Left out unless named.
	preload func(Config) int
	run     func(context.Context, *measurement) error
}

func scenarios() []scenario {
	none := func(Config) int { return 0 }
	jobs := func(c Config) int { return c.Jobs }
	unfinished := func(Config) int { return backlog }
	return []scenario{
		{"insert", "InsertMany in batches of 10,000 by one caller", false, none, runInsert},
		{"insert-concurrent", "1,000 goroutines calling Insert singly", false, none, runInsertConcurrent},
		{"work", "burn --jobs ready jobs down, until the last is completed in the database", false, jobs, runWork},
		{"bare", "the same by the claim and complete functions alone: the ceiling for work", false, jobs, runBare},
		{"flow", "insert and work at once for --duration", false, unfinished, runFlow},
		{"retry", "flow with a fifth of the jobs failing once", false, unfinished, runRetry},
		{"latency", "from the call of Insert to the start of the handler, at --rate inserts a second", false, none, runLatency},
		{"pinned", "flow beside an open snapshot; give it a --duration of a minute or more", false, unfinished, runPinned},
		{"pinned-writer", "flow beside an open transaction that has written", false, unfinished, runPinnedWriter},
		{"rescue", "from the kill of a process that holds --held jobs until the last of them runs elsewhere", false, rescueBacklog, runRescue},
		{"depth", "work on top of --depth ready, scheduled and archived rows each, against none; takes minutes", true, none, runDepth},
	}
}

// Describe lists the scenarios, one a line, each with what it measures.
func Describe() string {
	var b strings.Builder
	for _, s := range scenarios() {
		fmt.Fprintf(&b, "  %-18s %s\n", s.name, s.short)
	}
	return b.String()
}

// Check is the error Run would begin with: the config's first mistake.
func (c Config) Check() error {
	for _, name := range c.Scenarios {
		if _, err := find(name); err != nil {
			return err
		}
	}
	for _, n := range []struct {
		flag  string
		value int
	}{{"--jobs", c.Jobs}, {"--rate", c.Rate}, {"--runners", c.Runners}, {"--depth", c.Depth}, {"--held", c.Held}, {"--repeat", c.Repeat}} {
		if n.value < 1 {
			return fmt.Errorf("%s %d: want at least 1", n.flag, n.value)
		}
	}
	if c.ArgsBytes < minArgsBytes {
		return fmt.Errorf("--args-bytes %d: want at least %d", c.ArgsBytes, minArgsBytes)
	}
	if c.Duration < time.Second || c.Window <= 0 {
		return fmt.Errorf("--duration %v, --window %v: want at least a second and a positive time", c.Duration, c.Window)
	}
	if c.Min < 0 || c.Max < 0 || c.Max > 0 && c.Min > c.Max {
		return fmt.Errorf("--min %d, --max %d: want 1 ≤ min ≤ max, or leave them out", c.Min, c.Max)
	}
	if c.Defaults && (c.Min != 0 || c.Max != 0) {
		return errors.New("--defaults stands for RunnerConfig's own min and max: leave out --min and --max, or it")
	}
	return nil
}

func find(name string) (scenario, error) {
	all := scenarios()
	i := slices.IndexFunc(all, func(s scenario) bool { return s.name == name })
	if i >= 0 {
		return all[i], nil
	}
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.name
	}
	return scenario{}, fmt.Errorf("unknown scenario %q: want any of %s", name, strings.Join(names, ", "))
}

// Run measures the scenarios one after the other and writes their results.
func Run(ctx context.Context, config Config) (err error) {
	if err := config.Check(); err != nil {
		return err
	}
	config.Window = min(config.Window, config.Duration/2)
	var chosen []scenario
	for _, name := range config.Scenarios {
		s, _ := find(name) // Checked above.
		chosen = append(chosen, s)
	}
	if len(chosen) == 0 {
		chosen = slices.DeleteFunc(scenarios(), func(s scenario) bool { return s.long })
	}

	db, err := open(ctx, config.DatabaseURL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.close()) }()

	var results []*Result
	for _, s := range chosen {
		res, err := repeat(ctx, config, db, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		results = append(results, res)
		if config.JSON {
			if err := json.NewEncoder(config.Out).Encode(res); err != nil {
				return err
			}
		}
	}
	if config.JSON {
		return nil
	}
	return writeTable(config.Out, results)
}

// repeat measures a scenario as often as asked and returns the median run, of
// an even number the lower of the two in the middle: a run that took place.
func repeat(ctx context.Context, config Config, db *database, s scenario) (*Result, error) {
	var runs []*Result
	for range config.Repeat {
		res, err := measure(ctx, config, db, s)
		if err != nil {
			return nil, err
		}
		runs = append(runs, res)
	}
	figures := make([]float64, len(runs))
	for i, r := range runs {
		figures[i] = r.figure()
	}
	if len(runs) == 1 {
		return runs[0], nil
	}
	sorted := slices.Sorted(slices.Values(figures))
	res := runs[slices.Index(figures, sorted[(len(sorted)-1)/2])]
	res.Runs = figures
	return res, nil
}
