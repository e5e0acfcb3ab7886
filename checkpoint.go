package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// Checkpoint is what an attempt leaves for the next one, should it not finish. A nil field leaves what is there.
type Checkpoint struct {
	Args     Args          // Instead of the job's args, and encoded as they are. Raw(kind, []byte("null")) clears them.
	Data     []byte        // Instead of its data. Empty, not nil, clears it.
	Value    any           // JobInfo.Checkpoint of the next attempt, as JSON. json.RawMessage("null") clears it.
	Attempts int           // Added to the job's attempts: 0 to 32767.
	Extend   time.Duration // Of a consumer's lease: see Extend.
}

// Checkpoint keeps what a held job has reached: the next attempt sees it, also after a crash. With With(tx) it commits with the
// effects it stands for. ErrLeaseLost, if the job is not held any more: roll back.
func (c *Client) Checkpoint(ctx context.Context, job ClaimedJobs, checkpoint Checkpoint) error {
	jobs := job.claimed()
	if len(jobs) != 1 {
		return fmt.Errorf("pawl: checkpoint: %d jobs; a checkpoint is of one", len(jobs))
	}
	if checkpoint.Attempts < 0 || checkpoint.Attempts > 32767 {
		return fmt.Errorf("pawl: checkpoint: Attempts is %d; want 0 to 32767, which are added", checkpoint.Attempts)
	}
	if checkpoint.Extend < 0 {
		return fmt.Errorf("pawl: checkpoint: Extend is negative: %v", checkpoint.Extend)
	}
	changes := map[string]any{}
	if checkpoint.Args != nil {
		args, err := marshalArgs(checkpoint.Args)
		if err == nil && args != nil {
			if reason := checkJSON(args); reason != "" {
				err = errors.New("args " + reason)
			}
		}
		if err == nil && args != nil && string(args) != "null" {
			text := string(args)
			r := insertRow{kind: jobs[0].Kind, args: &text}
			err = c.encode(0, &r)
			args = json.RawMessage(*r.args)
		}
		if err != nil {
			return fmt.Errorf("pawl: checkpoint: %w", err)
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
	err := c.checkpoint(ctx, jobs[0], changes)
	if err == nil && checkpoint.Extend > 0 {
		err = c.Extend(ctx, job, checkpoint.Extend)
	}
	return err
}

// checkpoint stores changes of a job. c is nil if the job is in memory.
func (c *Client) checkpoint(ctx context.Context, job *JobInfo, changes map[string]any) error {
	b, err := json.Marshal(changes)
	if err != nil {
		return fmt.Errorf("pawl: checkpoint: %w", err)
	}
	if reason := checkJSON(b); reason != "" {
		return fmt.Errorf("pawl: checkpoint: its values %s", reason)
	}
	if job.inMemory {
		return nil
	}
	var ours bool
	if err := c.row(ctx, "select pawl.checkpoint($1::bigint, $2::integer, $3::text::jsonb)", []any{int64(job.ID), job.epoch, string(b)}, &ours); err != nil {
		return fmt.Errorf("pawl: checkpoint: %w", err)
	}
	if !ours {
		return fmt.Errorf("job %d: %w", job.ID, ErrLeaseLost)
	}
	return nil
}

// Progress records how far the job's handler is, for others to see: Get shows percent, 0 to 100, and message, of which the first
// 1024 bytes are kept. It returns ErrLeaseLost if the job is no longer claimed, and an error if it was not claimed but looked up.
func (j *JobInfo) Progress(ctx context.Context, percent int, message string) error {
	if j.client == nil && !j.inMemory {
		return errors.New("pawl: record progress: the job was not claimed: call it on the job of a handler or of Claim")
	}
	if percent < 0 || percent > 100 {
		return fmt.Errorf("pawl: record progress: %d percent: want 0 to 100", percent)
	}
	return j.client.checkpoint(ctx, j, map[string]any{"percent": percent, "message": truncate(message, 1024)})
}

// Step does a part of a handler's work once: its result is kept with the job, and a later attempt gets that instead of doing it
// again. A crash after do and before its result is stored does it again: what it does elsewhere must bear that. The name is
// unique within the job. Only in a handler, with its context.
func Step[T any](ctx context.Context, name string, do func(context.Context) (T, error)) (result T, err error) {
	job := JobFromContext(ctx)
	if job == nil || job.client == nil && !job.inMemory {
		return result, errors.New("pawl: Step: only in a handler, with its context")
	}
	if quoted, _ := json.Marshal(name); !utf8.ValidString(name) || checkJSON(quoted) != "" {
		return result, fmt.Errorf("pawl: Step: the name %q cannot be stored; want UTF-8 text without zero bytes", truncate(name, 64))
	}
	job.stepping.Lock()
	done, ok := job.steps[name]
	job.stepping.Unlock()
	if ok {
		if err := json.Unmarshal(done, &result); err != nil {
			return result, fmt.Errorf("pawl: step %q: its stored result does not fit: %w", name, err)
		}
		return result, nil
	}
	if result, err = do(ctx); err != nil {
		return result, err
	}
	b, err := json.Marshal(result)
	if err != nil {
		return result, fmt.Errorf("pawl: step %q: its result does not marshal to JSON: %w", name, err)
	}
	// Not ctx's end: what was done is to be remembered, also when the handler is being stopped.
	storing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := job.client.checkpoint(storing, job, map[string]any{"step": name, "result": json.RawMessage(b)}); err != nil {
		return result, fmt.Errorf("pawl: step %q is done, but not stored: %w", name, err)
	}
	job.stepping.Lock()
	if job.steps == nil {
		job.steps = map[string]json.RawMessage{}
	}
	job.steps[name] = b
	job.stepping.Unlock()
	return result, nil
}
