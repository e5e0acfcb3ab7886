package pawl

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Selector chooses jobs: an ID, IDs, a Filter, or held jobs, which are then fenced as Complete is.
type Selector interface{ selection() ([]int64, []*int32) }

func (id ID) selection() ([]int64, []*int32) { return []int64{int64(id)}, []*int32{nil} }

func (ids IDs) selection() ([]int64, []*int32) {
	plain := make([]int64, len(ids))
	for i, id := range ids {
		plain[i] = int64(id)
	}
	return plain, make([]*int32, len(ids))
}

func (j *JobInfo) selection() ([]int64, []*int32) { return Jobs{j}.selection() }

func (j Jobs) selection() ([]int64, []*int32) {
	ids, epochs := pairs(j)
	fences := make([]*int32, len(j))
	for i := range epochs {
		if j[i].lease != nil {
			fences[i] = &epochs[i]
		}
	}
	return ids, fences
}

// Get is a job, live, archived or dead. ErrNotFound: it never was, or is not kept any more. Args that Config.Codec cannot decode are
// as stored, a JSON string that begins with "pawl:codec:"; the rest of the job can be read.
func (c *Client) Get(ctx context.Context, id ID) (*JobInfo, error) {
	var job *JobInfo
	err := c.query(ctx, "select * from pawl.get($1::bigint[])", []any{[]int64{int64(id)}}, func(s scanner) (err error) {
		job, err = c.scanJob(s)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("pawl: get: %w", err)
	}
	if job == nil {
		return nil, fmt.Errorf("job %d: %w", id, ErrNotFound)
	}
	return job, nil
}

// scanJob reads a row of get or list.
func (c *Client) scanJob(s scanner) (*JobInfo, error) {
	job := &JobInfo{}
	var (
		reason, worker, fingerprint *string
		runAt, finished             *time.Time
		waited, ran                 *int64
		priority, attempt, most     int16
		key                         int64
		state                       string
		args, opts, errs            []byte
		unique                      *string
		save, result                []byte
	)
	if err := s.Scan(&key, &state, &reason, &job.Queue, &job.Channel, &job.Kind, &args, &job.Data, &priority, &attempt, &most,
		&job.CreatedAt, &runAt, &finished, &waited, &ran, &worker, &fingerprint, &opts, &errs, &unique, &save, &result); err != nil {
		return nil, err
	}
	job.ID, job.State, job.Args = ID(key), State(state), args
	job.Priority, job.Attempt, job.MaxAttempts = int(priority), int(attempt), int(most)
	if job.State == StateRunning {
		job.Attempt++
	}
	for _, t := range []struct {
		from *string
		to   *string
	}{{reason, &job.Reason}, {worker, &job.Worker}, {fingerprint, &job.Fingerprint}, {unique, &job.UniqueKey}} {
		if t.from != nil {
			*t.to = *t.from
		}
	}
	if runAt != nil {
		job.RunAt = *runAt
	}
	if finished != nil {
		job.FinishedAt = *finished
		if ran != nil {
			job.StartedAt = finished.Add(-time.Duration(*ran) * time.Millisecond)
		}
	}
	job.Result = result
	if err := job.unpack(opts, errs, save); err != nil {
		return nil, err
	}
	c.decode(job)
	return job, nil
}

// Cancel finishes live jobs as cancelled, whatever they are doing, and says how many; finished ones stay as they are. A running
// handler is told at once, or behind a pooler by the next heartbeat of its worker: its context ends with ErrCancelled. Whatever it
// returns, the job stays cancelled.
//
// ErrNotFound: there is no job of this ID. Of a Filter, jobs are cancelled in batches, each its own transaction but with With; what they do
// between being found and being cancelled does not save them.
func (c *Client) Cancel(ctx context.Context, which Selector) (int64, error) {
	return c.remove(ctx, "cancel", which, true)
}

// Delete takes jobs away, live or finished, and leaves nothing, not even in the archive, and says how many. Held jobs that are not held any
// more are left alone and not counted. The context of a running handler ends with ErrLeaseLost. IDs and Filters are as with Cancel.
func (c *Client) Delete(ctx context.Context, which Selector) (int64, error) {
	return c.remove(ctx, "delete", which, false)
}

func (c *Client) remove(ctx context.Context, verb string, which Selector, keep bool) (n int64, err error) {
	some := func(ids []int64, epochs []*int32) (n int64, err error) {
		text := "select pawl.remove($1::bigint[], $2::integer[], $3::boolean)"
		if !slices.Contains(epochs, nil) {
			text = "select pawl.remove_held($1::bigint[], $2::integer[], $3::boolean)" // What a worker may do.
		}
		err = c.query(ctx, text, []any{ids, epochs, keep},
			func(scanner) error { n++; return nil })
		return n, err
	}
	if filter, ok := which.(Filter); ok {
		var among []State
		if keep {
			among = liveStates
		}
		n, err = c.each(ctx, filter, among, func(ids []int64) (int64, error) { return some(ids, make([]*int32, len(ids))) })
	} else {
		n, err = some(which.selection())
		if err == nil {
			err = c.known(ctx, which, n)
		}
	}
	c.settleSoon(ctx, n > 0)
	if err != nil {
		return n, fmt.Errorf("pawl: %s: %w", verb, err)
	}
	if jobs, ok := which.(Held); ok {
		for _, job := range jobs.held() {
			job.answered.Store(true)
		}
	}
	return n, nil
}

// Retry lets jobs run now, be they scheduled, waiting for a retry, dead or cancelled, and says how many. One that had used up its
// attempts gets one more. The ready, the running and the completed are left as they are, and the finished whose unique key another has. An
// ordered job goes to the end of its channel, the dead head of a halted one to its old place, and one that others still wait for behind
// the one whose turn it is. IDs and Filters are as with Cancel.
func (c *Client) Retry(ctx context.Context, which Selector) (n int64, err error) {
	some := func(ids []int64) (n int64, err error) {
		err = c.query(ctx, "select pawl.retry($1::bigint[])", []any{ids}, func(scanner) error { n++; return nil })
		return n, err
	}
	if filter, ok := which.(Filter); ok {
		n, err = c.each(ctx, filter, []State{StateScheduled, StateDead, StateCancelled}, some)
	} else {
		ids, _ := which.selection()
		n, err = some(ids)
		if err == nil {
			err = c.known(ctx, which, n)
		}
	}
	if err != nil {
		return n, fmt.Errorf("pawl: retry: %w", err)
	}
	return n, nil
}

// known is ErrNotFound if nothing was done to a single job because there is none.
func (c *Client) known(ctx context.Context, which Selector, done int64) error {
	id, single := which.(ID)
	if !single || done > 0 {
		return nil
	}
	var exists bool
	if err := c.row(ctx, "select exists (select from pawl.get($1::bigint[]))", []any{[]int64{int64(id)}}, &exists); err != nil {
		return err
	}
	if !exists {
		return fmt.Errorf("job %d: %w", id, ErrNotFound)
	}
	return nil
}
