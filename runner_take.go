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

// maxShareRounds bounds the claims of one take that give slots which a queue or channel leaves to the others.
const maxShareRounds = 8

// take claims up to n jobs and starts them. It returns how many tickets it took.
//
// A suspect comes in a claim of its own, and only while no other job that has crashed a worker runs here. If the
// worker then crashes, that job is the cause.
//
// A claim gives each queue and channel its share. If some have fewer jobs than that, claims follow that divide the
// rest among the others: no slot stays free while a job is ready.
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
	for range maxShareRounds {
		more, short, err := l.takeShares(ctx, n-got, idle, suspect)
		if got += more; err != nil || more == 0 || got >= n || !short {
			l.slots.countShares(l.set)
			return got, err
		}
	}
	l.slots.countShares(l.set)
	return got, nil
}

// takeShares claims up to n jobs. short reports whether a queue or channel gave all of its share, and others gave
// less.
func (l *claimLoop) takeShares(ctx context.Context, n int, idle, suspect bool) (got int, short bool, err error) {
	got, short, err = l.takeLimited(ctx, n, idle, suspect)
	if err != nil || got >= n {
		return got, false, err
	}
	p := l.slots.plan(func(room func(string) int) *lanes.Plan {
		return l.set.Plan(n-got, idle, func(queue string) int {
			if l.config.Queues[queue].Max > 0 {
				return 0
			}
			return room(queue)
		}, suspect)
	})
	if len(p.Stretches) == 0 {
		return got, short, nil
	}
	_, total, err := l.carryOut(ctx, p)
	return got + total, short || p.IsShort(), err
}

// takeLimited claims from the queues that have a maximum of their own in this runner. Each has a claim of its own,
// which takes no more than that and no more than its share.
func (l *claimLoop) takeLimited(
	ctx context.Context, n int, idle, suspect bool,
) (got int, short bool, err error) {
	for name, q := range l.config.Queues {
		if q.Max == 0 {
			continue
		}
		p := l.slots.plan(func(room func(string) int) *lanes.Plan {
			if most := min(l.set.Share(name, n-got, room), room(name)); most > 0 {
				return l.set.PlanQueue(name, most, idle, suspect)
			}
			return lanes.NewPlan()
		})
		if len(p.Stretches) == 0 {
			continue
		}
		_, total, err := l.carryOut(ctx, p)
		short = short || total == p.Most || p.IsShort()
		if got += total; err != nil || got >= n {
			return got, short, err
		}
	}
	return got, short, nil
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
