package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// A line holds the fields of one result of Pawl or River that Compare reads.
type line struct {
	System        string   `json:"system"`
	Profile       string   `json:"profile"`
	Scenario      string   `json:"scenario"`
	JobsPerSecond float64  `json:"jobs_per_second"`
	P50           *float64 `json:"p50_ms"`
	P99           *float64 `json:"p99_ms"`
	CPUClient     float64  `json:"cpu_client_seconds_per_1000"`
	CPUServer     *float64 `json:"cpu_server_seconds_per_1000"`
	MaxRunning    int      `json:"max"`
	RiverVersion  string   `json:"river_version"`
	Settings      Settings `json:"settings"`
}

// column returns the column of the comparison that the result belongs to.
func (l line) column() string {
	switch {
	case l.System != "pawl":
		return l.System + " " + l.Profile
	case l.MaxRunning == 32 && !slices.Contains([]string{"insert", "insert-concurrent", "bare"}, l.Scenario):
		return "pawl default"
	default: // Scenarios without a runner are the same with and without tuning.
		return "pawl"
	}
}

// jobsPerSecond, p50, p99 and cpu return one figure of a result. cpu adds client and server, in seconds per 1,000 jobs.
func (l line) jobsPerSecond() float64 { return l.JobsPerSecond }
func (l line) p50() float64           { return *l.P50 }
func (l line) p99() float64           { return *l.P99 }
func (l line) cpu() float64 {
	if l.CPUServer == nil {
		return l.CPUClient
	}
	return l.CPUClient + *l.CPUServer
}

// A comparison holds results by scenario and column.
type comparison struct {
	lines    map[string]map[string][]line
	settings Settings
	river    string // river is River's version.
}

// Compare reads files of JSON lines with results of Pawl and River. It writes a Markdown table of their medians side by
// side, with ratios.
func Compare(w io.Writer, files []string) error {
	c := &comparison{lines: map[string]map[string][]line{}}
	for _, name := range files {
		if err := c.read(name); err != nil {
			return fmt.Errorf("bench: compare %s: %w", name, err)
		}
	}
	c.write(w)
	return nil
}

// read adds the results of a file.
func (c *comparison) read(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return err
		}
		if c.lines[l.Scenario] == nil {
			c.lines[l.Scenario] = map[string][]line{}
		}
		c.lines[l.Scenario][l.column()] = append(c.lines[l.Scenario][l.column()], l)
		c.settings = l.Settings
		if l.RiverVersion != "" {
			c.river = l.RiverVersion
		}
	}
	return lines.Err()
}

// median returns the median of a figure and the number of results.
func (c *comparison) median(scenario, column string, figure func(line) float64) (median float64, n int) {
	var values []float64
	for _, l := range c.lines[scenario][column] {
		values = append(values, figure(l))
	}
	if len(values) == 0 {
		return 0, 0
	}
	slices.Sort(values)
	return values[len(values)/2], len(values)
}

func (c *comparison) write(w io.Writer) {
	fmt.Fprintf(w, "# Pawl and River, %s\n\n", time.Now().UTC().Format(time.DateOnly))
	fmt.Fprintf(w, "`make bench-peers`: one machine (%s), PostgreSQL %s, fsync %s, synchronous_commit %s, "+
		"shared_buffers %s, River %s. Runs in alternation, medians.\n\n", cpuModel(), c.settings.Version,
		c.settings.Fsync, c.settings.SynchronousCommit, c.settings.SharedBuffers, c.river)
	fmt.Fprintln(w, "| scenario | Pawl | River | ratio | Pawl CPU s/1000 client + server | River's |")
	fmt.Fprintln(w, "| --- | --- | --- | --- | --- | --- |")
	for _, row := range []struct{ title, scenario, ours, theirs string }{
		{"insert many, jobs/s", "insert", "pawl", "river bench"},
		{"insert singly, 1,000 goroutines, jobs/s", "insert-concurrent", "pawl", "river bench"},
		{"work, tuned, jobs/s", "work", "pawl", "river bench"},
		{"flow, tuned, jobs/s", "flow", "pawl", "river bench"},
		{"retry (20 % fail once), tuned, jobs/s", "retry", "pawl", "river bench"},
		{"work, defaults, jobs/s", "work", "pawl default", "river default"},
	} {
		ours, n := c.median(row.scenario, row.ours, line.jobsPerSecond)
		theirs, m := c.median(row.scenario, row.theirs, line.jobsPerSecond)
		if n == 0 || m == 0 {
			continue
		}
		ourCPU, _ := c.median(row.scenario, row.ours, line.cpu)
		theirCPU, _ := c.median(row.scenario, row.theirs, line.cpu)
		fmt.Fprintf(w, "| %s | %.0f | %.0f | %.1f | %.4f | %.4f |\n",
			row.title, ours, theirs, ours/theirs, ourCPU, theirCPU)
	}
	c.writeLatency(w, "latency at 300/s on defaults, p50 / p99 ms", "river default")
	c.writeLatency(w, "the same, River tuned", "river bench")
	if bare, n := c.median("bare", "pawl", line.jobsPerSecond); n > 0 {
		work, _ := c.median("work", "pawl", line.jobsPerSecond)
		fmt.Fprintf(w, "\nBare (the same SQL from one loop on one connection): %.0f jobs/s; work is %.0f %% of it.\n",
			bare, 100*work/bare)
	}
}

// writeLatency writes the row of latencies that compares Pawl's defaults with a column of River.
func (c *comparison) writeLatency(w io.Writer, title, theirs string) {
	our50, n := c.median("latency", "pawl default", line.p50)
	their50, m := c.median("latency", theirs, line.p50)
	if n == 0 || m == 0 {
		return
	}
	our99, _ := c.median("latency", "pawl default", line.p99)
	their99, _ := c.median("latency", theirs, line.p99)
	fmt.Fprintf(w, "| %s | %.1f / %.1f | %.1f / %.1f | %.1f / %.1f | | |\n",
		title, our50, our99, their50, their99, their50/our50, their99/our99)
}

// cpuModel returns the name of the CPU and the number of its cores.
func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	model, n := "unknown CPU", 0
	for l := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(key) == "model name" {
			model = strings.TrimSpace(value)
			n++
		}
	}
	return fmt.Sprintf("%s, %d cores", model, n)
}
