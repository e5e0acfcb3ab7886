package view

import (
	"encoding/json"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

// Message is a job as a message.
type Message struct {
	ID          pawl.ID         `json:"id"`
	Queue       string          `json:"queue_name" table:"-"`
	Type        string          `json:"message_type" table:"type"`
	State       pawlstate.State `json:"state"`
	Payload     json.RawMessage `json:"payload"`
	ReadCount   int             `json:"read_ct"`
	VisibleAt   time.Time       `json:"vt"`
	EnqueuedAt  time.Time       `json:"enqueued_at" table:"-"`
	DequeuedAt  time.Time       `json:"dequeued_at" table:"-,omitempty"`
	Worker      string          `json:"worker" table:"-,omitempty"`
	Epoch       *int32          `json:"epoch" table:",omitempty"`
	Lease       string          `json:"lease" table:"-,omitempty"`
	Data        []byte          `json:"data" table:"-,omitempty"`
	Headers     json.RawMessage `json:"headers" table:"-,omitempty"`
	MaxAttempts int             `json:"max_attempts" table:"-,omitempty"`
}

// MessageOf returns the row of a job as a message.
func MessageOf(job *pawl.JobInfo) Message {
	row := Message{
		ID: job.ID, Queue: job.Queue, Type: job.Kind, State: job.State, Payload: job.Args, ReadCount: job.Attempt,
		VisibleAt: job.RunAt, EnqueuedAt: job.CreatedAt, DequeuedAt: job.StartedAt, Worker: job.Worker, Data: job.Data,
		MaxAttempts: job.MaxAttempts,
	}
	if row.VisibleAt.IsZero() {
		row.VisibleAt = job.CreatedAt
	}
	if job.State == pawlstate.Running {
		row.VisibleAt = job.LeaseUntil
	}
	if job.Lease() != "" {
		row.Epoch, row.Lease = new(job.Epoch()), job.Lease()
	}
	if len(job.Headers) > 0 {
		row.Headers, _ = json.Marshal(job.Headers)
	}
	return row
}

// FinishedMessage is a finished job as a message.
type FinishedMessage struct {
	ID         pawl.ID         `json:"id"`
	Queue      string          `json:"queue_name" table:"-"`
	Type       string          `json:"message_type" table:"type"`
	State      pawlstate.State `json:"state"`
	Payload    json.RawMessage `json:"payload"`
	ReadCount  int             `json:"read_ct"`
	EnqueuedAt time.Time       `json:"enqueued_at" table:"-"`
	DequeuedAt time.Time       `json:"dequeued_at" table:"-"`
	ArchivedAt time.Time       `json:"archived_at"`
	Processing *time.Duration  `json:"processing_duration" table:"processing,omitempty"`
	Worker     string          `json:"worker" table:"-,omitempty"`
	Reason     string          `json:"reason" table:"-,omitempty"`
	LastError  string          `json:"last_error" table:"-,omitempty"`
}

// FinishedMessageOf returns the row of a finished job as a message.
func FinishedMessageOf(job *pawl.JobInfo) FinishedMessage {
	row := FinishedMessage{
		ID: job.ID, Queue: job.Queue, Type: job.Kind, State: job.State, Payload: job.Args, ReadCount: job.Attempt,
		EnqueuedAt: job.CreatedAt, DequeuedAt: job.StartedAt, ArchivedAt: job.FinishedAt, Worker: job.Worker,
		Reason: job.Reason, LastError: LastError(job),
	}
	if !job.StartedAt.IsZero() {
		row.Processing = new(job.FinishedAt.Sub(job.StartedAt))
	}
	return row
}

// FinishedMessagesOf returns the rows of finished jobs as messages, for selection.Filter.ListAs.
func FinishedMessagesOf(jobs pawl.Jobs) (any, error) {
	rows := make([]FinishedMessage, len(jobs))
	for i, job := range jobs {
		rows[i] = FinishedMessageOf(job)
	}
	return rows, nil
}
