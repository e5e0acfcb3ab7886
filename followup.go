package pawl

import (
	"context"
	"sync"
)

// A followupRunner does the work that follows from stored results. It runs the followups of constrained jobs and
// gives permits back, while further results are delivered. If a statement fails, a maintenance task does its work
// later.
//
// It has one goroutine, which runs while there is work.
type followupRunner struct {
	freed func() // Called after permits were given back. It may be nil.

	goroutine sync.WaitGroup

	mu          sync.Mutex
	busy        bool       // The goroutine runs.
	constrained bool       // There are followups to run.
	permits     []*JobInfo // The jobs whose permits are to be given back.
}

// record adds the followup and the permit of a finished job to the work.
func (f *followupRunner) record(job *JobInfo) {
	if !job.constrained && !job.permit {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.constrained = f.constrained || job.constrained
	if job.permit {
		f.permits = append(f.permits, job)
	}
}

// run starts the recorded work. It does not wait for it.
func (f *followupRunner) run(ctx context.Context, client *Client) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.busy || !f.constrained && len(f.permits) == 0 {
		return
	}
	f.busy = true
	f.goroutine.Go(func() {
		for {
			constrained, permits := f.take()
			if !constrained && len(permits) == 0 {
				return
			}
			if len(permits) > 0 {
				if err := client.free(ctx, permits); err == nil && f.freed != nil {
					f.freed()
				}
			}
			if constrained {
				_ = client.runFollowups(ctx) // If it fails, a maintenance task runs them.
			}
		}
	})
}

// take returns the recorded work and removes it. If there is none, the goroutine ends.
func (f *followupRunner) take() (constrained bool, permits []*JobInfo) {
	f.mu.Lock()
	defer f.mu.Unlock()
	constrained, permits = f.constrained, f.permits
	f.constrained, f.permits = false, nil
	f.busy = constrained || len(permits) > 0
	return constrained, permits
}

// wait returns when the goroutine has ended.
func (f *followupRunner) wait() { f.goroutine.Wait() }

// maxFollowups is the largest number of finished jobs whose followups one statement runs.
const maxFollowups = 500

// runFollowups runs the followups of constrained jobs that have finished. It skips jobs and channels that other
// transactions have locked.
func (c *Client) runFollowups(ctx context.Context) error {
	for {
		var done, left int
		var more bool
		err := c.row(ctx, "select * from pawl.run_followups($1::integer)", []any{maxFollowups}, &done, &left, &more)
		if err != nil {
			return err
		}
		if done == 0 || done+left < maxFollowups && !more {
			return nil
		}
	}
}

// runFollowupsSoon runs the followups of the changes that this client has just committed. In a caller's transaction
// it does nothing. A maintenance task then runs them within a second after the commit.
func (c *Client) runFollowupsSoon(ctx context.Context, constrained bool) {
	if !constrained || c.db != nil {
		return
	}
	if err := c.runFollowups(ctx); err != nil {
		c.config.Logger.Info("pawl: followups failed; a maintenance task runs them", "error", err)
	}
}
