package pawl

import (
	"context"
	"sync"
)

// A followupRunner does what follows from decided results: it runs the followups of constrained jobs, and gives
// permits back. It does so beside the delivery of further results. If something fails here, a maintenance task does
// it later.
//
// It has one goroutine, while there is something to do.
type followupRunner struct {
	freed func() // Called after permits were given back. It may be nil.

	goroutine sync.WaitGroup

	mu          sync.Mutex
	busy        bool       // The goroutine runs.
	constrained bool       // There are followups to run.
	permits     []*JobInfo // The jobs whose permits are to be given back.
}

// record notes what will follow from the end of a job.
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

// run does what was recorded. It does not wait.
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
				_ = client.runFollowups(ctx)
			}
		}
	})
}

// take removes what was recorded. If that is nothing, the goroutine ends.
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

// maxFollowups is how many ended jobs one statement follows up, at most.
const maxFollowups = 500

// runFollowups does what follows from the ends of constrained jobs. It leaves out the jobs and channels that other
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

// runFollowupsSoon runs the followups of what this client has just committed. In a caller's transaction it does
// nothing: there a maintenance task runs them, within a second of the commit.
func (c *Client) runFollowupsSoon(ctx context.Context, constrained bool) {
	if !constrained || c.db != nil {
		return
	}
	if err := c.runFollowups(ctx); err != nil {
		c.config.Logger.Info("pawl: followups failed; a maintenance task runs them", "error", err)
	}
}
