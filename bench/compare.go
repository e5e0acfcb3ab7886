package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Comparison sets the medians of two systems side by side, from the JSON lines
// of `pawl bench` and of bench/peers.
type Comparison struct {
	lines []line
}

// line is what a comparison needs of a JSON line, Pawl's or a peer's.
type line struct {
	System        string   `json:"system"`
	Profile       string   `json:"profile"`
	Scenario      string   `json:"scenario"`
	Jobs          int64    `json:"jobs"`
	JobsPerSecond float64  `json:"jobs_per_second"`
	Rate          int      `json:"rate"`
	P50MS         float64  `json:"p50_ms"`
	P99MS         float64  `json:"p99_ms"`
	WALBytes      int64    `json:"wal_bytes"`
	CPUClient     float64  `json:"cpu_client_seconds_per_1000"`
	CPUServer     float64  `json:"cpu_server_seconds_per_1000"`
	ArgsBytes     int      `json:"args_bytes"`
	Runners       int      `json:"runners"`
	Min           int      `json:"min"`
	Max           int      `json:"max"`
	MaxWorkers    int      `json:"max_workers"`
	RiverVersion  string   `json:"river_version"`
	PawlVersion   string   `json:"pawl_version"`
	Settings      Settings `json:"settings"`
}

// ReadComparison reads files of JSON lines.
func ReadComparison(files []string) (*Comparison, error) {
	c := &Comparison{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(bytes.NewReader(text))
		lines.Buffer(nil, 1<<20)
		for n := 1; lines.Scan(); n++ {
			var l line
			if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
				return nil, fmt.Errorf("%s, line %d: %w; want the output of --json", name, n, err)
			}
			c.lines = append(c.lines, l)
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if len(c.lines) == 0 {
		return nil, errors.New("the files hold no results")
	}
	return c, nil
}

// of are the lines of one system's scenario.
func (c *Comparison) of(system, profile, scenario string) []line {
	var found []line
	for _, l := range c.lines {
		if l.System == system && l.Profile == profile && l.Scenario == scenario {
			found = append(found, l)
		}
	}
	return found
}

// median is of an even number the lower of the two in the middle.
func median(lines []line, figure func(line) float64) float64 {
	var all []float64
	for _, l := range lines {
		all = append(all, figure(l))
	}
	slices.Sort(all)
	return all[(len(all)-1)/2]
}

// pairing says which of the two systems' profiles stand beside each other.
var pairing = []struct{ title, pawl, river string }{
	{"tuned", "tuned", "bench"},
	{"defaults", "defaults", "default"},
}

// columns of the table; latencies are better when lower, and their ratio is
// turned round, so that a ratio above 1 always speaks for Pawl.
var columns = []string{"settings", "scenario", "unit", "Pawl", "River", "Pawl / River", "runs"}

func (c *Comparison) rows() [][]string {
	jobs := func(l line) float64 { return l.JobsPerSecond }
	var rows [][]string
	for _, p := range pairing {
		for _, s := range scenarios() {
			ours, theirs := c.of("pawl", p.pawl, s.name), c.of("river", p.river, s.name)
			if len(ours) == 0 && len(theirs) == 0 || s.name == "bare" {
				continue
			}
			// More than a figure a scenario only for latency.
			figures := []figure{{"jobs/s", jobs, false}}
			if s.name == "latency" {
				figures = []figure{
					{"ms, p50", func(l line) float64 { return l.P50MS }, true},
					{"ms, p99", func(l line) float64 { return l.P99MS }, true},
				}
			}
			for _, f := range figures {
				rows = append(rows, append([]string{p.title, s.name}, f.cells(ours, theirs)...))
			}
		}
	}
	if bare := c.of("pawl", "tuned", "bare"); len(bare) > 0 {
		rows = append(rows, []string{"–", "bare", "jobs/s", grouped(median(bare, jobs)), "–", "–", fmt.Sprint(len(bare))})
		if work := c.of("pawl", "tuned", "work"); len(work) > 0 {
			rows = append(rows, []string{"tuned", "work / bare", "", fmt.Sprintf("%.2f", median(work, jobs)/median(bare, jobs)), "–", "–", fmt.Sprint(len(work))})
		}
	}
	return rows
}

// figure is a number of a line.
type figure struct {
	unit  string
	of    func(line) float64
	lower bool // Lower is better.
}

func (f figure) cells(ours, theirs []line) []string {
	text := func(lines []line) (float64, string) {
		if len(lines) == 0 {
			return 0, "–"
		}
		v := median(lines, f.of)
		if f.lower {
			return v, fmt.Sprintf("%.2f", v)
		}
		return v, grouped(v)
	}
	a, ourText := text(ours)
	b, theirText := text(theirs)
	ratio := "–"
	if a > 0 && b > 0 {
		if f.lower {
			a, b = b, a
		}
		ratio = fmt.Sprintf("%.2f", a/b)
	}
	runs := fmt.Sprint(len(ours))
	if len(theirs) != len(ours) {
		runs += ", " + fmt.Sprint(len(theirs))
	}
	return []string{f.unit, ourText, theirText, ratio, runs}
}

// Text writes the table for a terminal.
func (c *Comparison) Text(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(columns, "\t"))
	for _, row := range c.rows() {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// Markdown writes the table with what one must know to judge it.
func (c *Comparison) Markdown(out io.Writer, at time.Time) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Pawl beside River, %s\n\n", at.Format(time.DateOnly))
	fmt.Fprintf(&b, "Medians, the systems in alternation on one private server of this machine, which client and server share; made by\n`make bench-peers`. Compare the ratios: above 1 they speak for Pawl, in latency too. Absolute figures hold for this machine\nand this hour only.\n\n")
	row := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	row(columns)
	row([]string{"---", "---", "---", "--:", "--:", "--:", "--:"})
	for _, cells := range c.rows() {
		row(cells)
	}
	first := c.lines[0]
	fmt.Fprintf(&b, "\n- Machine: %s, %d CPUs, %s/%s, %s\n", cpuModel(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	fmt.Fprintf(&b, "- PostgreSQL %s: fsync %s, synchronous_commit %s, shared_buffers %s\n", first.Settings.Version, first.Settings.Fsync,
		first.Settings.SynchronousCommit, first.Settings.SharedBuffers)
	fmt.Fprintf(&b, "- Args of %d bytes\n", first.ArgsBytes)
	for _, text := range c.sides() {
		fmt.Fprintf(&b, "- %s\n", text)
	}
	b.WriteString("- What each scenario measures: `pawl bench --help` and bench/peers/river/README.md\n")
	_, err := io.WriteString(out, b.String())
	return err
}

// sides describes the systems and settings that took part, each once.
func (c *Comparison) sides() []string {
	var texts []string
	for _, l := range c.lines {
		var text string
		switch {
		case l.Scenario == "bare" || strings.HasPrefix(l.Scenario, "insert"):
			continue
		case l.System == "river":
			text = fmt.Sprintf("River %s, profile %s: %d workers, %d client(s)", l.RiverVersion, l.Profile, l.MaxWorkers, l.Runners)
		default:
			text = fmt.Sprintf("Pawl %s, %s: Min %d, Max %d, %d runner(s)", l.PawlVersion, l.Profile, l.Min, l.Max, l.Runners)
		}
		if l.Scenario == "work" {
			text += fmt.Sprintf("; work of %s jobs", grouped(float64(l.Jobs)))
			texts = append(texts, text)
		} else if !slices.ContainsFunc(texts, func(t string) bool { return strings.HasPrefix(t, text) }) && len(c.of(l.System, l.Profile, "work")) == 0 {
			texts = append(texts, text)
		}
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for entry := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(entry, ":"); ok && strings.TrimSpace(name) == "model name" {
				return strings.TrimSpace(value)
			}
		}
	}
	return "CPU unknown"
}
