// Package pawlotel reports Pawl's traces and metrics to OpenTelemetry.
//
//	var telemetry pawlotel.Telemetry // Uses OpenTelemetry's global providers.
//	config.InsertMiddleware = append(config.InsertMiddleware, telemetry.InsertMiddleware())
//	config.OnClaim = telemetry.OnClaim
//	client, err := pawl.New(pool, config)
//	mux.Use(telemetry.Middleware())
//	registration, err := telemetry.Observe(client)
//
// # Traces
//
// There is a span for each call of Insert and InsertMany ("insert QUEUE"), for each claim that got jobs or failed
// ("claim"), and for each run of a handler ("run KIND"). The insert's trace context travels in the job's headers. So
// every run of the job is a child of its insert, in any process and at any later time.
//
// Jobs of SQL, crons, batches and sagas do not pass insert middleware, and neither do the callbacks of batches. They
// have no insert span, and their runs start new traces.
//
// # Metrics
//
// docs/metrics.md describes each metric. Middleware records the histograms, one run at a time. The other metrics come
// from Client.Counters and Client.Stats whenever the meter provider reads them.
package pawlotel

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const scope = "github.com/pawlhq/pawl/pawlotel"

// A Telemetry has the destinations of traces and metrics. The zero value is ready to use.
type Telemetry struct {
	// TracerProvider defaults to OpenTelemetry's global provider.
	TracerProvider trace.TracerProvider

	// MeterProvider defaults to OpenTelemetry's global provider.
	MeterProvider metric.MeterProvider

	// Propagator writes the trace context into job headers. It defaults to W3C's traceparent and tracestate.
	Propagator propagation.TextMapPropagator

	// Link starts a new trace for each run and links it to the insert, instead of making the run a child of the insert.
	// Use it if traces would otherwise last for days.
	Link bool
}

// The keys of attributes. The messaging keys are OpenTelemetry's.
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
