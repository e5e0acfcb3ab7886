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

// ID names a job for ever; ids are never used again.
type ID int64

// Job is what a handler gets.
type Job[T Args] struct {
	*JobInfo
	Args T
}

// JobInfo is any job, live or finished, held or only seen.
type JobInfo struct {
	ID          ID
	Batch       ID // It was inserted with; 0: none.
	Kind        string
	Queue       string
	Channel     string
	Fingerprint string
	Worker      string // Who runs or ran it.
	Args        json.RawMessage
	Data        []byte
	Checkpoint  json.RawMessage // What an attempt left for the next: see Client.Checkpoint.
	Result      json.RawMessage // What the handler returned: see HandleResult.
	Percent     int             // See Progress.
	Message     string
	Headers     map[string]string
	Priority    int
	Attempt     int // 1 in the first run; of a job not running, attempts used.
	MaxAttempts int
	Keep        bool // If true, completing the job keeps it in the archive even if its queue keeps no completed jobs.
	Ordered     bool
	UniqueKey   string
	State       pawlstate.State
	Reason      string // Of a dead job: attempts, poison, handler, unprocessable.
	CreatedAt   time.Time
	RunAt       time.Time // When it became or becomes due; zero: when created.
	StartedAt   time.Time // By the database's clock.
	FinishedAt  time.Time
	LeaseUntil  time.Time      // By Held: when a consumer's lease ends; zero: with its worker.
	Errors      []AttemptError // Oldest first, the last ten.

	epoch          int32
	crashes        int16
	client         *Client  // The client that claimed it.
	handler        *handler // Set by Mux.Work.
	stepping       sync.Mutex
	steps          map[string]json.RawMessage // Results of steps done: see Step.
	lease          *lease
	splitFrom      *lease // That it was split from in a caller's transaction, which may be rolled back.
	waited         time.Duration
	claimedAt      time.Time       // By this process's clock, for durations.
	constrained    bool            // Others wait for its end.
	permit         bool            // It counts against a limit until its handler has ended.
	result         json.RawMessage // Of the handler, checked; Result is everybody's to write.
	undecoded      error           // Why Config.Codec could not read Args, which are as stored then.
	inMemory       bool            // Mux.Work runs it, and it was not claimed: nothing of it is stored.
	finishedByHand atomic.Bool     // Finished by hand, in a transaction that may not have committed.
}

// LogValue is the job as it is logged, by this library and with slog.With("job", job): its id, kind, queue, channel, attempt and worker; none of
// what it carries.
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

// waitedAt is for how long the job had been due when its handler began.
func (j *JobInfo) waitedAt(began time.Time) time.Duration {
	return max(j.waited+began.Sub(j.claimedAt), 1)
}

// Epoch is, of a job that was claimed, the number of the claim: with the ID it names it, in SQL and for Held. It is any number, and
// another each time the job becomes ready again. Of a job that was only looked up it is 0.
func (j *JobInfo) Epoch() int32 { return j.epoch }

// Lease is the id of the lease that a claimed job is held by, which pawl.extend in SQL asks for; else empty.
func (j *JobInfo) Lease() string {
	if j.lease == nil {
		return ""
	}
	return *j.lease.id.Load()
}

// unpack reads the columns few jobs have.
func (j *JobInfo) unpack(options, errs, checkpoint []byte) error {
	if len(checkpoint) > 0 {
		var c stored
		if err := json.Unmarshal(checkpoint, &c); err != nil {
			return fmt.Errorf("checkpoint of job %d: %w", j.ID, err)
		}
		j.Checkpoint, j.steps, j.Percent, j.Message = c.Value, c.Steps, c.Percent, c.Message
	}
	if len(options) > 0 {
		var o jobOptions
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

// AttemptError is why an attempt failed.
type AttemptError struct {
	Attempt int       `json:"attempt"`
	At      time.Time `json:"at"`
	Worker  string    `json:"worker"`
	Error   string    `json:"error"`
	Stack   string    `json:"stack,omitempty"`
}

// Jobs are jobs in the order they were claimed. Any slice of a Claim is Jobs again: client.Complete(ctx, jobs[:10]).
type Jobs []*JobInfo

// Held is what is finished, released or extended: *Job[T], *JobInfo, or Jobs.
type ClaimedJobs interface{ claimed() []*JobInfo }

func (j *JobInfo) claimed() []*JobInfo { return []*JobInfo{j} }

func (j Jobs) claimed() []*JobInfo { return j }

// lease is one claimed batch: shared by its jobs, it goes with the last of them.
type lease struct {
	id     atomic.Pointer[string] // Changes when a consumer's Extend splits the batch.
	left   atomic.Int32           // Jobs not yet answered for.
	manual bool                   // A consumer's.
}

type jobKey struct{}

// FromContext is, in a handler, its job; else nil.
func JobFromContext(ctx context.Context) *JobInfo {
	job, _ := ctx.Value(jobKey{}).(*JobInfo)
	return job
}

// pairs are the (id, epoch) columns of jobs.
func idsAndEpochs(jobs []*JobInfo) (ids []int64, epochs []int32) {
	ids, epochs = make([]int64, len(jobs)), make([]int32, len(jobs))
	for i, j := range jobs {
		ids[i], epochs[i] = int64(j.ID), j.epoch
	}
	return ids, epochs
}

// stored is a checkpoint in the database.
type stored struct {
	Value   json.RawMessage            `json:"value"`
	Steps   map[string]json.RawMessage `json:"steps"`
	Percent int                        `json:"percent"`
	Message string                     `json:"message"`
}
