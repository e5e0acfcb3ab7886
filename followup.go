package pawl

import (
	"context"
	"sync"
)

// follower does what follows from decided answers, beside the answers to come: it settles the ends of constrained jobs and gives permits
// back. What fails here a chore does later.
type followupRunner struct {
	freed func() // Permits were given back; may be nil.

	mu          sync.Mutex
	around      sync.WaitGroup
	busy        bool
	constrained bool       // There are ends to settle.
	permits     []*JobInfo // To give back.
}

// note takes down what will follow from a job's end.
func (f *followupRunner) record(job *JobInfo) {
	if !job.constrained && !job.permit {
		return
	}
	f.mu.Lock()
	f.constrained = f.constrained || job.constrained
	if job.permit {
		f.permits = append(f.permits, job)
	}
	f.mu.Unlock()
}

// up follows up what was noted, at once.
func (f *followupRunner) run(ctx context.Context, client *Client) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.busy || !f.constrained && len(f.permits) == 0 {
		return
	}
	f.busy = true
	f.around.Go(func() {
		for {
			f.mu.Lock()
			constrained, permits := f.constrained, f.permits
			f.constrained, f.permits = false, nil
			f.busy = constrained || len(permits) > 0
			f.mu.Unlock()
			if len(permits) > 0 {
				if err := client.free(ctx, permits); err == nil && f.freed != nil {
					f.freed()
				}
			}
			if constrained {
				client.runFollowups(ctx)
			}
			if !constrained && len(permits) == 0 {
				return
			}
		}
	})
}

// settle does what follows from the end of constrained jobs, as far as nobody has it locked.
func (c *Client) runFollowups(ctx context.Context) error {
	for {
		const most = 500
		var settled, left int
		var more bool
		if err := c.row(ctx, "select * from pawl.run_followups($1::integer)", []any{most}, &settled, &left, &more); err != nil {
			return err
		}
		if settled == 0 || settled+left < most && !more {
			return nil
		}
	}
}

// settleSoon settles at once what this client has committed. In a caller's transaction it cannot: there the chore does it, within
// a second of the commit.
func (c *Client) runFollowupsSoon(ctx context.Context, constrained bool) {
	if constrained && c.db == nil {
		if err := c.runFollowups(ctx); err != nil {
			c.config.Logger.Info("pawl: what follows from the end of constrained jobs is left to a tender", "error", err)
		}
	}
}
