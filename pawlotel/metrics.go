package pawlotel

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/metric"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/pawlhq/pawl/pawlstats"
)

// buckets returns the bounds of pawlstats.Histogram.
func buckets() metric.HistogramOption {
	var bounds []float64
	for bound := range (pawlstats.Histogram{}).Buckets() {
		bounds = append(bounds, bound.Seconds())
	}
	return metric.WithExplicitBucketBoundaries(bounds...)
}

// A gauge is a figure of a T, and a counter a number that a T has counted.
type (
	gauge[T any] struct {
		name, unit, description string
		value                   func(*T) float64
	}
	counter[T any] struct {
		name, unit, description string
		value                   func(*T) int64
	}
)

var queueGauges = []gauge[pawlstats.Queue]{
	{
		"pawl.queue.archived", "{job}",
		"Completed and cancelled jobs of the queue that are still kept. An estimate in a large archive.",
		func(q *pawlstats.Queue) float64 { return float64(q.Archived) },
	},
	{
		"pawl.queue.permits", "{permit}", "Permits in use of the queue's limits.",
		func(q *pawlstats.Queue) float64 { return float64(q.Permits) },
	},
	{
		"pawl.queue.oldest_ready", "s", "Time for which the oldest ready job of the queue has been due.",
		func(q *pawlstats.Queue) float64 { return q.OldestReady.Seconds() },
	},
	{
		"pawl.queue.lag", "s", "Time for which the oldest ready or scheduled job of the queue has been due.",
		func(q *pawlstats.Queue) float64 { return q.Lag.Seconds() },
	},
	{
		"pawl.queue.inserted", "{job}/s", "Jobs inserted per second over the last minute, by clients in Go.",
		func(q *pawlstats.Queue) float64 { return q.In },
	},
	{
		"pawl.queue.completed", "{job}/s", "Jobs completed per second over the last minute, by clients in Go.",
		func(q *pawlstats.Queue) float64 { return q.Out },
	},
	{
		"pawl.queue.failed", "{attempt}/s", "Attempts failed per second over the last minute, by clients in Go.",
		func(q *pawlstats.Queue) float64 { return q.Failed },
	},
}

var systemGauges = []gauge[pawlstats.Stats]{
	{
		"pawl.workers", "{worker}", "Live workers.",
		func(s *pawlstats.Stats) float64 { return float64(s.Workers) },
	},
	{
		"pawl.workers.stale", "{worker}", "Workers silent for so long that their jobs are about to be rescued.",
		func(s *pawlstats.Stats) float64 { return float64(s.StaleWorkers) },
	},
	{
		"pawl.handlers.stuck", "{handler}", "Handlers of live workers that did not return after their contexts had ended.",
		func(s *pawlstats.Stats) float64 { return float64(s.Stuck) },
	},
	{
		"pawl.archived", "{job}",
		"Completed and cancelled jobs that are still kept, in all queues. An estimate in a large archive.",
		func(s *pawlstats.Stats) float64 { return float64(s.Archived) },
	},
	{
		"pawl.xmin_age", "s", "Time for which the oldest transaction of the database has been open.",
		func(s *pawlstats.Stats) float64 { return s.XminAge.Seconds() },
	},
}

var clientCounters = []counter[pawlstats.Counters]{
	{
		"pawl.client.inserted", "{job}", "Jobs that this process inserted.",
		func(c *pawlstats.Counters) int64 { return c.Inserted },
	},
	{
		"pawl.client.completed", "{job}", "Jobs that this process completed.",
		func(c *pawlstats.Counters) int64 { return c.Completed },
	},
	{
		"pawl.client.failed", "{attempt}", "Attempts that failed in this process.",
		func(c *pawlstats.Counters) int64 { return c.Failed },
	},
	{
		"pawl.client.dead", "{job}", "Jobs that died by an attempt in this process.",
		func(c *pawlstats.Counters) int64 { return c.Dead },
	},
	{
		"pawl.client.cancelled", "{job}",
		"Jobs that their handlers cancelled in this process, or that were cancelled while they ran.",
		func(c *pawlstats.Counters) int64 { return c.Cancelled },
	},
	{
		"pawl.client.snoozed", "{run}", "Runs in this process that ended with a snooze.",
		func(c *pawlstats.Counters) int64 { return c.Snoozed },
	},
	{
		"pawl.client.released", "{run}", "Runs and claimed jobs that this process gave back.",
		func(c *pawlstats.Counters) int64 { return c.Released },
	},
	{
		"pawl.client.lost", "{result}", "Results of this process that were discarded because it had lost the lease.",
		func(c *pawlstats.Counters) int64 { return c.Lost },
	},
	{
		"pawl.client.stuck", "{run}", "Runs in this process whose handlers did not return after their contexts had ended.",
		func(c *pawlstats.Counters) int64 { return c.Stuck },
	},
}

// Observe makes the meter provider read the client's figures: those of the whole installation from Client.Stats and
// those of this process from Client.Counters. Each reading calls [pawl.Client.Stats] once. If Stats fails, the
// reading has only this process's figures. To end the readings, call Unregister of the returned Registration.
func (t Telemetry) Observe(client *pawl.Client) (metric.Registration, error) {
	meter := t.meter()
	var observables []metric.Observable
	var errs []error
	newGauge := func(name, unit, description string) metric.Float64ObservableGauge {
		g, err := meter.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
		observables, errs = append(observables, g), append(errs, err)
		return g
	}
	jobs := newGauge("pawl.queue.jobs", "{job}", "Jobs of the queue by state. Exact up to a bound, then an estimate.")
	var perQueue, perSystem []metric.Float64ObservableGauge
	for _, g := range queueGauges {
		perQueue = append(perQueue, newGauge(g.name, g.unit, g.description))
	}
	for _, g := range systemGauges {
		perSystem = append(perSystem, newGauge(g.name, g.unit, g.description))
	}
	var perClient []metric.Int64ObservableCounter
	for _, c := range clientCounters {
		o, err := meter.Int64ObservableCounter(c.name, metric.WithUnit(c.unit), metric.WithDescription(c.description))
		perClient, observables, errs = append(perClient, o), append(observables, o), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		for _, counters := range client.Counters() {
			for i, c := range clientCounters {
				o.ObserveInt64(perClient[i], c.value(&counters), metric.WithAttributes(keyQueue.String(counters.Queue)))
			}
		}
		stats, err := client.Stats(ctx)
		if err != nil {
			return err
		}
		for _, q := range stats.Queues {
			queue := metric.WithAttributes(keyQueue.String(q.Queue))
			for state, n := range jobsByState(&q) {
				o.ObserveFloat64(jobs, float64(n), queue, metric.WithAttributes(keyState.String(string(state))))
			}
			for i, g := range queueGauges {
				o.ObserveFloat64(perQueue[i], g.value(&q), queue)
			}
		}
		for i, g := range systemGauges {
			o.ObserveFloat64(perSystem[i], g.value(&stats))
		}
		return nil
	}, observables...)
}

func jobsByState(q *pawlstats.Queue) map[pawlstate.State]int64 {
	return map[pawlstate.State]int64{
		pawlstate.Reserved: q.Reserved, pawlstate.Waiting: q.Waiting, pawlstate.Scheduled: q.Scheduled,
		pawlstate.Ready: q.Ready, pawlstate.Running: q.Running, pawlstate.Dead: q.Dead,
	}
}
