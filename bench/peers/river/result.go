package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime/debug"
	"time"
)

// result is one scenario's line of JSON.
type result struct {
	System        string  `json:"system"`
	Profile       string  `json:"profile"`
	Scenario      string  `json:"scenario"`
	Jobs          int64   `json:"jobs"`
	Seconds       float64 `json:"seconds"`
	JobsPerSecond float64 `json:"jobs_per_second"`

	// Each is there only for the scenarios it belongs to.
	*flowStats
	*windowStats
	*latencyStats

	WALBytes              int64          `json:"wal_bytes"`
	Transactions          int64          `json:"transactions"`
	CPUClientSecondsPer1k float64        `json:"cpu_client_seconds_per_1000"`
	CPUServerSecondsPer1k *float64       `json:"cpu_server_seconds_per_1000,omitempty"`
	ArgsBytes             int            `json:"args_bytes"`
	Runners               int            `json:"runners"`
	MaxWorkers            int            `json:"max_workers"`
	FetchCooldownMS       float64        `json:"fetch_cooldown_ms"`
	FetchPollIntervalMS   float64        `json:"fetch_poll_interval_ms"`
	Batch                 int            `json:"batch"`
	Conns                 int            `json:"conns"`
	RunnerConns           int            `json:"runner_conns"`
	RiverVersion          string         `json:"river_version"`
	Settings              serverSettings `json:"settings"`
}

type flowStats struct {
	Inserted       int64 `json:"inserted"`
	FailedAttempts int64 `json:"failed_attempts"`
	Backlog        int   `json:"backlog"`
	BacklogAtEnd   int64 `json:"backlog_at_end"`
}

type windowStats struct {
	WindowSeconds      float64 `json:"window_seconds"`
	FirstJobsPerSecond float64 `json:"first_window_jobs_per_second"`
	LastJobsPerSecond  float64 `json:"last_window_jobs_per_second"`
}

type latencyStats struct {
	Rate  int     `json:"rate"`
	P50MS float64 `json:"p50_ms"`
	P90MS float64 `json:"p90_ms"`
	P99MS float64 `json:"p99_ms"`
	MaxMS float64 `json:"max_ms"`
}

func (b *bench) newResult(name string) *result {
	cfg := b.opts.profile.config().WithDefaults()
	return &result{
		System:              "river",
		Profile:             b.opts.profile.name,
		Scenario:            name,
		ArgsBytes:           b.opts.argsBytes,
		Runners:             b.opts.runners,
		MaxWorkers:          b.opts.profile.maxWorkers,
		FetchCooldownMS:     milliseconds(cfg.FetchCooldown),
		FetchPollIntervalMS: milliseconds(cfg.FetchPollInterval),
		Batch:               b.opts.batch,
		Conns:               b.opts.conns,
		RunnerConns:         b.opts.runnerConns,
		RiverVersion:        riverVersion(),
		Settings:            b.settings,
	}
}

// finish fills in what a number of jobs took. elapsed is given apart from the
// two readings because those are taken a moment later than the last job.
func (r *result) finish(jobs int64, elapsed time.Duration, before, after usage) {
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

func (r *result) write(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(r)
	}
	fmt.Fprintf(w, "%-18s %-8s %8d jobs in %6.2f s: %9.0f jobs/s",
		r.Scenario, r.Profile, r.Jobs, r.Seconds, r.JobsPerSecond)
	if s := r.latencyStats; s != nil {
		fmt.Fprintf(w, "; ms: p50 %.2f, p90 %.2f, p99 %.2f, max %.2f", s.P50MS, s.P90MS, s.P99MS, s.MaxMS)
	}
	if s := r.windowStats; s != nil {
		fmt.Fprintf(w, "; first %.0f s %.0f/s, last %.0f/s", s.WindowSeconds, s.FirstJobsPerSecond, s.LastJobsPerSecond)
	}
	if s := r.flowStats; s != nil {
		fmt.Fprintf(w, "; %d inserted, %d failed attempts, backlog at end %d", s.Inserted, s.FailedAttempts, s.BacklogAtEnd)
	}
	fmt.Fprintf(w, "; WAL %.1f MB, %d transactions, CPU s/1000 client %.4f",
		float64(r.WALBytes)/1e6, r.Transactions, r.CPUClientSecondsPer1k)
	if r.CPUServerSecondsPer1k != nil {
		fmt.Fprintf(w, ", server %.4f", *r.CPUServerSecondsPer1k)
	}
	_, err := fmt.Fprintln(w)
	return err
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func riverVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, dep := range info.Deps {
		if dep.Path == "github.com/riverqueue/river" {
			return dep.Version
		}
	}
	return "unknown"
}
