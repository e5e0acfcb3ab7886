package pawl

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pawlhq/pawl/pawlstate"
)

// An ID identifies a job or a batch. Both draw their ids from one sequence, so no id is used twice.
type ID int64

// A Job is a job with decoded args. A handler gets one.
type Job[T Args] struct {
	*JobInfo   // JobInfo is the job. Its Args are JSON.
	Args     T // Args are the decoded args.
}

// A JobInfo is a job: live or finished, claimed or looked up.
type JobInfo struct {
	ID          ID
	Batch       ID // Batch is the id of the batch that the job was inserted with. It is 0 if there is none.
	Kind        string
	Queue       string
	Channel     string
	Fingerprint string
	Worker      string          // Worker is the name of the worker that runs the job, or ran it last.
	Args        json.RawMessage // Args are nil if the job has none.
	Data        []byte
	Checkpoint  json.RawMessage // Checkpoint is JSON that an earlier attempt stored: see Client.Checkpoint.
	Result      json.RawMessage // Result is the handler's result as JSON: see HandleResult.
	Percent     int             // Percent is the progress of the handler, 0 to 100: see JobInfo.Progress.
	Message     string          // Message is the message of the last call of Progress.
	Headers     map[string]string
	Priority    int
	Attempt     int // Attempt is the number of the running attempt, from 1, or else the number of attempts used.
	MaxAttempts int
	Keep        bool // Keep makes Complete keep the job in the archive, even if its queue keeps none.
	Ordered     bool
	UniqueKey   string
	State       pawlstate.State
	Reason      string // Reason is why a job is dead: "attempts", "poison", "handler" or "unprocessable".
	CreatedAt   time.Time
	RunAt       time.Time      // RunAt is when the job is due. If zero, the job was due at CreatedAt.
	StartedAt   time.Time      // StartedAt is when the last attempt started, by the database's clock.
	FinishedAt  time.Time      // FinishedAt is when the job finished. It is zero while the job is live.
	LeaseUntil  time.Time      // LeaseUntil is when a consumer's lease expires. Only Client.Claimed sets it.
	Errors      []AttemptError // Errors are the errors of failed attempts, oldest first, at most the last ten.
	Unreadable  error          // Unreadable is why stored columns cannot be read. Get, List and Tail then leave them out.

	epoch          int32
	crashes        int16
	client         *Client  // The client that claimed it.
	handler        *handler // Set by Mux.Work.
	stepping       sync.Mutex
	steps          map[string]json.RawMessage // Results of finished steps: see Step.
	lease          *lease
	splitFrom      *lease // The lease before Extend in a caller's transaction, which may be rolled back.
	waited         time.Duration
	claimedAt      time.Time       // By this process's clock. If zero, another process claimed it.
	constrained    bool            // Other jobs or a batch depend on its end.
	permit         bool            // It has a permit: it counts against a limit until its handler ends.
	result         json.RawMessage // The handler's result, checked. Others may write to Result.
	undecoded      error           // Why Config.Codec could not decode Args, which are then as stored.
	inMemory       bool            // Mux.Work runs it, and it was not claimed: nothing of it is stored.
	finishedByHand atomic.Bool     // By Complete, Fail or Delete, maybe in a transaction that has not committed.
}

// LogValue returns the job's id, kind, queue, channel, attempt and worker for package slog. It leaves out args and
// data, so that they do not get into logs.
func (j *JobInfo) LogValue() slog.Value {
	if j == nil {
		return slog.Value{}
	}
	attrs := []slog.Attr{slog.Int64("id", int64(j.ID)), slog.String("kind", j.Kind), slog.String("queue", j.Queue)}
	if j.Channel != "" {
		attrs = append(attrs, slog.String("channel", j.Channel))
	}
	return slog.GroupValue(append(attrs, slog.Int("attempt", j.Attempt), slog.String("worker", j.Worker))...)
}

// copyFor returns a copy of a claimed job without its args and without what its handler may change, so that the copy may
// be used while the handler runs. lease is the job's lease.
func (j *JobInfo) copyFor(lease *lease) *JobInfo {
	c := &JobInfo{
		ID: j.ID, Batch: j.Batch, Kind: j.Kind, Queue: j.Queue, Channel: j.Channel, Fingerprint: j.Fingerprint,
		Worker: j.Worker, Data: j.Data, Headers: j.Headers, Priority: j.Priority, Attempt: j.Attempt,
		MaxAttempts: j.MaxAttempts, Ordered: j.Ordered, UniqueKey: j.UniqueKey, State: j.State, CreatedAt: j.CreatedAt,
		RunAt: j.RunAt, StartedAt: j.StartedAt, Errors: j.Errors, epoch: j.epoch, crashes: j.crashes, client: j.client,
		lease: lease, waited: j.waited, claimedAt: j.claimedAt, constrained: j.constrained, permit: j.permit,
	}
	c.finishedByHand.Store(j.finishedByHand.Load())
	return c
}

