package pawl

import (
	"context"
	"time"

	"github.com/pawlhq/pawl/internal/lanes"
	"github.com/pawlhq/pawl/internal/pg"
)

// claimTimeout bounds the statement of a claim. It does not end with Run: a result that is not read has to be
// undone.
const claimTimeout = 30 * time.Second

// take claims up to n jobs and starts them. It returns how many tickets it took.
//
// A suspect comes in a claim of its own, and only while no other job that has crashed a worker runs here. If the
// worker then crashes, that job is the cause.
func (l *claimLoop) take(ctx context.Context, n int, idle bool) (got int, err error) {
	crashed, suspect := l.slots.crashes()
	if !crashed {
		if p := l.set.PlanSuspect(l.slots.room); p != nil {
			jobs, total, err := l.carryOut(ctx, p)
			if err != nil || len(jobs) > 0 {
				return total, err
			}
		}
	}
	got, err = l.takeLimited(ctx, n, idle, suspect)
	if err != nil || got >= n {
		return got, err
	}
	p := l.set.Plan(n-got, idle, func(queue string) int {
		if l.config.Queues[queue].Max > 0 {
			return 0
		}
		return l.slots.room(queue)
	}, suspect)
	if len(p.Stretches) == 0 {
		return got, nil
	}
	_, total, err := l.carryOut(ctx, p)
	return got + total, err
}

// takeLimited claims from the queues that have a maximum of their own in this runner. Each has a claim of its own,
// which takes no more than that.
func (l *claimLoop) takeLimited(ctx context.Context, n int, idle, suspect bool) (got int, err error) {
	for name, q := range l.config.Queues {
		if q.Max == 0 {
			continue
		}
		p := l.set.Plan(min(n-got, l.slots.room(name)), idle, func(queue string) int {
			if queue != name {
				return 0
			}
			return l.slots.room(name)
		}, suspect)
		if len(p.Stretches) == 0 {
			continue
		}
		_, total, err := l.carryOut(ctx, p)
		if got += total; err != nil || got >= n {
			return got, err
		}
	}
	return got, nil
}

// carryOut makes a planned claim and starts its jobs. It returns them, and how many tickets it took. If ctx has ended
// meanwhile, the jobs are released.
func (l *claimLoop) carryOut(ctx context.Context, p *lanes.Plan) (Jobs, int, error) {
	worker, _ := l.heartbeat.row()
	id := newLeaseID()
	claiming, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimTimeout)
	defer cancel()
	l.leases.begin(id)
	jobs, total, err := l.client.claim(claiming, l.set, p, claimer{worker: &worker, name: l.config.Name}, id)
	l.leases.end(id, jobs)
	if err != nil {
		if pg.IsAmbiguous(err) {
			l.undoing.Go(func() { _ = l.client.unclaim(l.undo, id) }) // If it fails, the heartbeat gives the lease up.
		}
		return nil, 0, err
	}
	for _, job := range jobs {
		if ctx.Err() != nil {
			l.finisher.add(releaseOf(job, 0))
			continue
		}
		l.slots.start(job)
	}
	l.slots.dispatch()
	return jobs, total, nil
}

// finishUndoing returns when no claim is being undone any more.
func (l *claimLoop) finishUndoing() { l.undoing.Wait() }
