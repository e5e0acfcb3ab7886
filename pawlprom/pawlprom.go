// Package pawlprom reports Pawl's metrics to Prometheus.
//
//	prometheus.MustRegister(pawlprom.NewCollector(client, pawlprom.Options{}))
//
// Metrics of the whole installation come from the database: pawl_queue_..., pawl_workers, pawl_table_... and others.
// Every process reports the same ones. Metrics that begin with pawl_client_ count what this process did.
// docs/metrics.md describes each metric. deploy/grafana has a dashboard.
package pawlprom

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/pawlhq/pawl/pawlstats"
)

// Options configure a Collector. The zero value is ready to use.
type Options struct {
	// OwnOnly leaves out the metrics of the installation, so that a collection runs no statement. Use it if another
	// process reports them.
	OwnOnly bool

	// Queues are the queues to report. If nil, all are.
	Queues []string

	// Channels are queues whose channels are reported too, with seven series for each channel. If nil, no channels are.
	Channels []string

	// Semaphores reports the permits of Client.Semaphore, with a series for each key.
	Semaphores bool

	// Timeout bounds the statements of a collection. It defaults to 5 seconds.
	Timeout time.Duration

	// Logger logs statements that fail. It defaults to slog.Default().
	Logger *slog.Logger
}

// A Collector is a prometheus.Collector of a client's metrics. Each collection runs three statements and one more for
// each queue in Options.Channels. [pawl.Client.Stats] describes their cost. If a statement fails, pawl_stats_up is 0
// and the metrics of that statement and of later ones are missing.
type Collector struct {
	client  *pawl.Client
	options Options
}

