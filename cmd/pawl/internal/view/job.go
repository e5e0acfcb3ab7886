// Package view holds the rows that several commands print.
package view

import (
	"encoding/json"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
	"github.com/pawlhq/pawl/pawlstate"
)

// Job is a job as commands print it.
type Job struct {
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
	Errors      []JobError        `json:"errors" table:"-,omitempty"`
	Unreadable  string            `json:"unreadable" table:"-,omitempty"` // Why columns could not be read.
}

// JobError is the error of a failed attempt.
type JobError struct {
	Attempt int       `json:"attempt"`
	At      time.Time `json:"at"`
	Worker  string    `json:"worker"`
	Error   string    `json:"error"`
	Stack   string    `json:"stack"`
}

// JobOf returns the row of a job.
func JobOf(job *pawl.JobInfo) Job {
	row := Job{
		ID: job.ID, State: job.State, Reason: job.Reason, Queue: job.Queue, Channel: job.Channel, Kind: job.Kind,
		Args: job.Args, Data: job.Data, Priority: job.Priority, Attempt: job.Attempt, MaxAttempts: job.MaxAttempts,
		Percent: job.Percent, Message: job.Message, Worker: job.Worker, Fingerprint: job.Fingerprint,
		UniqueKey: job.UniqueKey, Ordered: job.Ordered, Headers: job.Headers, CreatedAt: job.CreatedAt, RunAt: job.RunAt,
		StartedAt: job.StartedAt, FinishedAt: job.FinishedAt, Checkpoint: job.Checkpoint, Result: job.Result,
		Errors: []JobError{},
	}
	if job.Batch != 0 {
		row.Batch = &job.Batch
	}
	if job.Unreadable != nil {
		row.Unreadable = job.Unreadable.Error()
	}
	for _, e := range job.Errors {
		row.Errors = append(row.Errors, JobError(e))
	}
	return row
}

// JobsOf returns the rows of jobs.
func JobsOf(jobs pawl.Jobs) []Job {
	rows := make([]Job, len(jobs))
	for i, job := range jobs {
		rows[i] = JobOf(job)
	}
	return rows
}

// JobJSON returns a job as --format json prints it, on one line.
func JobJSON(job *pawl.JobInfo) ([]byte, error) { return output.JSON(JobOf(job)) }

// LastError returns the error of the last failed attempt of a job, or "".
func LastError(job *pawl.JobInfo) string {
	if n := len(job.Errors); n > 0 {
		return job.Errors[n-1].Error
	}
	return ""
}
