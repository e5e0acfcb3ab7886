// Package queuepolicy holds the flags that set the policy of a queue, and the row that shows the policy.
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

// RowOf returns the row of a policy.
func RowOf(policy pawl.QueuePolicy) Row {
	row := Row{
		MaxRunning: unlessZero(policy.MaxRunning), ChannelMaxRunning: unlessZero(policy.ChannelMaxRunning),
		Burst: unlessZero(policy.Rate.Burst), ChannelBurst: unlessZero(policy.ChannelRate.Burst), Weights: policy.Weights,
		MaxAttempts: unlessZero(policy.MaxAttempts), BackoffBase: unlessZero(policy.Backoff.Base),
		BackoffMax: unlessZero(policy.Backoff.Max), BackoffGrowth: unlessZero(policy.Backoff.Growth),
		BackoffPower: unlessZero(policy.Backoff.Power), BackoffJitter: unlessZero(policy.Backoff.Jitter),
		Lease: unlessZero(policy.Lease), HaltOnDead: policy.HaltOnDead,
	}
	if policy.Rate.N > 0 {
		row.Rate = new(flagvalue.FormatRate(policy.Rate))
	}
	if policy.ChannelRate.N > 0 {
		row.ChannelRate = new(flagvalue.FormatRate(policy.ChannelRate))
	}
	if policy.Backoff.NoJitter {
		row.BackoffJitter = new(0.0)
	}
	if r := policy.Retention; r != nil {
		row.RetainCompleted, row.RetainCancelled, row.RetainDead = &r.Completed, &r.Cancelled, &r.Dead
	}
	return row
}

// unlessZero returns nil for a zero value, which was not set.
func unlessZero[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
