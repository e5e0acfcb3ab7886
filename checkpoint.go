package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// A Checkpoint is what an attempt stores for the next one, in case it does not finish. A field that is nil or zero
// changes nothing.
type Checkpoint struct {
	// Args replace the job's args. They are encoded as at the insert. Raw(kind, []byte("null")) removes them.
	Args Args
	// Data replaces the job's data. A slice that is empty but not nil removes it.
	Data []byte
	// Value becomes JobInfo.Checkpoint of the next attempt, as JSON. json.RawMessage("null") removes it.
	Value any
	// Attempts is added to the job's MaxAttempts: 0 to 32767.
	Attempts int
	// Extend extends a consumer's lease to at least this time from now. See Client.Extend.
	Extend time.Duration
}

// Checkpoint stores what a claimed job has reached. The next attempt sees it, also after a crash. On a client made
// by With it commits with the effects that it stands for. It returns ErrLeaseLost if the claim is no longer valid:
// then roll back.
func (c *Client) Checkpoint(ctx context.Context, job ClaimedJobs, checkpoint Checkpoint) error {
	jobs := job.claimed()
	if len(jobs) != 1 {
		return fmt.Errorf("pawl: store checkpoint: %d jobs were given: want one", len(jobs))
	}
	changes, err := c.encodeCheckpoint(jobs[0].Kind, checkpoint)
	if err != nil {
		return fmt.Errorf("pawl: store checkpoint: %w", err)
	}
	err = c.checkpoint(ctx, jobs[0], changes)
	if err == nil && checkpoint.Extend > 0 {
		err = c.Extend(ctx, job, checkpoint.Extend)
	}
	return err
}

// encodeCheckpoint checks a checkpoint and returns its changes as checkpoint.sql takes them.
func (c *Client) encodeCheckpoint(kind string, checkpoint Checkpoint) (map[string]any, error) {
	if n := checkpoint.Attempts; n < 0 || n > 32767 {
		return nil, fmt.Errorf("Attempts is %d: want 0 to 32767, which are added", n)
	}
	if checkpoint.Extend < 0 {
		return nil, fmt.Errorf("Extend is negative: %v", checkpoint.Extend)
	}
	changes := map[string]any{}
	if checkpoint.Args != nil {
		args, err := c.encodeArgs(kind, checkpoint.Args)
		if err != nil {
			return nil, err
		}
		changes["args"] = args
	}
	if checkpoint.Data != nil {
		changes["data"] = checkpoint.Data
		if len(checkpoint.Data) == 0 {
			changes["data"] = nil
		}
	}
	if checkpoint.Value != nil {
		changes["value"] = checkpoint.Value
	}
	if checkpoint.Attempts != 0 {
		changes["attempts"] = checkpoint.Attempts
	}
	return changes, nil
}

// encodeArgs returns args as they are stored for a job of a kind.
func (c *Client) encodeArgs(kind string, args Args) (json.RawMessage, error) {
	b, err := marshalArgs(args)
	if err != nil || b == nil || string(b) == "null" {
		return b, err
	}
	if reason := checkJSON(b); reason != "" {
		return nil, errors.New("args " + reason)
	}
	r := insertRow{kind: kind, args: new(string(b))}
	if err := c.encode(0, &r); err != nil {
		return nil, err
	}
	return json.RawMessage(*r.args), nil
}

// checkpoint stores changes of a job. c is nil if the job is in memory.
func (c *Client) checkpoint(ctx context.Context, job *JobInfo, changes map[string]any) error {
	b, err := json.Marshal(changes)
	if err != nil {
		return fmt.Errorf("pawl: store checkpoint: %w", err)
	}
	if reason := checkJSON(b); reason != "" {
		return fmt.Errorf("pawl: store checkpoint: its values %s", reason)
	}
	if job.inMemory {
		return nil
	}
	var ours bool
	args := []any{int64(job.ID), job.epoch, string(b)}
	if err := c.row(ctx, "select pawl.checkpoint($1::bigint, $2::integer, $3::text::jsonb)", args, &ours); err != nil {
		return fmt.Errorf("pawl: store checkpoint: %w", err)
	}
	if !ours {
		return fmt.Errorf("pawl: store checkpoint of job %d: %w", job.ID, ErrLeaseLost)
	}
	return nil
}

// Progress records how far the job's handler is, for others to see: Get shows percent, 0 to 100, and message, of
// which the first 1024 bytes are kept. It returns ErrLeaseLost if the job is no longer claimed, and an error if it
// was not claimed but looked up.
func (j *JobInfo) Progress(ctx context.Context, percent int, message string) error {
	if j.client == nil && !j.inMemory {
		return errors.New("pawl: record progress: the job was not claimed: call it on the job of a handler or of Claim")
	}
	if percent < 0 || percent > 100 {
		return fmt.Errorf("pawl: record progress: %d percent: want 0 to 100", percent)
	}
	return j.client.checkpoint(ctx, j, map[string]any{"percent": percent, "message": truncate(message, 1024)})
}

// Step runs a part of a handler's work once. It stores the result of do with the job; in a later attempt it returns
// the stored result and does not call do. ctx is the handler's context, and the name is unique within the job.
//
// If the process crashes after do and before the result is stored, the next attempt calls do again. So what do
// changes elsewhere must bear a repetition.
func Step[T any](ctx context.Context, name string, do func(context.Context) (T, error)) (result T, err error) {
	job := JobFromContext(ctx)
	if job == nil || job.client == nil && !job.inMemory {
		return result, errors.New("pawl: run step: no job in the context: call Step with a handler's context")
	}
	if quoted, _ := json.Marshal(name); !utf8.ValidString(name) || checkJSON(quoted) != "" {
		return result, fmt.Errorf("pawl: run step: the name %q cannot be stored: want UTF-8 text without zero bytes",
			truncate(name, 64))
	}
	job.stepping.Lock()
	done, ok := job.steps[name]
	job.stepping.Unlock()
	if ok {
		if err := json.Unmarshal(done, &result); err != nil {
			return result, fmt.Errorf("pawl: run step %q: its stored result does not decode: %w", name, err)
		}
		return result, nil
	}
	if result, err = do(ctx); err != nil {
		return result, err
	}
	b, err := json.Marshal(result)
	if err != nil {
		return result, fmt.Errorf("pawl: run step %q: its result does not marshal to JSON: %w", name, err)
	}
	// The result is stored also if the handler is being stopped and ctx has ended.
	storing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	changes := map[string]any{"step": name, "result": json.RawMessage(b)}
	if err := job.client.checkpoint(storing, job, changes); err != nil {
		return result, fmt.Errorf("pawl: run step %q: it is done, but its result is not stored: %w", name, err)
	}
	job.stepping.Lock()
	if job.steps == nil {
		job.steps = map[string]json.RawMessage{}
	}
	job.steps[name] = b
	job.stepping.Unlock()
	return result, nil
}
