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

// line is what Compare reads of a result, Pawl's or a peer's.
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

func (l line) column() string {
	switch {
	case l.System == "pawl" && l.MaxRunning == 32:
		return "pawl default"
	case l.System == "pawl":
		return "pawl"
	default:
		return l.System + " " + l.Profile
	}
}

// Compare reads files of JSON lines, of Pawl and its peers, and writes a table in Markdown: medians side by side, with ratios.
func Compare(w io.Writer, files []string) error {
	found := map[string]map[string][]line{} // scenario, column
	var settings Settings
	var river string
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var l line
			if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
				f.Close()
				return fmt.Errorf("%s: %w", name, err)
			}
			column := l.column()
			if l.System == "pawl" && (l.Scenario == "insert" || l.Scenario == "insert-concurrent" || l.Scenario == "bare") {
				column = "pawl"
			}
			if found[l.Scenario] == nil {
				found[l.Scenario] = map[string][]line{}
			}
			found[l.Scenario][column] = append(found[l.Scenario][column], l)
			settings = l.Settings
			if l.RiverVersion != "" {
				river = l.RiverVersion
			}
		}
		f.Close()
	}
	fmt.Fprintf(w, "# Pawl and River, %s\n\n", time.Now().UTC().Format(time.DateOnly))
	fmt.Fprintf(w, "`make bench-peers`: one machine (%s), PostgreSQL %s, fsync %s, synchronous_commit %s, shared_buffers %s, River %s. Runs in alternation, medians.\n\n",
		cpuModel(), settings.Version, settings.Fsync, settings.SynchronousCommit, settings.SharedBuffers, river)
	fmt.Fprintln(w, "| scenario | Pawl | River | ratio | Pawl CPU s/1000 client + server | River's |\n| --- | --- | --- | --- | --- | --- |")
	pick := func(scenario, column string, of func(line) float64) (float64, int) {
		var values []float64
		for _, l := range found[scenario][column] {
			values = append(values, of(l))
		}
		if len(values) == 0 {
			return 0, 0
		}
		slices.Sort(values)
		return values[len(values)/2], len(values)
	}
	rate := func(l line) float64 { return l.JobsPerSecond }
	cpu := func(l line) float64 {
		if l.CPUServer == nil {
			return l.CPUClient
		}
		return l.CPUClient + *l.CPUServer
	}
	for _, row := range []struct{ title, scenario, ours, theirs string }{
		{"insert many, jobs/s", "insert", "pawl", "river bench"},
		{"insert singly, 1,000 goroutines, jobs/s", "insert-concurrent", "pawl", "river bench"},
		{"work, tuned, jobs/s", "work", "pawl", "river bench"},
		{"flow, tuned, jobs/s", "flow", "pawl", "river bench"},
		{"retry (20 % fail once), tuned, jobs/s", "retry", "pawl", "river bench"},
		{"work, defaults, jobs/s", "work", "pawl default", "river default"},
	} {
		a, n := pick(row.scenario, row.ours, rate)
		b, m := pick(row.scenario, row.theirs, rate)
		if n == 0 || m == 0 {
			continue
		}
		ca, _ := pick(row.scenario, row.ours, cpu)
		cb, _ := pick(row.scenario, row.theirs, cpu)
		fmt.Fprintf(w, "| %s | %.0f | %.0f | %.1f | %.4f | %.4f |\n", row.title, a, b, a/b, ca, cb)
	}
	for _, row := range []struct{ title, theirs string }{{"latency at 300/s on defaults, p50 / p99 ms", "river default"}, {"the same, River tuned", "river bench"}} {
		p50 := func(l line) float64 { return *l.P50 }
		p99 := func(l line) float64 { return *l.P99 }
		a50, n := pick("latency", "pawl default", p50)
		b50, m := pick("latency", row.theirs, p50)
		if n == 0 || m == 0 {
			continue
		}
		a99, _ := pick("latency", "pawl default", p99)
		b99, _ := pick("latency", row.theirs, p99)
		fmt.Fprintf(w, "| %s | %.1f / %.1f | %.1f / %.1f | %.1f / %.1f | | |\n", row.title, a50, a99, b50, b99, b50/a50, b99/a99)
	}
	if bare, n := pick("bare", "pawl", rate); n > 0 {
		work, _ := pick("work", "pawl", rate)
		fmt.Fprintf(w, "\nBare (the same SQL from one loop on one connection): %.0f jobs/s; work is %.0f %% of it.\n", bare, 100*work/bare)
	}
	return nil
}

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