// waitedAt returns how long the job had been due when its handler began.
func (j *JobInfo) waitedAt(began time.Time) time.Duration {
	return max(j.waited+began.Sub(j.claimedAt), 1)
}

// Epoch returns the epoch of the job's claim. The epoch is the fencing token: it changes each time the job becomes
// ready again, and a result with an old epoch is refused. ID and epoch together identify a claim, also in SQL. Epoch
// returns 0 for a job that is not claimed.
func (j *JobInfo) Epoch() int32 { return j.epoch }

// Lease returns the id of a claimed job's lease. The SQL function pawl.extend takes it. Lease returns "" for a job
// that is not claimed.
func (j *JobInfo) Lease() string {
	if j.lease == nil {
		return ""
	}
	return *j.lease.id.Load()
}

// unpack decodes the columns that few jobs have.
func (j *JobInfo) unpack(options, errs, checkpoint []byte) error {
	if len(checkpoint) > 0 {
		var c stored
		if err := json.Unmarshal(checkpoint, &c); err != nil {
			return fmt.Errorf("checkpoint of job %d: %w", j.ID, err)
		}
		j.Checkpoint, j.steps, j.Percent, j.Message = c.Value, c.Steps, c.Percent, c.Message
	}
	if len(options) > 0 {
		var o struct { // Of jobOptions what a handler gets.
			Headers map[string]string `json:"headers"`
			Ordered bool              `json:"ordered"`
			Batch   ID                `json:"batch"`
		}
		if err := json.Unmarshal(options, &o); err != nil {
			return fmt.Errorf("opts of job %d: %w", j.ID, err)
		}
		j.Headers, j.Ordered, j.Batch = o.Headers, o.Ordered, o.Batch
	}
	if len(errs) > 0 {
		if err := json.Unmarshal(errs, &j.Errors); err != nil {
			return fmt.Errorf("errors of job %d: %w", j.ID, err)
		}
	}
	return nil
}

// An AttemptError describes a failed attempt.
type AttemptError struct {
	Attempt int       `json:"attempt"`         // Attempt is the number of the attempt, from 1.
	At      time.Time `json:"at"`              // At is when the attempt failed.
	Worker  string    `json:"worker"`          // Worker is the name of the worker.
	Error   string    `json:"error"`           // Error is the text of the error, at most 4096 bytes.
	Stack   string    `json:"stack,omitempty"` // Stack is the stack of a panic, at most 8192 bytes.
}

// Jobs are several jobs. [Client.Claim] returns them in the order in which they should run. A part of them is Jobs
// too: client.Complete(ctx, jobs[:10]).
type Jobs []*JobInfo

// ClaimedJobs are one or more claimed jobs: a *[Job], a [*JobInfo] or [Jobs].
type ClaimedJobs interface{ claimed() []*JobInfo }

func (j *JobInfo) claimed() []*JobInfo { return []*JobInfo{j} }

func (j Jobs) claimed() []*JobInfo { return j }

// A lease is the claim of one or more jobs. It ends with the last of them.
type lease struct {
	id     atomic.Pointer[string] // Changes when a consumer's Extend splits the lease.
	left   atomic.Int32           // Jobs whose result is not stored yet.
	manual bool                   // Claimed by a consumer, not by a runner.

	// doubtful is set once a result is not a plain success. Such a lease is deleted only if the rows agree.
	doubtful atomic.Bool
}

type jobKey struct{}

// JobFromContext returns the job whose handler has this context. It returns nil outside a handler and in a handler
// of HandleChunk.
func JobFromContext(ctx context.Context) *JobInfo {
	job, _ := ctx.Value(jobKey{}).(*JobInfo)
	return job
}

// idsAndEpochs returns the ids and epochs of jobs as parameters of a statement.
func idsAndEpochs(jobs []*JobInfo) (ids []int64, epochs []int32) {
	ids, epochs = make([]int64, len(jobs)), make([]int32, len(jobs))
	for i, j := range jobs {
		ids[i], epochs[i] = int64(j.ID), j.epoch
	}
	return ids, epochs
}

// stored is the column checkpoint.
type stored struct {
	Value   json.RawMessage            `json:"value"`
	Steps   map[string]json.RawMessage `json:"steps"`
	Percent int                        `json:"percent"`
	Message string                     `json:"message"`
}
