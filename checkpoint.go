package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// A Checkpoint holds values that an attempt stores for the next attempt. A field that is nil or zero changes nothing.
type Checkpoint struct {
	// Args replace the job's args. Config.Codec encodes them as in Insert. Raw(kind, []byte("null")) removes the args.
	Args Args
	// Data replaces the job's data. A slice that is empty but not nil removes the data.
	Data []byte
	// Value is stored as JSON. The next attempt finds it in JobInfo.Checkpoint. json.RawMessage("null") removes the
	// stored value.
	Value any
	// Attempts is a number from 0 to 32767 that is added to the job's MaxAttempts.
	Attempts int
	// Extend extends a consumer's lease to at least this time from now. See Client.Extend.
	Extend time.Duration
}

// Checkpoint stores the progress of a claimed job. The next attempt finds it, even after a crash. On a client made by
// [Client.With], the checkpoint commits together with the other changes of that transaction. Checkpoint returns
// [ErrLeaseLost] if the claim is no longer valid; roll back then.
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
		return nil, fmt.Errorf("field Attempts is %d: want 0 to 32767", n)
	}
	if checkpoint.Extend < 0 {
		return nil, fmt.Errorf("field Extend is %v: want 0 or more", checkpoint.Extend)
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

// Progress records how far the job's handler is. Get and List return it in the fields Percent and Message. percent is
// 0 to 100. Only the first 1024 bytes of message are kept. Progress returns [ErrLeaseLost] if the claim is no longer
// valid. It returns another error if the job was not claimed.
func (j *JobInfo) Progress(ctx context.Context, percent int, message string) error {
	if j.client == nil && !j.inMemory {
		return errors.New("pawl: record progress: the job was not claimed: call it on the job of a handler or of Claim")
	}
	if percent < 0 || percent > 100 {
		return fmt.Errorf("pawl: record progress: %d percent: want 0 to 100", percent)
	}
	return j.client.checkpoint(ctx, j, map[string]any{"percent": percent, "message": truncate(message, 1024)})
}

// Step runs do, which is a part of a handler's work, and stores its result with the job as JSON. In a later attempt
// Step returns the stored result and does not call do. If do returns an error, Step returns that error and stores
// nothing. ctx is the handler's context. name must be unique within the job.
//
// If the process crashes after do has returned and before the result is stored, the next attempt calls do again.
// Therefore do must be idempotent.
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
	// The result must be stored even if ctx has ended because the handler is being stopped.
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