// NewCollector returns a collector of a client's metrics. A registry accepts one collector. For a second client, set
// OwnOnly in its collector and add labels with prometheus.WrapRegistererWith.
func NewCollector(client *pawl.Client, options Options) *Collector {
	if options.Timeout == 0 {
		options.Timeout = 5 * time.Second
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	return &Collector{client, options}
}

// Handler returns an HTTP handler that serves a client's metrics and no others, in Prometheus's text format.
func Handler(client *pawl.Client, options Options) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(NewCollector(client, options))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

var described []*prometheus.Desc

func describe(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc("pawl_"+name, help, labels, nil)
	described = append(described, d)
	return d
}

// The metrics of the installation.
var (
	statsUp = describe("stats_up",
		"Whether the statements of this collection worked: 1 or 0.")
	statsDuration = describe("stats_duration_seconds",
		"Time that the statements of this collection took.")

	queueJobs = describe("queue_jobs",
		"Jobs of the queue by state: reserved, waiting, scheduled, ready, running, dead. "+
			"Exact up to a bound, then an estimate.", "queue", "state")
	queueEstimated = describe("queue_estimated",
		"Whether one of pawl_queue_jobs of this queue is an estimate: 1 or 0.", "queue")
	queueArchived = describe("queue_archived_jobs",
		"Completed and cancelled jobs of the queue that are still kept. An estimate in a large archive.", "queue")
	queuePermits = describe("queue_permits",
		"Permits in use of the queue's limits.", "queue")
	queueOldest = describe("queue_oldest_ready_seconds",
		"Time for which the oldest ready job of the queue has been due. 0 if there is none.", "queue")
	queueLag = describe("queue_lag_seconds",
		"Time for which the oldest ready or scheduled job of the queue has been due. 0 if there is none.", "queue")
	queueNewest = describe("queue_newest_job_timestamp_seconds",
		"Time at which the newest live job of the queue was inserted. Missing if there is none.", "queue")
	queueIn = describe("queue_inserted_per_second",
		"Jobs inserted per second over the last minute, by clients in Go.", "queue")
	queueOut = describe("queue_completed_per_second",
		"Jobs completed per second over the last minute, by clients in Go.", "queue")
	queueFailed = describe("queue_failed_per_second",
		"Attempts failed per second over the last minute, by clients in Go.", "queue")

	channelJobs = describe("channel_jobs",
		"Jobs of the channel by state: reserved, scheduled, ready, running, dead. "+
			"Exact up to a bound, then an estimate.", "queue", "channel", "state")
	channelOldest = describe("channel_oldest_ready_seconds",
		"Time for which the oldest ready job of the channel has been due. 0 if there is none.", "queue", "channel")
	channelLag = describe("channel_lag_seconds",
		"Time for which the oldest ready or scheduled job of the channel has been due. 0 if there is none.",
		"queue", "channel")

	workers = describe("workers",
		"Live workers.")
	stale = describe("workers_stale",
		"Workers silent for so long that their jobs are about to be rescued.")
	stuck = describe("stuck_handlers",
		"Handlers of live workers that did not return after their contexts had ended.")
	semaphores = describe("semaphore_permits",
		"Permits in use of a semaphore.", "semaphore")
	archived = describe("archived_jobs",
		"Completed and cancelled jobs that are still kept, in all queues. An estimate in a large archive.")
	schema = describe("schema_version",
		"Version of the schema.")
	xminAge = describe("xmin_age_seconds",
		"Time for which the oldest transaction of the database has been open. Rows that died since are not vacuumed.")

	tableLive = describe("table_live_rows",
		"Rows of the table, as the server estimates them.", "table")
	tableDead = describe("table_dead_rows",
		"Dead rows of the table that are not vacuumed yet, as the server estimates them.", "table")
	tableBytes = describe("table_bytes",
		"Size of the table on disk, with indexes.", "table")
)

// The metrics of this process.
var (
	clientInserted = describe("client_inserted_jobs_total",
		"Jobs that this process inserted.", "queue")
	clientCompleted = describe("client_completed_jobs_total",
		"Jobs that this process completed.", "queue")
	clientFailed = describe("client_failed_attempts_total",
		"Attempts that failed in this process.", "queue")
	clientDead = describe("client_dead_jobs_total",
		"Jobs that died by an attempt in this process.", "queue")
	clientCancelled = describe("client_cancelled_jobs_total",
		"Jobs that their handlers cancelled in this process, or that were cancelled while they ran.", "queue")
	clientSnoozed = describe("client_snoozed_runs_total",
		"Runs in this process that ended with a snooze.", "queue")
	clientReleased = describe("client_released_runs_total",
		"Runs and claimed jobs that this process gave back.", "queue")
	clientLost = describe("client_lost_results_total",
		"Results of this process that were discarded because it had lost the lease.", "queue")
	clientStuck = describe("client_stuck_runs_total",
		"Runs in this process whose handlers did not return after their contexts had ended.", "queue")
	clientWait = describe("client_wait_seconds",
		"Time from when a job was due to the start of its handler in this process.", "queue")
	clientRun = describe("client_run_seconds",
		"Time that handlers took in this process.", "queue")
)

// Describe implements prometheus.Collector.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range described {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	c.collectOwn(out)
	if c.options.OwnOnly {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.options.Timeout)
	defer cancel()
	start := time.Now()
	set := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	up := 1.0
	if err := c.collectInstallation(ctx, set); err != nil {
		c.options.Logger.Warn("pawl: metrics not collected", "error", err)
		up = 0
	}
	set(statsUp, up)
	set(statsDuration, time.Since(start).Seconds())
}

func (c *Collector) reports(queue string) bool {
	return c.options.Queues == nil || slices.Contains(c.options.Queues, queue)
}

// collectOwn collects the metrics of this process.
func (c *Collector) collectOwn(out chan<- prometheus.Metric) {
	for _, t := range c.client.Counters() {
		if !c.reports(t.Queue) {
			continue
		}
		for d, n := range map[*prometheus.Desc]int64{
			clientInserted: t.Inserted, clientCompleted: t.Completed, clientFailed: t.Failed, clientDead: t.Dead,
			clientCancelled: t.Cancelled, clientSnoozed: t.Snoozed, clientReleased: t.Released, clientLost: t.Lost,
			clientStuck: t.Stuck,
		} {
			out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), t.Queue)
		}
		out <- histogram(clientWait, t.Waited, t.Queue)
		out <- histogram(clientRun, t.Ran, t.Queue)
	}
}

