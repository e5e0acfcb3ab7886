package pawl

import (
	"context"
	"maps"
	"sync"
	"time"
)

// A workerLeases has the leases that a worker knows of. Its claims add them.
//
// The database may have more leases of the worker. One cause is a claim whose result was lost and that could not be
// undone. Another is a failover that rolled finished jobs back. The jobs of such a lease would stay claimed while the
// worker lives. Therefore the heartbeat calls reconcile, which gives them back.
type workerLeases struct {
	client *Client
	every  time.Duration // The least time between two comparisons.

	mu    sync.Mutex
	known map[string]*lease // By id. The lease is nil while its claim is under way.

	// The heartbeat alone uses these.
	unknown  map[string]bool // The leases that the last comparison did not know.
	compared time.Time
	cost     time.Duration
}

// comparisonShare is the share of time that comparisons may take, as its inverse.
const comparisonShare = 20

func newWorkerLeases(c *Client, heartbeat time.Duration) *workerLeases {
	return &workerLeases{client: c, every: heartbeat / 2, known: map[string]*lease{}}
}

// begin adds the lease of a claim that is about to be sent.
func (l *workerLeases) begin(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known[id] = nil
}

// end records what a claim got. Without jobs there is no lease.
func (l *workerLeases) end(id string, jobs Jobs) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(jobs) > 0 {
		l.known[id] = jobs[0].lease
	} else {
		delete(l.known, id)
	}
}

// snapshot returns the leases that still have jobs, and forgets the others.
func (l *workerLeases) snapshot() map[string]*lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.known, func(_ string, lease *lease) bool { return lease != nil && lease.left.Load() <= 0 })
	return maps.Clone(l.known)
}

// reconcile compares the known leases with those in the database, unless it did so recently. It gives up each lease
// that was unknown twice in a row: a lease that was unknown once may belong to a claim that has just ended.
func (l *workerLeases) reconcile(ctx context.Context, worker int64) {
	if time.Since(l.compared) < max(comparisonShare*l.cost, l.every) {
		return
	}
	l.compared = time.Now()
	l.unknown = l.compare(ctx, worker)
	l.cost = time.Since(l.compared)
}

// compare returns the leases that are unknown for the first time. If the database cannot be asked, it returns nil.
func (l *workerLeases) compare(ctx context.Context, worker int64) map[string]bool {
	known := l.snapshot()
	unknown := map[string]bool{}
	read := func(s scanner) error {
		var id string
		err := s.Scan(&id)
		if _, ok := known[id]; !ok {
			unknown[id] = true
		}
		return err
	}
	err := l.client.query(ctx, "select id::text from pawl.worker_leases($1::bigint) id", []any{worker}, read)
	if err != nil {
		return nil
	}
	for id := range unknown {
		if !l.unknown[id] {
			continue
		}
		if err := l.client.unclaim(ctx, id); err != nil {
			return nil
		}
		delete(unknown, id)
	}
	return unknown
}
