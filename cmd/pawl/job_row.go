package main

import (
	"encoding/json"
	"reflect"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

// jobRow is a job as commands print it.
type jobRow struct {
	ID          pawl.ID           `json:"id"`
	State       pawlstate.State   `json:"state"`
	Reason      string            `json:"reason" table:"-,omitempty"`
	Queue       string            `json:"queue"`
	Channel     string            `json:"channel" table:",omitempty"`
	Kind        string            `json:"kind"`
	Args        json.RawMessage   `json:"args" table:"-,omitempty"`
	Data        []byte            `json:"data" table:"-,omitempty"`
	Priority    int               `json:"priority" table:"-"`
	Attempt     int               `json:"attempt"`
	MaxAttempts int               `json:"max_attempts" table:"-,omitempty"`
	Percent     int               `json:"percent" table:"-,omitempty"`
	Message     string            `json:"message" table:"-,omitempty"`
	Worker      string            `json:"worker" table:"-,omitempty"`
	Fingerprint string            `json:"fingerprint" table:"-,omitempty"`
	UniqueKey   string            `json:"unique_key" table:"-,omitempty"`
	Ordered     bool              `json:"ordered" table:"-,omitempty"`
	Batch       *pawl.ID          `json:"batch" table:"-,omitempty"`
	Headers     map[string]string `json:"headers" table:"-,omitempty"`
	CreatedAt   time.Time         `json:"created_at"`
	RunAt       time.Time         `json:"run_at" table:",omitempty"`
	StartedAt   time.Time         `json:"started_at" table:"-,omitempty"`
	FinishedAt  time.Time         `json:"finished_at" table:",omitempty"`
	Checkpoint  json.RawMessage   `json:"checkpoint" table:"-,omitempty"`
	Result      json.RawMessage   `json:"result" table:"-,omitempty"`
	Errors      []errorRow        `json:"errors" table:"-,omitempty"`
}

// errorRow is why an attempt failed.
type errorRow struct {
	Attempt int       `json:"attempt"`
	At      time.Time `json:"at"`
	Worker  string    `json:"worker"`
	Error   string    `json:"error"`
	Stack   string    `json:"stack"`
}

func rowOf(job *pawl.JobInfo) jobRow {
	row := jobRow{
		ID: job.ID, State: job.State, Reason: job.Reason, Queue: job.Queue, Channel: job.Channel, Kind: job.Kind, Args: job.Args, Data: job.Data,
		Priority: job.Priority, Attempt: job.Attempt, MaxAttempts: job.MaxAttempts, Percent: job.Percent, Message: job.Message, Worker: job.Worker,
		Fingerprint: job.Fingerprint, UniqueKey: job.UniqueKey, Ordered: job.Ordered, Headers: job.Headers, CreatedAt: job.CreatedAt, RunAt: job.RunAt,
		StartedAt: job.StartedAt, FinishedAt: job.FinishedAt, Checkpoint: job.Checkpoint, Result: job.Result, Errors: []errorRow{},
	}
	if job.Batch != 0 {
		row.Batch = &job.Batch
	}
	for _, e := range job.Errors {
		row.Errors = append(row.Errors, errorRow(e))
	}
	return row
}

func rowsOf(jobs pawl.Jobs) []jobRow {
	rows := make([]jobRow, len(jobs))
	for i, job := range jobs {
		rows[i] = rowOf(job)
	}
	return rows
}

// jsonOf is a job as --format json has it, in a line.
func jsonOf(job *pawl.JobInfo) ([]byte, error) { return toJSON(machine(reflect.ValueOf(rowOf(job)))) }
