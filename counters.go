package pawl

import (
	"context"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pawlhq/pawl/pawlstate"
)

// Tally is what a client, its runners and its consumers did with a queue's jobs since New.
type Counters struct {
	Queue string // "" is the sum of all beyond the first 10,000.

	Inserted  int64 // Jobs put in, those of transactions that were rolled back included, duplicates not.
	Completed int64
	Failed    int64 // Attempts, the last ones included.
	Dead      int64 // Jobs, by their last attempt.
	Cancelled int64 // Jobs, by their handler.
	Snoozed   int64 // Runs that ended with Snooze.
	Released  int64 // Runs and jobs given back.
	Lost      int64 // Answers that counted for nothing: ErrLeaseLost.

	Waited Histogram // From due to the handler's start, a run each.
	Ran    Histogram // In the handler, a run each.
}

// Histogram counts durations in buckets that are the same everywhere.
type Histogram struct {
	Sum    time.Duration
	counts [len(histogramBounds) + 1]int64 // The last: above all bounds.
}

var histogramBounds = [...]time.Duration{
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
	30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour,
}

func (h *Histogram) observe(d time.Duration) {
	i, _ := slices.BinarySearch(histogramBounds[:], d)
	h.counts[i]++
	h.Sum += d
}

// Count is how many durations were counted.
func (h Histogram) Count() (n int64) {
	for _, c := range h.counts {
		n += c
	}
	return n
}

// Buckets are the bounds from 1 ms to 24 h, and how many durations were not above each; those above the last are in Count alone.
func (h Histogram) Buckets() iter.Seq2[time.Duration, int64] {
	return func(yield func(time.Duration, int64) bool) {
		var n int64
		for i, bound := range histogramBounds {
			if n += h.counts[i]; !yield(bound, n) {
				return
			}
		}
	}
}

// tally counts in memory what the clients of one New do. What Stats shows of it is handed to the database: in a statement of its own,
// every few seconds while something is done, into rows that are this process's alone.
type counters struct {
	id     string // Of its rows.
	client *Client

	mu     sync.Mutex
	queues map[string]*queueCounters
	last   *queueCounters // The queue that was counted last: most often the next one too.
	due    bool           // A timer runs.

	reporting sync.Mutex
}

type queueCounters struct {
	Counters
	reported [3]int64 // Of Inserted, Completed and Failed.
}

const (
	reportEvery      = 3 * time.Second
	reportTimeout    = 10 * time.Second
	maxCountedQueues = 10_000 // Queues counted apart.
)

func newCounters(c *Client) *counters {
	return &counters{id: newLeaseID(), client: c, queues: map[string]*queueCounters{}}
}

// of is a queue's; the caller has t.mu.
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
			q = &queueCounters{Counters: Counters{Queue: strings.Clone(queue)}}
			t.queues[q.Queue] = q
		}
	}
	t.last = q
	return q
}

// inserted counts jobs put in; results, if not nil, tells which were duplicates.
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

// answered counts what became of answers; "" is what became of one that was lost.
func (t *counters) finished(answers []attemptResult, became func(ID) string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range answers {
		a := &answers[i]
		t.of(a.job.Queue).add(a, became(a.job.ID))
	}
	t.reportSoon()
}

// tellSoon has the counts handed over after a while; the caller has t.mu.
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

// tell hands over what was counted since the last time. What cannot be handed over is kept, and goes with what is counted next.
func (t *counters) report(ctx context.Context, c *Client) {
	if c.pool == nil {
		return
	}
	t.reporting.Lock()
	defer t.reporting.Unlock()
	var telling []*queueCounters
	var queues []string
	var counts [3][]int64
	t.mu.Lock()
	t.due = false
	for _, q := range t.queues {
		now := [3]int64{q.Inserted, q.Completed, q.Failed}
		if now == q.reported {
			continue
		}
		telling, queues = append(telling, q), append(queues, q.Queue)
		for i := range counts {
			counts[i] = append(counts[i], now[i]-q.reported[i])
		}
	}
	t.mu.Unlock()
	if len(telling) == 0 {
		return
	}
	// On the pool as With has it: where an older schema has no such function nobody needs to be told.
	err := c.With(c.pool).query(ctx, "select pawl.report_counters($1::uuid, $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])",
		[]any{t.id, queues, counts[0], counts[1], counts[2]}, nil)
	if err != nil {
		c.config.Logger.Debug("pawl: counts not handed over, Stats goes without them", "error", err)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, q := range telling {
		for i := range counts {
			q.reported[i] += counts[i][k]
		}
	}
}

func (q *queueCounters) add(a *attemptResult, became string) {
	if a.waited > 0 {
		q.Waited.observe(a.waited)
		q.Ran.observe(a.ran)
	}
	switch {
	case became == "":
		q.Lost++
	case a.verb == verbComplete && a.job.finishedByHand.Load(): // Counted when the handler did it by hand.
	case a.verb == verbComplete:
		q.Completed++
	case a.verb == "snooze":
		q.Snoozed++
	case a.verb == "release":
		q.Released++
	case a.verb == "cancel":
		q.Cancelled++
	default:
		q.Failed++
		if became == string(pawlstate.Dead) {
			q.Dead++
		}
	}
}

// Tallies are what this process did by this client, those of With and their Runs included, by queue. They are kept in memory alone and cost no statement.
// What other processes did is not in them: see Stats.
func (c *Client) Counters() []Counters {
	t := c.counters
	t.mu.Lock()
	list := make([]Counters, 0, len(t.queues))
	for _, q := range t.queues {
		list = append(list, q.Counters)
	}
	t.mu.Unlock()
	slices.SortFunc(list, func(a, b Counters) int { return strings.Compare(a.Queue, b.Queue) })
	return list
}
