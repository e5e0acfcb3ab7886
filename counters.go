package pawl

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pawlhq/pawl/pawlstate"
	"github.com/pawlhq/pawl/pawlstats"
)

// Counters returns what this client has counted in this process, for each queue and sorted by name. It includes the
// client's runners and the clients that With made from it. Counters are in memory and start at zero with New. Reading
// them runs no statement. For figures of all processes, see [Client.Stats].
func (c *Client) Counters() []pawlstats.Counters {
	t := c.counters
	t.mu.Lock()
	list := make([]pawlstats.Counters, 0, len(t.queues))
	for _, q := range t.queues {
		list = append(list, q.Counters)
	}
	t.mu.Unlock()
	slices.SortFunc(list, func(a, b pawlstats.Counters) int { return strings.Compare(a.Queue, b.Queue) })
	return list
}

// counters counts in memory what the clients of one New do. A few seconds after a change it reports the counts that
// Stats needs to the database, in a statement of its own. Each process writes its own rows, so processes never wait
// for each other's rows.
type counters struct {
	id     string // id is the key of this process's rows.
	client *Client

	mu     sync.Mutex
	queues map[string]*queueCounters
	last   *queueCounters // last is the queue that was counted last. It is most often the next one too.
	due    bool           // due says that a timer for the next report is running.

	reporting sync.Mutex // reporting lets one report run at a time: two would add the same counts twice.
}

type queueCounters struct {
	pawlstats.Counters
	reported [3]int64 // reported is how much of Inserted, Completed and Failed the database has.
}

const (
	reportEvery      = 3 * time.Second
	reportTimeout    = 10 * time.Second
	maxCountedQueues = 10_000 // Further queues are counted together, so that memory is bounded.
)

func newCounters(c *Client) *counters {
	return &counters{id: newLeaseID(), client: c, queues: map[string]*queueCounters{}}
}

// of returns the counters of a queue. The caller holds t.mu.
func (t *counters) of(queue string) *queueCounters {
	if t.last != nil && t.last.Queue == queue {
		return t.last
	}
	q := t.queues[queue]
	if q == nil {
		if len(t.queues) >= maxCountedQueues {
			queue = ""
		}
		if q = t.queues[queue]; q == nil {
			q = &queueCounters{Counters: pawlstats.Counters{Queue: strings.Clone(queue)}}
			t.queues[q.Queue] = q
		}
	}
	t.last = q
	return q
}

// inserted counts inserted jobs. results says which rows were duplicates; if it is nil, none was.
func (t *counters) inserted(rows []insertRow, results []InsertResult) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range rows {
		if results == nil || !results[i].Duplicate {
			t.of(rows[i].queue).Inserted++
		}
	}
	t.reportSoon()
}

// finished counts the results of attempts. became returns a job's new state, or "" if its result was discarded.
func (t *counters) finished(results []attemptResult, became func(ID) string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range results {
		r := &results[i]
		t.of(r.job.Queue).add(r, became(r.job.ID))
	}
	t.reportSoon()
}

// stuck counts a stuck handler.
func (t *counters) stuck(queue string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of(queue).Stuck++
}

// cancelled counts a job that was cancelled while its handler, which is stuck, ran.
func (t *counters) cancelled(queue string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of(queue).Cancelled++
}

// reportSoon starts a timer for the next report unless one is running. The caller holds t.mu.
func (t *counters) reportSoon() {
	if t.due || t.client.pool == nil {
		return
	}
	t.due = true
	time.AfterFunc(reportEvery, func() {
		ctx, cancel := context.WithTimeout(context.Background(), reportTimeout)
		defer cancel()
		t.report(ctx, t.client)
	})
}

// report adds to the database what was counted since the last report. If the statement fails, the counts stay and go
// with the next report.
func (t *counters) report(ctx context.Context, c *Client) {
	if c.pool == nil {
		return
	}
	t.reporting.Lock()
	defer t.reporting.Unlock()
	var changed []*queueCounters
	var queues []string
	var counts [3][]int64
	t.mu.Lock()
	t.due = false
	for _, q := range t.queues {
		now := [3]int64{q.Inserted, q.Completed, q.Failed}
		if now == q.reported {
			continue
		}
		changed, queues = append(changed, q), append(queues, q.Queue)
		for i := range counts {
			counts[i] = append(counts[i], now[i]-q.reported[i])
		}
	}
	t.mu.Unlock()
	if len(changed) == 0 {
		return
	}
	// With keeps query from reading the schema's version to explain an error: the error of a report is only logged.
	err := c.With(c.pool).query(ctx,
		"select pawl.report_counters($1::uuid, $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])",
		[]any{t.id, queues, counts[0], counts[1], counts[2]}, nil)
	if err != nil {
		c.config.Logger.Debug("pawl: counters not reported; Stats misses them until the next report", "error", err)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, q := range changed {
		for i := range counts {
			q.reported[i] += counts[i][k]
		}
	}
}

// add counts the result of one attempt; became is the state that the job got, or "" if the result was discarded.
func (q *queueCounters) add(r *attemptResult, became string) {
	if r.waited > 0 {
		q.Waited.Observe(r.waited)
		q.Ran.Observe(r.ran)
	}
	switch {
	case became == "" && errors.Is(r.ended, ErrCancelled):
		q.Cancelled++
	case became == "":
		q.Lost++
	case r.verb == verbComplete && r.job.finishedByHand.Load():
		// The job was counted when its handler called Complete.
	case r.verb == verbComplete:
		q.Completed++
	case r.verb == "snooze":
		q.Snoozed++
	case r.verb == "release":
		q.Released++
	case r.verb == "cancel":
		q.Cancelled++
	default:
		q.Failed++
		if became == string(pawlstate.Dead) {
			q.Dead++
		}
	}
}
