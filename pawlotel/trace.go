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
)

// maxLinks is the number of inserts that a claim's span is linked to. SDKs keep few more than this.
const maxLinks = 32

// InsertMiddleware returns a function for pawl.Config.InsertMiddleware. It makes a span for each call and writes its
// trace context into the headers of the jobs.
func (t Telemetry) InsertMiddleware() func(context.Context, []pawl.JobSpec, func(context.Context) error) error {
	tracer, propagator := t.tracer(), t.propagator()
	return func(ctx context.Context, jobs []pawl.JobSpec, next func(context.Context) error) error {
		name, attributes := "insert", operation("insert", "send", len(jobs))
		if queue, ok := common(jobs, func(job *pawl.JobSpec) string { return cmp.Or(job.Queue, "default") }); ok {
			name, attributes = "insert "+queue, append(attributes, keyQueue.String(queue))
		}
		if kind, ok := common(jobs, func(job *pawl.JobSpec) string { return job.Kind() }); ok {
			attributes = append(attributes, keyKind.String(kind))
		}
		ctx, span := tracer.Start(ctx, name,
			trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(attributes...))
		defer span.End()
		for i := range jobs {
			propagator.Inject(ctx, propagation.MapCarrier(jobs[i].Headers))
		}
		err := next(ctx)
		setError(span, err)
		return err
	}
}

// OnClaim is a function for pawl.Config.OnClaim. It makes a span for each claim and links it to the inserts of the
// claim's first 32 jobs.
func (t Telemetry) OnClaim(ctx context.Context, jobs pawl.Jobs, took time.Duration, err error) {
	start := time.Now().Add(-took)
	propagator := t.propagator()
	var links []trace.Link
	for _, job := range jobs[:min(len(jobs), maxLinks)] {
		inserted := propagator.Extract(context.Background(), propagation.MapCarrier(job.Headers))
		if trace.SpanContextFromContext(inserted).IsValid() {
			links = append(links, trace.LinkFromContext(inserted))
		}
	}
	attributes := operation("claim", "receive", len(jobs))
	if queue, ok := common(jobs, func(job **pawl.JobInfo) string { return (*job).Queue }); ok {
		attributes = append(attributes, keyQueue.String(queue))
	}
	_, span := t.tracer().Start(ctx, "claim", trace.WithTimestamp(start), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithLinks(links...), trace.WithAttributes(attributes...))
	setError(span, err)
	span.End(trace.WithTimestamp(start.Add(took)))
}

// Middleware returns a function for Mux.Use. It makes a span for each run of a handler and records the histograms
// pawl.job.wait and pawl.job.run. A call of a HandleChunk handler is one run, attributed to its first job.
func (t Telemetry) Middleware() pawl.Middleware {
	tracer, propagator, meter := t.tracer(), t.propagator(), t.meter()
	bounds := buckets()
	wait, err := meter.Float64Histogram("pawl.job.wait", metric.WithUnit("s"),
		metric.WithDescription("Time from when a job was due to its claim."), bounds)
	handle(err)
	run, err := meter.Float64Histogram("pawl.job.run", metric.WithUnit("s"),
		metric.WithDescription("Time that handlers took."), bounds)
	handle(err)
	return func(ctx context.Context, job *pawl.JobInfo, next func(context.Context) error) error {
		ctx = propagator.Extract(ctx, propagation.MapCarrier(job.Headers))
		ctx, span := tracer.Start(ctx, "run "+job.Kind, t.runOptions(ctx, job)...)
		defer span.End()
		labels := metric.WithAttributes(keyQueue.String(job.Queue), keyKind.String(job.Kind))
		wait.Record(ctx, waited(job).Seconds(), labels)
		start := time.Now()
		err := next(ctx)
		outcome, failed := outcomeOf(err)
		run.Record(ctx, time.Since(start).Seconds(), labels, metric.WithAttributes(keyOutcome.String(outcome)))
		span.SetAttributes(keyOutcome.String(outcome))
		if failed {
			setError(span, err)
		}
		return err
	}
}

// runOptions returns the options of a run's span. ctx has the trace context of the insert.
func (t Telemetry) runOptions(ctx context.Context, job *pawl.JobInfo) []trace.SpanStartOption {
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		keySystem.String("pawl"), keyOperation.String("run"), keyType.String("process"),
		keyQueue.String(job.Queue), keyJob.String(strconv.FormatInt(int64(job.ID), 10)), keyKind.String(job.Kind),
		keyAttempt.Int(job.Attempt), keyWorker.String(job.Worker))}
	if job.Channel != "" {
		options = append(options, trace.WithAttributes(keyChannel.String(job.Channel)))
	}
	if t.Link {
		if trace.SpanContextFromContext(ctx).IsRemote() {
			options = append(options, trace.WithLinks(trace.LinkFromContext(ctx)))
		}
		options = append(options, trace.WithNewRoot())
	}
	return options
}

// outcomeOf returns the value of the attribute pawl.outcome for a handler's error, and whether the attempt failed.
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

// waited returns the time from when the job was due to its claim, by the database's clock.
func waited(job *pawl.JobInfo) time.Duration {
	due := job.CreatedAt
	if !job.RunAt.IsZero() {
		due = job.RunAt
	}
	return max(job.StartedAt.Sub(due), 0)
}

// operation returns the attributes of an operation on a number of jobs.
func operation(name, kind string, jobs int) []attribute.KeyValue {
	return []attribute.KeyValue{
		keySystem.String("pawl"), keyOperation.String(name), keyType.String(kind), keyCount.Int(jobs),
	}
}

// common returns the value that all elements of a list have in common. ok is false if there is none.
func common[T any](list []T, of func(*T) string) (value string, ok bool) {
	for i := range list {
		switch each := of(&list[i]); {
		case i == 0:
			value = each
		case each != value:
			return "", false
		}
	}
	return value, len(list) > 0
}

// setError marks a span as failed unless err is nil. It records the stack of a panic.
func setError(span trace.Span, err error) {
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

// handle gives an error of the SDK to OpenTelemetry's error handler, because no caller can receive it.
func handle(err error) {
	if err != nil {
		otel.Handle(err)
	}
}