// A setter reports the value of a gauge.
type setter func(d *prometheus.Desc, v float64, labels ...string)

// collectInstallation collects the metrics of the installation.
func (c *Collector) collectInstallation(ctx context.Context, set setter) error {
	stats, err := c.client.Stats(ctx)
	if err != nil {
		return err
	}
	for _, q := range stats.Queues {
		if c.reports(q.Queue) {
			set.queue(q)
		}
	}
	set(workers, float64(stats.Workers))
	set(stale, float64(stats.StaleWorkers))
	set(stuck, float64(stats.Stuck))
	set(archived, float64(stats.Archived))
	set(schema, float64(stats.Schema))
	set(xminAge, stats.XminAge.Seconds())
	if c.options.Semaphores {
		for key, n := range stats.Semaphores {
			set(semaphores, float64(n), key)
		}
	}
	tables, err := c.client.Tables(ctx)
	if err != nil {
		return err
	}
	for _, t := range tables {
		set(tableLive, float64(t.Live), t.Name)
		set(tableDead, float64(t.Dead), t.Name)
		set(tableBytes, float64(t.Bytes), t.Name)
	}
	for _, queue := range c.options.Channels {
		channels, err := c.client.Channels(ctx, queue)
		if err != nil {
			return err
		}
		for _, q := range channels {
			set.channel(q)
		}
	}
	return nil
}

func (set setter) queue(q pawlstats.Queue) {
	for state, n := range map[pawlstate.State]int64{
		pawlstate.Reserved: q.Reserved, pawlstate.Waiting: q.Waiting, pawlstate.Scheduled: q.Scheduled,
		pawlstate.Ready: q.Ready, pawlstate.Running: q.Running, pawlstate.Dead: q.Dead,
	} {
		set(queueJobs, float64(n), q.Queue, string(state))
	}
	estimated := 0.0
	if q.Estimated {
		estimated = 1
	}
	set(queueEstimated, estimated, q.Queue)
	set(queueArchived, float64(q.Archived), q.Queue)
	set(queuePermits, float64(q.Permits), q.Queue)
	set(queueOldest, q.OldestReady.Seconds(), q.Queue)
	set(queueLag, q.Lag.Seconds(), q.Queue)
	if !q.NewestJob.IsZero() {
		set(queueNewest, float64(q.NewestJob.UnixMicro())/1e6, q.Queue)
	}
	set(queueIn, q.In, q.Queue)
	set(queueOut, q.Out, q.Queue)
	set(queueFailed, q.Failed, q.Queue)
}

func (set setter) channel(q pawlstats.Queue) {
	for state, n := range map[pawlstate.State]int64{
		pawlstate.Reserved: q.Reserved, pawlstate.Scheduled: q.Scheduled, pawlstate.Ready: q.Ready,
		pawlstate.Running: q.Running, pawlstate.Dead: q.Dead,
	} {
		set(channelJobs, float64(n), q.Queue, q.Channel, string(state))
	}
	set(channelOldest, q.OldestReady.Seconds(), q.Queue, q.Channel)
	set(channelLag, q.Lag.Seconds(), q.Queue, q.Channel)
}

func histogram(d *prometheus.Desc, h pawlstats.Histogram, labels ...string) prometheus.Metric {
	buckets := map[float64]uint64{}
	for bound, n := range h.Buckets() {
		buckets[bound.Seconds()] = uint64(n)
	}
	return prometheus.MustNewConstHistogram(d, uint64(h.Count()), h.Sum.Seconds(), buckets, labels...)
}
