// Package pawlotel gives Pawl's traces and figures to OpenTelemetry.
//
//	var telemetry pawlotel.Telemetry // OpenTelemetry's global providers.
//	client, err := pawl.New(pool, pawl.Config{
//		InsertMiddleware: []func(context.Context, []pawl.JobSpec, func(context.Context) error) error{telemetry.InsertMiddleware()},
//		OnClaim:          telemetry.OnClaim,
//	})
//	mux.Use(telemetry.Middleware())
//	registration, err := telemetry.Observe(client)
//
// # Traces
//
// A span per call of Insert and InsertMany ("insert QUEUE"), per claim that got jobs or failed ("claim"), and per run of a handler ("run KIND"). The context of
// the insert travels in the job's headers, and every run of the job is a child of it, in whatever process and however much later. What
// passes insert middleware by (SQL, cron, batches, sagas, what follows a batch) has no insert span, and its runs begin traces.
//
// # Metrics
//
// docs/metrics.md describes each. Histograms are recorded by Middleware, one run a time; the rest is observed when the meter provider reads, with two statements.
package pawlotel

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/pawlhq/pawl/pawlstats"
)

const scope = "github.com/pawlhq/pawl/pawlotel"

// Telemetry says where spans and figures go; its zero value works.
type Telemetry struct {
	TracerProvider trace.TracerProvider          // If nil, OpenTelemetry's global one.
	MeterProvider  metric.MeterProvider          // If nil, OpenTelemetry's global one.
	Propagator     propagation.TextMapPropagator // Writes job headers. If nil, W3C's traceparent and tracestate.

	// Link makes each run a trace of its own, linked to the insert, instead of a child of it: for traces that would grow for days.
	Link bool
}

// Keys of attributes. Those of messaging are OpenTelemetry's.
const (
	keySystem    = attribute.Key("messaging.system")
	keyQueue     = attribute.Key("messaging.destination.name")
	keyOperation = attribute.Key("messaging.operation.name")
	keyType      = attribute.Key("messaging.operation.type")
	keyJob       = attribute.Key("messaging.message.id")
	keyCount     = attribute.Key("messaging.batch.message_count")
	keyKind      = attribute.Key("pawl.kind")
	keyChannel   = attribute.Key("pawl.channel")
	keyAttempt   = attribute.Key("pawl.attempt")
	keyWorker    = attribute.Key("pawl.worker")
	keyOutcome   = attribute.Key("pawl.outcome")
	keyState     = attribute.Key("pawl.state")
	keyStack     = attribute.Key("exception.stacktrace")
)

func (t Telemetry) tracer() trace.Tracer {
	if t.TracerProvider == nil {
		return otel.GetTracerProvider().Tracer(scope)
	}
	return t.TracerProvider.Tracer(scope)
}

func (t Telemetry) meter() metric.Meter {
	if t.MeterProvider == nil {
		return otel.GetMeterProvider().Meter(scope)
	}
	return t.MeterProvider.Meter(scope)
}

func (t Telemetry) propagator() propagation.TextMapPropagator {
	if t.Propagator == nil {
		return propagation.TraceContext{}
	}
	return t.Propagator
}

// InsertMiddleware is for pawl.Config.InsertMiddleware: a span per call, whose context goes into the headers of its jobs.
func (t Telemetry) InsertMiddleware() func(context.Context, []pawl.JobSpec, func(context.Context) error) error {
	tracer, propagator := t.tracer(), t.propagator()
	return func(ctx context.Context, jobs []pawl.JobSpec, next func(context.Context) error) error {
		attributes := []attribute.KeyValue{keySystem.String("pawl"), keyOperation.String("insert"), keyType.String("send"), keyCount.Int(len(jobs))}
		name := "insert"
		if queue, one := same(jobs, func(job *pawl.JobSpec) string { return cmp.Or(job.Queue, "default") }); one {
			name, attributes = "insert "+queue, append(attributes, keyQueue.String(queue))
		}
		if kind, one := same(jobs, func(job *pawl.JobSpec) string { return job.Kind() }); one {
			attributes = append(attributes, keyKind.String(kind))
		}
		ctx, span := tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(attributes...))
		defer span.End()
		for i := range jobs {
			propagator.Inject(ctx, propagation.MapCarrier(jobs[i].Headers))
		}
		err := next(ctx)
		fail(span, err)
		return err
	}
}

