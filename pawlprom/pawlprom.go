// Package pawlprom gives Pawl's figures to Prometheus: those of the whole installation, which the database tells (pawl_queue_…,
// pawl_workers, pawl_table_…), and those of this process, which it counts itself (pawl_client_…). docs/metrics.md describes each; a
// dashboard is in deploy/grafana.
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

// Options are for NewCollector; the zero value works.
type Options struct {
	// OwnOnly leaves the installation's figures, and their statements, to others: every process that tells them tells the same ones.
	OwnOnly bool
	// Queues whose figures are told. If nil, all.
	Queues []string
	// Channels are queues whose channels have figures of their own: seven series a channel. If nil, no queue's.
	Channels []string
	// Semaphores has the permits of Client.Semaphore told, a series a key.
	Semaphores bool
	Timeout    time.Duration // Of a collection's statements. If zero, 5 s.
	Logger     *slog.Logger  // For statements that fail. If nil, slog.Default().
}

// Collector is a prometheus.Collector. With each collection it makes three statements, one more a queue in Options.Channels; see
// pawl.Client.Stats for what they cost. If one fails, pawl_stats_up is 0 and what it would have told is missing.
type Collector struct {
	client  *pawl.Client
	options Options
}

// NewCollector makes a collector of a client's figures. One a registry and database: a second client on the same database is for a
// collector with OwnOnly and labels of its own (prometheus.WrapRegistererWith).
func NewCollector(client *pawl.Client, options Options) *Collector {
	if options.Timeout == 0 {
		options.Timeout = 5 * time.Second
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	return &Collector{client, options}
}

// Handler serves a client's figures, and nothing else, as text.
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

// Of the installation. What begins with queue_ is of the queue, wherever its jobs were inserted or run.
var (
	statsUp       = describe("stats_up", "Whether the statements of this collection worked: 1 or 0.")
	statsDuration = describe("stats_duration_seconds", "How long the statements of this collection took.")

	queueJobs      = describe("queue_jobs", "Jobs of the queue by state: reserved, waiting, scheduled, ready, running, dead. Exact up to a bound, then estimated.", "queue", "state")
	queueEstimated = describe("queue_estimated", "Whether one of pawl_queue_jobs of this queue is an estimate: 1 or 0.", "queue")
	queueArchived  = describe("queue_archived_jobs", "Completed and cancelled jobs of the queue that are still kept; of a large archive an estimate.", "queue")
	queuePermits   = describe("queue_permits", "Permits in use of the queue's limits.", "queue")
	queueOldest    = describe("queue_oldest_ready_seconds", "How long the oldest ready job of the queue has been due; 0 if there is none.", "queue")
	queueLag       = describe("queue_lag_seconds", "How long the oldest ready or scheduled job of the queue has been due; 0 if none is.", "queue")
	queueNewest    = describe("queue_newest_job_timestamp_seconds", "When the newest live job of the queue was inserted; missing if there is none.", "queue")
	queueIn        = describe("queue_inserted_per_second", "Jobs inserted a second over the last minute, by clients in Go.", "queue")
	queueOut       = describe("queue_completed_per_second", "Jobs completed a second over the last minute, by clients in Go.", "queue")
	queueFailed    = describe("queue_failed_per_second", "Attempts failed a second over the last minute, of clients in Go.", "queue")

	channelJobs   = describe("channel_jobs", "Jobs of the channel by state: reserved, scheduled, ready, running, dead. Exact up to a bound, then estimated.", "queue", "channel", "state")
	channelOldest = describe("channel_oldest_ready_seconds", "How long the oldest ready job of the channel has been due; 0 if there is none.", "queue", "channel")
	channelLag    = describe("channel_lag_seconds", "How long the oldest ready or scheduled job of the channel has been due; 0 if none is.", "queue", "channel")

	workers    = describe("workers", "Workers that live.")
	stale      = describe("workers_stale", "Workers silent for so long that their jobs are about to be rescued.")
	semaphores = describe("semaphore_permits", "Permits in use of a named limit.", "semaphore")
	archived   = describe("archived_jobs", "Completed and cancelled jobs that are on disk, past their retention or not: an estimate.")
	schema     = describe("schema_version", "Version of the schema.")
	xminAge    = describe("xmin_age_seconds", "How long the oldest transaction of the database has been open: what died since is not vacuumed.")

	tableLive  = describe("table_live_rows", "Rows of the table, as the server estimates them.", "table")
	tableDead  = describe("table_dead_rows", "Dead rows of the table not vacuumed yet, as the server estimates them.", "table")
	tableBytes = describe("table_bytes", "Size of the table on disk, with indexes.", "table")
)

// Of this process.
var (
	clientInserted  = describe("client_inserted_jobs_total", "Jobs this process inserted.", "queue")
	clientCompleted = describe("client_completed_jobs_total", "Jobs this process completed.", "queue")
	clientFailed    = describe("client_failed_attempts_total", "Attempts that failed in this process.", "queue")
	clientDead      = describe("client_dead_jobs_total", "Jobs that died by an attempt in this process.", "queue")
	clientCancelled = describe("client_cancelled_jobs_total", "Jobs that their handlers cancelled in this process.", "queue")
	clientSnoozed   = describe("client_snoozed_runs_total", "Runs in this process that ended with a snooze.", "queue")
	clientReleased  = describe("client_released_runs_total", "Runs and claimed jobs this process gave back.", "queue")
	clientLost      = describe("client_lost_answers_total", "Answers of this process that counted for nothing, because the job was not its any more.", "queue")
	clientWait      = describe("client_wait_seconds", "From when a job was due to the start of its handler in this process.", "queue")
	clientRun       = describe("client_run_seconds", "How long handlers ran in this process.", "queue")
)

// Describe is prometheus.Collector's.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range described {
		out <- d
	}
}

