// Package queuepolicy holds the flags that set the policy of a queue, and the row that shows the queue.
package queuepolicy

import (
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
)

// Row is a queue's policy as commands print it. Its names are the names of the flags. A nil field has its default.
type Row struct {
	MaxRunning        *int           `json:"max_running" table:",omitempty"`
	ChannelMaxRunning *int           `json:"channel_max_running" table:",omitempty"`
	Rate              *string        `json:"rate" table:",omitempty"`
	Burst             *int           `json:"burst" table:",omitempty"`
	ChannelRate       *string        `json:"channel_rate" table:",omitempty"`
	ChannelBurst      *int           `json:"channel_burst" table:",omitempty"`
	Weights           map[string]int `json:"weights" table:",omitempty"`
	MaxAttempts       *int           `json:"max_attempts" table:",omitempty"`
	BackoffBase       *time.Duration `json:"backoff_base" table:",omitempty"`
	BackoffMax        *time.Duration `json:"backoff_max" table:",omitempty"`
	BackoffGrowth     *float64       `json:"backoff_growth" table:",omitempty"`
	BackoffPower      *float64       `json:"backoff_power" table:",omitempty"`
	BackoffJitter     *float64       `json:"backoff_jitter" table:",omitempty"`
	Lease             *time.Duration `json:"lease" table:",omitempty"`
	HaltOnDead        bool           `json:"halt_on_dead" table:",omitempty"`
	RetainCompleted   *time.Duration `json:"retain_completed" table:",omitempty"`
	RetainCancelled   *time.Duration `json:"retain_cancelled" table:",omitempty"`
	RetainDead        *time.Duration `json:"retain_dead" table:",omitempty"`
}

// RowOf returns the row of a queue.
func RowOf(queue pawl.Queue) Row {
	row := Row{
		MaxRunning: unlessZero(queue.MaxRunning), ChannelMaxRunning: unlessZero(queue.ChannelMaxRunning),
		Burst: unlessZero(queue.Rate.Burst), ChannelBurst: unlessZero(queue.ChannelRate.Burst), Weights: queue.Weights,
		MaxAttempts: unlessZero(queue.MaxAttempts), BackoffBase: unlessZero(queue.Backoff.Base),
		BackoffMax: unlessZero(queue.Backoff.Max), BackoffGrowth: unlessZero(queue.Backoff.Growth),
		BackoffPower: unlessZero(queue.Backoff.Power), BackoffJitter: unlessZero(queue.Backoff.Jitter),
		Lease: unlessZero(queue.Lease), HaltOnDead: queue.HaltOnDead,
	}
	if queue.Rate.N > 0 {
		row.Rate = new(flagvalue.FormatRate(queue.Rate))
	}
	if queue.ChannelRate.N > 0 {
		row.ChannelRate = new(flagvalue.FormatRate(queue.ChannelRate))
	}
	if queue.Backoff.NoJitter {
		row.BackoffJitter = new(0.0)
	}
	row.RetainCompleted, row.RetainCancelled = retained(queue.RetainCompleted), retained(queue.RetainCancelled)
	row.RetainDead = retained(queue.RetainDead)
	return row
}

// retained returns a retention as a flag gives it: nil for the default, and 0 if jobs are not kept.
func retained(d time.Duration) *time.Duration {
	if d == 0 {
		return nil
	}
	return new(max(d, 0))
}

// unlessZero returns nil for a zero value, which was not set.
func unlessZero[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
