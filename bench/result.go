package bench

import (
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"text/tabwriter"
	"time"
)

// Result is one scenario's line of JSON.
type Result struct {
	System        string  `json:"system"`
	Profile       string  `json:"profile"` // tuned or defaults: the runners' concurrency
	Scenario      string  `json:"scenario"`
	Jobs          int64   `json:"jobs"`
	Seconds       float64 `json:"seconds"`
	JobsPerSecond float64 `json:"jobs_per_second"`

	// Each is there only for the scenarios it belongs to.
	*FlowFigures
	*WindowFigures
	*LatencyFigures
	*RescueFigures
	*DepthFigures

	WALBytes              int64     `json:"wal_bytes"`
	Transactions          int64     `json:"transactions"`
	DeadTuples            int64     `json:"dead_tuples"` // left by autovacuum at the end
	CPUClientSecondsPer1k float64   `json:"cpu_client_seconds_per_1000"`
	CPUServerSecondsPer1k *float64  `json:"cpu_server_seconds_per_1000,omitempty"`
	ArgsBytes             int       `json:"args_bytes"`
	Runners               int       `json:"runners"`
	Min                   int       `json:"min"`
	Max                   int       `json:"max"`
	Runs                  []float64 `json:"runs,omitempty"` // the figure of every run, of which this is the median
	PawlVersion           string    `json:"pawl_version"`
	Settings              Settings  `json:"settings"`
}

// FlowFigures are of flow and its kin.
type FlowFigures struct {
	Inserted       int64   `json:"inserted"`
	FailedAttempts int64   `json:"failed_attempts"`
	Backlog        int     `json:"backlog"`
	BacklogAtEnd   int64   `json:"backlog_at_end"`
	Rates          []int64 `json:"rates"` // jobs in each second, as handlers returned
}

// WindowFigures are of pinned and pinned-writer.
type WindowFigures struct {
	WindowSeconds      float64 `json:"window_seconds"`
	FirstJobsPerSecond float64 `json:"first_window_jobs_per_second"`
	LastJobsPerSecond  float64 `json:"last_window_jobs_per_second"`
}

// LatencyFigures are of latency.
type LatencyFigures struct {
	Rate  int     `json:"rate"`
	P50MS float64 `json:"p50_ms"`
	P90MS float64 `json:"p90_ms"`
	P99MS float64 `json:"p99_ms"`
	MaxMS float64 `json:"max_ms"`
}

// RescueFigures are of rescue.
type RescueFigures struct {
	Held           int     `json:"held"`
	SecondsToRerun float64 `json:"seconds_to_rerun"`
	SecondsToFirst float64 `json:"seconds_to_first_rerun"`
}

// DepthFigures are of depth.
type DepthFigures struct {
	Depth                int     `json:"depth"`
	ShallowJobsPerSecond float64 `json:"shallow_jobs_per_second"`
	Ratio                float64 `json:"ratio"` // deep / shallow
}

// figure is the one number a scenario is about.
func (r *Result) figure() float64 {
	switch {
	case r.LatencyFigures != nil:
		return r.P50MS
	case r.RescueFigures != nil:
		return r.SecondsToRerun
	default:
		return r.JobsPerSecond
	}
}

// finish fills in what a number of jobs took. elapsed is given apart from the
// two readings because those are taken a moment later than the last job.
func (r *Result) finish(jobs int64, elapsed time.Duration, before, after usage) {
	r.Jobs = jobs
	r.Seconds = elapsed.Seconds()
	r.JobsPerSecond = float64(jobs) / elapsed.Seconds()
	r.WALBytes = after.wal - before.wal
	if jobs == 0 {
		return
	}
	thousands := float64(jobs) / 1000
	r.CPUClientSecondsPer1k = (after.client - before.client).Seconds() / thousands
	if before.server != 0 && after.server != 0 {
		v := (after.server - before.server).Seconds() / thousands
		r.CPUServerSecondsPer1k = &v
	}
}

// notes are a result's other figures, for people.
func (r *Result) notes() string {
	var notes []string
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if f := r.LatencyFigures; f != nil {
		note("p50 %.2f ms, p90 %.2f, p99 %.2f, max %.2f at %d/s", f.P50MS, f.P90MS, f.P99MS, f.MaxMS, f.Rate)
	}
	if f := r.RescueFigures; f != nil {
		note("%d held jobs run again within %.1f s of the kill, the first after %.1f s", f.Held, f.SecondsToRerun, f.SecondsToFirst)
	}
	if f := r.DepthFigures; f != nil {
		note("%.2f × of %s/s without", f.Ratio, grouped(f.ShallowJobsPerSecond))
	}
	if f := r.WindowFigures; f != nil {
		note("first %.0f s %s/s, last %s/s", f.WindowSeconds, grouped(f.FirstJobsPerSecond), grouped(f.LastJobsPerSecond))
	}
	if f := r.FlowFigures; f != nil {
		if f.FailedAttempts > 0 {
			note("%s failed attempts", grouped(float64(f.FailedAttempts)))
		}
		note("backlog at end %s", grouped(float64(f.BacklogAtEnd)))
	}
	if len(r.Runs) > 0 {
		note("median of %d", len(r.Runs))
	}
	return strings.Join(notes, "; ")
}

func writeTable(out io.Writer, results []*Result) error {
	if len(results) == 0 {
		return nil
	}
	s := results[0].Settings
	fmt.Fprintf(out, "PostgreSQL %s, fsync %s, synchronous_commit %s, shared_buffers %s; args of %d bytes\n\n",
		s.Version, s.Fsync, s.SynchronousCommit, s.SharedBuffers, results[0].ArgsBytes)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "scenario\tjobs\tseconds\tjobs/s\tmin–max\tWAL B/job\tjobs/tx\tCPU µs/job client, server\tdead rows\t")
	for _, r := range results {
		server := "–"
		if r.CPUServerSecondsPer1k != nil {
			server = fmt.Sprintf("%.1f", *r.CPUServerSecondsPer1k*1000)
		}
		n := max(float64(r.Jobs), 1)
		fmt.Fprintf(w, "%s\t%s\t%.2f\t%s\t%d–%d\t%.0f\t%.1f\t%.1f, %s\t%s\t%s\n", r.Scenario, grouped(float64(r.Jobs)), r.Seconds,
			grouped(r.JobsPerSecond), r.Min, r.Max, float64(r.WALBytes)/n, n/max(float64(r.Transactions), 1),
			r.CPUClientSecondsPer1k*1000, server, grouped(float64(r.DeadTuples)), r.notes())
	}
	return w.Flush()
}

// grouped writes a number as people read it: 1,234,567.
func grouped(v float64) string {
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	return info.Main.Version
}