// Collect is prometheus.Collector's.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	for _, t := range c.client.Counters() {
		if !c.tells(t.Queue) {
			continue
		}
		for d, n := range map[*prometheus.Desc]int64{
			clientInserted: t.Inserted, clientCompleted: t.Completed, clientFailed: t.Failed, clientDead: t.Dead, clientCancelled: t.Cancelled,
			clientSnoozed: t.Snoozed, clientReleased: t.Released, clientLost: t.Lost,
		} {
			out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), t.Queue)
		}
		out <- histogram(clientWait, t.Waited, t.Queue)
		out <- histogram(clientRun, t.Ran, t.Queue)
	}
	if c.options.OwnOnly {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.options.Timeout)
	defer cancel()
	began := time.Now()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	up := 1.0
	if err := c.installation(ctx, gauge); err != nil {
		c.options.Logger.Warn("pawl: figures not collected", "error", err)
		up = 0
	}
	gauge(statsUp, up)
	gauge(statsDuration, time.Since(began).Seconds())
}

func (c *Collector) tells(queue string) bool {
	return c.options.Queues == nil || slices.Contains(c.options.Queues, queue)
}

func (c *Collector) installation(ctx context.Context, gauge func(d *prometheus.Desc, v float64, labels ...string)) error {
	stats, err := c.client.Stats(ctx)
	if err != nil {
		return err
	}
	for _, q := range stats.Queues {
		if !c.tells(q.Queue) {
			continue
		}
		for state, n := range map[pawlstate.State]int64{
			pawlstate.Reserved: q.Reserved, pawlstate.Waiting: q.Waiting, pawlstate.Scheduled: q.Scheduled, pawlstate.Ready: q.Ready,
			pawlstate.Running: q.Running, pawlstate.Dead: q.Dead,
		} {
			gauge(queueJobs, float64(n), q.Queue, string(state))
		}
		estimated := 0.0
		if q.Estimated {
			estimated = 1
		}
		gauge(queueEstimated, estimated, q.Queue)
		gauge(queueArchived, float64(q.Archived), q.Queue)
		gauge(queuePermits, float64(q.Permits), q.Queue)
		gauge(queueOldest, q.OldestReady.Seconds(), q.Queue)
		gauge(queueLag, q.Lag.Seconds(), q.Queue)
		if !q.NewestJob.IsZero() {
			gauge(queueNewest, float64(q.NewestJob.UnixMicro())/1e6, q.Queue)
		}
		gauge(queueIn, q.In, q.Queue)
		gauge(queueOut, q.Out, q.Queue)
		gauge(queueFailed, q.Failed, q.Queue)
	}
	gauge(workers, float64(stats.Workers))
	gauge(stale, float64(stats.StaleWorkers))
	gauge(archived, float64(stats.Archived))
	gauge(schema, float64(stats.Schema))
	gauge(xminAge, stats.XminAge.Seconds())
	if c.options.Semaphores {
		for key, n := range stats.Semaphores {
			gauge(semaphores, float64(n), key)
		}
	}
	tables, err := c.client.Tables(ctx)
	if err != nil {
		return err
	}
	for _, t := range tables {
		gauge(tableLive, float64(t.Live), t.Name)
		gauge(tableDead, float64(t.Dead), t.Name)
		gauge(tableBytes, float64(t.Bytes), t.Name)
	}
	for _, queue := range c.options.Channels {
		channels, err := c.client.Channels(ctx, queue)
		if err != nil {
			return err
		}
		for _, q := range channels {
			for state, n := range map[pawlstate.State]int64{
				pawlstate.Reserved: q.Reserved, pawlstate.Scheduled: q.Scheduled, pawlstate.Ready: q.Ready, pawlstate.Running: q.Running, pawlstate.Dead: q.Dead,
			} {
				gauge(channelJobs, float64(n), queue, q.Channel, string(state))
			}
			gauge(channelOldest, q.OldestReady.Seconds(), queue, q.Channel)
			gauge(channelLag, q.Lag.Seconds(), queue, q.Channel)
		}
	}
	return nil
}

func histogram(d *prometheus.Desc, h pawlstats.Histogram, labels ...string) prometheus.Metric {
	buckets := map[float64]uint64{}
	for bound, n := range h.Buckets() {
		buckets[bound.Seconds()] = uint64(n)
	}
	return prometheus.MustNewConstHistogram(d, uint64(h.Count()), h.Sum.Seconds(), buckets, labels...)
}
