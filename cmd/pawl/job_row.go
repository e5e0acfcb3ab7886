package main

import (
	"encoding/json"
	"reflect"
	"time"

	"github.com/pawlhq/pawl"
)

// jobRow is a job as commands print it.
type jobRow struct {
	ID          pawl.ID           `json:"id"`
	State       pawl.State        `json:"state"`
	Reason      string            `json:"reason" table:"-"`
	Queue       string            `json:"queue"`
	Channel     string            `json:"channel"`
	Kind        string            `json:"kind"`
	Args        json.RawMessage   `json:"args" table:"-"`
	Data        []byte            `json:"data" table:"-"`
	Priority    int               `json:"priority"`
	Attempt     int               `json:"attempt"`
	MaxAttempts int               `json:"max_attempts" table:"-"`
	Percent     int               `json:"percent" table:"-"`
	Message     string            `json:"message" table:"-"`
	Worker      string            `json:"worker" table:"-"`
	Fingerprint string            `json:"fingerprint" table:"-"`
	UniqueKey   string            `json:"unique_key" table:"-"`
	Ordered     bool              `json:"ordered" table:"-"`
	Batch       *pawl.ID          `json:"batch" table:"-"`
	Headers     map[string]string `json:"headers" table:"-"`
	CreatedAt   time.Time         `json:"created_at"`
	RunAt       time.Time         `json:"run_at"`
	StartedAt   time.Time         `json:"started_at" table:"-"`
	FinishedAt  time.Time         `json:"finished_at"`
	Checkpoint  json.RawMessage   `json:"checkpoint" table:"-"`
	Result      json.RawMessage   `json:"result" table:"-"`
	Errors      []errorRow        `json:"errors" table:"-"`
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
