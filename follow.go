package pawl

import (
	"context"
	"sync"
)

// follower does what follows from decided answers, beside the answers to come: it settles the ends of tied jobs and gives permits
// back. What fails here a chore does later.
type follower struct {
	freed func() // Permits were given back; may be nil.

	mu      sync.Mutex
	around  sync.WaitGroup
	busy    bool
	tied    bool       // There are ends to settle.
	permits []*JobInfo // To give back.
}

// note takes down what will follow from a job's end.
func (f *follower) note(job *JobInfo) {
	if !job.tied && !job.permit {
		return
	}
	f.mu.Lock()
	f.tied = f.tied || job.tied
	if job.permit {
		f.permits = append(f.permits, job)
	}
	f.mu.Unlock()
}

// up follows up what was noted, at once.
func (f *follower) up(ctx context.Context, client *Client) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.busy || !f.tied && len(f.permits) == 0 {
		return
	}
	f.busy = true
	f.around.Go(func() {
		for {
			f.mu.Lock()
			tied, permits := f.tied, f.permits
			f.tied, f.permits = false, nil
			f.busy = tied || len(permits) > 0
			f.mu.Unlock()
			if len(permits) > 0 {
				if err := client.free(ctx, permits); err == nil && f.freed != nil {
					f.freed()
				}
			}
			if tied {
				client.settle(ctx)
			}
			if !tied && len(permits) == 0 {
				return
			}
		}
	})
}
