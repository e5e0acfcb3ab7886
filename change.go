package pawl

import (
	"context"
	"fmt"
	"time"
)

// Selector chooses jobs: an ID, IDs, or held jobs, which are then fenced as Complete is.
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
	err := c.query(ctx, "select * from pawl.get($1::bigint[])", []any{[]int64{int64(id)}}, func(s scanner) error {
		job = &JobInfo{}
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
			return err
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
		return job.unpack(opts, errs, save)
	})
	if err != nil {
		return nil, fmt.Errorf("pawl: get: %w", err)
	}
	if job == nil {
		return nil, fmt.Errorf("job %d: %w", id, ErrNotFound)
	}
	c.decode(job)
	return job, nil
}

// Cancel finishes jobs as cancelled, whatever they are doing, and says how many. A running handler is told by the next heartbeat
// of its worker: its context ends with ErrCancelled. Whatever it returns, the job stays cancelled.
func (c *Client) Cancel(ctx context.Context, which Selector) (int64, error) {
	return c.remove(ctx, which, true)
}

// Delete takes jobs away and leaves nothing, not even in the archive, and says how many. Held jobs that are not held any more
// are left alone and not counted.
func (c *Client) Delete(ctx context.Context, which Selector) (int64, error) {
	return c.remove(ctx, which, false)
}

func (c *Client) remove(ctx context.Context, which Selector, keep bool) (n int64, err error) {
	ids, epochs := which.selection()
	err = c.query(ctx, "select pawl.remove($1::bigint[], $2::integer[], $3::boolean)", []any{ids, epochs, keep},
		func(scanner) error { n++; return nil })
	if err == nil {
		c.settleSoon(ctx, n > 0)
		if jobs, ok := which.(Held); ok {
			for _, job := range jobs.held() {
				job.answered.Store(true)
			}
		}
	}
	return n, err
}

// Retry lets jobs run now, be they scheduled, waiting for a retry, dead or cancelled, and says how many. One that had used up its
// attempts gets one more. The ready and the running are left as they are.
func (c *Client) Retry(ctx context.Context, which Selector) (n int64, err error) {
	ids, _ := which.selection()
	err = c.query(ctx, "select pawl.retry($1::bigint[])", []any{ids}, func(scanner) error { n++; return nil })
	return n, err
}

// Finding is something Verify found broken.
type Finding struct{ Check, Problem, Remedy string }

// Verify counts violations of the invariant every live job keeps: it has exactly one of a ticket and a place in a lease. It
// reads all live jobs.
func (c *Client) Verify(ctx context.Context) ([]Finding, error) {
	var findings []Finding
	err := c.query(ctx, "select * from pawl.verify()", nil, func(s scanner) error {
		var problem string
		var n int64
		var example *int64
		if err := s.Scan(&problem, &n, &example); err != nil {
			return err
		}
		if n > 0 {
			findings = append(findings, Finding{"invariant", fmt.Sprintf("%s: %d (such as job %d)", problem, n, *example),
				"report this: no way to it is known"})
		}
		return nil
	})
	return findings, err
}