// OnClaim is for pawl.Config.OnClaim: a span per claim, linked to the inserts of the first of its jobs.
func (t Telemetry) OnClaim(ctx context.Context, jobs pawl.Jobs, took time.Duration, err error) {
	const most = 32 // Links: SDKs keep not many more.
	began := time.Now().Add(-took)
	propagator := t.propagator()
	var links []trace.Link
	for _, job := range jobs[:min(len(jobs), most)] {
		inserted := propagator.Extract(context.Background(), propagation.MapCarrier(job.Headers))
		if trace.SpanContextFromContext(inserted).IsValid() {
			links = append(links, trace.LinkFromContext(inserted))
		}
	}
	attributes := []attribute.KeyValue{keySystem.String("pawl"), keyOperation.String("claim"), keyType.String("receive"), keyCount.Int(len(jobs))}
	if queue, one := same(jobs, func(job **pawl.JobInfo) string { return (*job).Queue }); one {
		attributes = append(attributes, keyQueue.String(queue))
	}
	_, span := t.tracer().Start(ctx, "claim", trace.WithTimestamp(began), trace.WithSpanKind(trace.SpanKindClient), trace.WithLinks(links...), trace.WithAttributes(attributes...))
	fail(span, err)
	span.End(trace.WithTimestamp(began.Add(took)))
}

// Middleware is for Mux.Use: a span per run, and the histograms. A HandleChunk is one run, of its first job.
func (t Telemetry) Middleware() pawl.Middleware {
	tracer, propagator, meter := t.tracer(), t.propagator(), t.meter()
	bounds := buckets()
	wait, err := meter.Float64Histogram("pawl.job.wait", metric.WithUnit("s"), metric.WithDescription("From when a job was due to its claim."), bounds)
	report(err)
	run, err := meter.Float64Histogram("pawl.job.run", metric.WithUnit("s"), metric.WithDescription("How long handlers ran."), bounds)
	report(err)
	return func(ctx context.Context, job *pawl.JobInfo, next func(context.Context) error) error {
		options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
			keySystem.String("pawl"), keyOperation.String("run"), keyType.String("process"), keyQueue.String(job.Queue), keyJob.String(strconv.FormatInt(int64(job.ID), 10)),
			keyKind.String(job.Kind), keyAttempt.Int(job.Attempt), keyWorker.String(job.Worker))}
		if job.Channel != "" {
			options = append(options, trace.WithAttributes(keyChannel.String(job.Channel)))
		}
		ctx = propagator.Extract(ctx, propagation.MapCarrier(job.Headers))
		if t.Link {
			if trace.SpanContextFromContext(ctx).IsRemote() {
				options = append(options, trace.WithLinks(trace.LinkFromContext(ctx)))
			}
			options = append(options, trace.WithNewRoot())
		}
		ctx, span := tracer.Start(ctx, "run "+job.Kind, options...)
		defer span.End()
		labels := metric.WithAttributes(keyQueue.String(job.Queue), keyKind.String(job.Kind))
		wait.Record(ctx, waited(job).Seconds(), labels)
		began := time.Now()
		err := next(ctx)
		outcome, failed := outcomeOf(err)
		run.Record(ctx, time.Since(began).Seconds(), labels, metric.WithAttributes(keyOutcome.String(outcome)))
		span.SetAttributes(keyOutcome.String(outcome))
		if failed {
			fail(span, err)
		}
		return err
	}
}

// outcomeOf returns the value of the attribute pawl.outcome for what a handler returned, and whether the attempt failed.
func outcomeOf(err error) (outcome string, failed bool) {
	state, failed := pawl.OutcomeOf(err)
	switch {
	case state == pawlstate.Completed:
		return "complete", failed
	case state == pawlstate.Cancelled:
		return "cancel", failed
	case state == pawlstate.Scheduled && failed:
		return "retry", failed
	case state == pawlstate.Scheduled:
		return "snooze", failed
	}
	return "dead", failed
}

// waited is from when the job was due to its claim, by the database's clock.
func waited(job *pawl.JobInfo) time.Duration {
	due := job.CreatedAt
	if !job.RunAt.IsZero() {
		due = job.RunAt
	}
	return max(job.StartedAt.Sub(due), 0)
}

// buckets are those of pawl.Tally.
func buckets() metric.HistogramOption {
	var bounds []float64
	for bound := range (pawlstats.Histogram{}).Buckets() {
		bounds = append(bounds, bound.Seconds())
	}
	return metric.WithExplicitBucketBoundaries(bounds...)
}

// same is what all of a list have in common, if they do.
func same[T any](list []T, of func(*T) string) (what string, all bool) {
	for i := range list {
		switch each := of(&list[i]); {
		case i == 0:
			what = each
		case each != what:
			return "", false
		}
	}
	return what, len(list) > 0
}

// fail marks a span as failed; a handler's panic comes with its stack.
func fail(span trace.Span, err error) {
	if err == nil {
		return
	}
	span.SetStatus(codes.Error, err.Error())
	var options []trace.EventOption
	if p, ok := errors.AsType[*pawl.PanicError](err); ok {
		options = append(options, trace.WithAttributes(keyStack.String(p.Stack)))
	}
	span.RecordError(err, options...)
}

// report is for what the SDK refuses and no caller is there to be told.
func report(err error) {
	if err != nil {
		otel.Handle(err)
	}
}

// Observe has the meter provider read the client's figures: those of the whole installation, as pawl.Client.Stats tells them, and this process's
// counters. Unregister ends it.
func (t Telemetry) Observe(client *pawl.Client) (metric.Registration, error) {
	meter := t.meter()
	var errs []error
	var all []metric.Observable
	gauge := func(name, unit, about string) metric.Float64ObservableGauge {
		g, err := meter.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(about))
		errs, all = append(errs, err), append(all, g)
		return g
	}
	counter := func(name, unit, about string) metric.Int64ObservableCounter {
		c, err := meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(about))
		errs, all = append(errs, err), append(all, c)
		return c
	}
	jobs := gauge("pawl.queue.jobs", "{job}", "Jobs of the queue by state, exact up to a bound, then estimated.")
	kept := gauge("pawl.queue.archived", "{job}", "Completed and cancelled jobs of the queue that are still kept; of a large archive an estimate.")
	permits := gauge("pawl.queue.permits", "{permit}", "Permits in use of the queue's limits.")
	oldest := gauge("pawl.queue.oldest_ready", "s", "How long the oldest ready job of the queue has been due.")
	lag := gauge("pawl.queue.lag", "s", "How long the oldest ready or scheduled job of the queue has been due.")
	in := gauge("pawl.queue.inserted", "{job}/s", "Jobs inserted a second over the last minute, by clients in Go.")
	out := gauge("pawl.queue.completed", "{job}/s", "Jobs completed a second over the last minute, by clients in Go.")
	failing := gauge("pawl.queue.failed", "{attempt}/s", "Attempts failed a second over the last minute, of clients in Go.")
	workers := gauge("pawl.workers", "{worker}", "Workers that live.")
	stale := gauge("pawl.workers.stale", "{worker}", "Workers silent for so long that their jobs are about to be rescued.")
	archived := gauge("pawl.archived", "{job}", "Completed and cancelled jobs that are on disk, past their retention or not: an estimate.")
	xmin := gauge("pawl.xmin_age", "s", "How long the oldest transaction of the database has been open.")

	inserted := counter("pawl.client.inserted", "{job}", "Jobs this process inserted.")
	completed := counter("pawl.client.completed", "{job}", "Jobs this process completed.")
	failed := counter("pawl.client.failed", "{attempt}", "Attempts that failed in this process.")
	dead := counter("pawl.client.dead", "{job}", "Jobs that died by an attempt in this process.")
	cancelled := counter("pawl.client.cancelled", "{job}", "Jobs that their handlers cancelled in this process.")
	snoozed := counter("pawl.client.snoozed", "{run}", "Runs in this process that ended with a snooze.")
	released := counter("pawl.client.released", "{run}", "Runs and claimed jobs this process gave back.")
	lost := counter("pawl.client.lost", "{answer}", "Answers of this process that counted for nothing.")
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		for _, tally := range client.Counters() {
			queue := metric.WithAttributes(keyQueue.String(tally.Queue))
			o.ObserveInt64(inserted, tally.Inserted, queue)
			o.ObserveInt64(completed, tally.Completed, queue)
			o.ObserveInt64(failed, tally.Failed, queue)
			o.ObserveInt64(dead, tally.Dead, queue)
			o.ObserveInt64(cancelled, tally.Cancelled, queue)
			o.ObserveInt64(snoozed, tally.Snoozed, queue)
			o.ObserveInt64(released, tally.Released, queue)
			o.ObserveInt64(lost, tally.Lost, queue)
		}
		stats, err := client.Stats(ctx)
		if err != nil {
			return err
		}
		for _, q := range stats.Queues {
			queue := metric.WithAttributes(keyQueue.String(q.Queue))
			for state, n := range map[pawlstate.State]int64{
				pawlstate.Reserved: q.Reserved, pawlstate.Waiting: q.Waiting, pawlstate.Scheduled: q.Scheduled, pawlstate.Ready: q.Ready,
				pawlstate.Running: q.Running, pawlstate.Dead: q.Dead,
			} {
				o.ObserveFloat64(jobs, float64(n), queue, metric.WithAttributes(keyState.String(string(state))))
			}
			o.ObserveFloat64(kept, float64(q.Archived), queue)
			o.ObserveFloat64(permits, float64(q.Permits), queue)
			o.ObserveFloat64(oldest, q.OldestReady.Seconds(), queue)
			o.ObserveFloat64(lag, q.Lag.Seconds(), queue)
			o.ObserveFloat64(in, q.In, queue)
			o.ObserveFloat64(out, q.Out, queue)
			o.ObserveFloat64(failing, q.Failed, queue)
		}
		o.ObserveFloat64(workers, float64(stats.Workers))
		o.ObserveFloat64(stale, float64(stats.StaleWorkers))
		o.ObserveFloat64(archived, float64(stats.Archived))
		o.ObserveFloat64(xmin, stats.XminAge.Seconds())
		return nil
	}, all...)
}
