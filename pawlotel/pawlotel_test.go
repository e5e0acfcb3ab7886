package pawlotel_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlotel"
	"github.com/pawlhq/pawl/pawltest"
)

type note struct {
	N int `json:"n"`
}

func (note) Kind() string { return "note" }

// traced is a client and a mux with telemetry, and what is recorded of them.
func traced(t *testing.T, telemetry pawlotel.Telemetry) (*pawl.Client, *pawl.Mux, *tracetest.SpanRecorder) {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	telemetry.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	if telemetry.MeterProvider == nil {
		telemetry.MeterProvider = metric.NewMeterProvider()
	}
	client, err := pawl.New(pawltest.Pool(t, pawltest.New(t)), pawl.Config{
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		InsertMiddleware: []func(context.Context, []pawl.JobSpec, func(context.Context) error) error{
			telemetry.InsertMiddleware(),
		},
		OnClaim: telemetry.OnClaim,
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := new(pawl.Mux)
	mux.Use(telemetry.Middleware())
	return client, mux, recorder
}

// named are the ended spans of a name, in the order of their ends.
func named(recorder *tracetest.SpanRecorder, name string) (spans []sdktrace.ReadOnlySpan) {
	for _, span := range recorder.Ended() {
		if span.Name() == name {
			spans = append(spans, span)
		}
	}
	return spans
}

// require checks attributes of a span.
func require(t *testing.T, span sdktrace.ReadOnlySpan, want map[attribute.Key]any) {
	t.Helper()
	have := map[attribute.Key]any{}
	for _, a := range span.Attributes() {
		have[a.Key] = a.Value.AsInterface()
	}
	for key, value := range want {
		if have[key] != value {
			t.Errorf("%s: %s is %v, want %v", span.Name(), key, have[key], value)
		}
	}
}

func TestTraceFromInsertToRun(t *testing.T) {
	t.Parallel()
	client, mux, recorder := traced(t, pawlotel.Telemetry{})
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[note]) error {
		switch {
		case job.Args.N == 1 && job.Attempt == 1:
			return pawl.RetryAfter(0, errors.New("boom"))
		case job.Args.N == 1:
			_, err := client.Insert(ctx, note{2})
			return err
		case job.Args.N == 3:
			panic("bang")
		case job.Args.N == 4:
			return pawl.Snooze(time.Hour)
		}
		return nil
	})
	result, err := client.Insert(
		t.Context(),
		pawl.JobSpec{Args: note{1}, Queue: "mail", Channel: "acme", Headers: map[string]string{"mine": "kept"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	pawltest.Drain(t, client, mux, "mail")
	pawltest.Drain(t, client, mux, "default")

	inserts := named(recorder, "insert mail")
	runs := named(recorder, "run note")
	if len(inserts) != 1 || len(runs) != 3 {
		t.Fatalf("%d inserts and %d runs", len(inserts), len(runs))
	}
	require(
		t,
		inserts[0],
		map[attribute.Key]any{
			"messaging.system":              "pawl",
			"messaging.destination.name":    "mail",
			"messaging.batch.message_count": int64(1),
			"pawl.kind":                     "note",
		},
	)
	for i, run := range runs[:2] {
		if run.Parent().SpanID() != inserts[0].SpanContext().SpanID() ||
			run.SpanContext().TraceID() != inserts[0].SpanContext().TraceID() {
			t.Errorf("run %d is not a child of the insert", i)
		}
		require(t, run, map[attribute.Key]any{
			"messaging.message.id": strconv.FormatInt(
				int64(result.ID),
				10,
			), "messaging.destination.name": "mail", "pawl.kind": "note", "pawl.channel": "acme",
			"pawl.attempt": int64(i + 1), "pawl.outcome": []string{"retry", "complete"}[i],
		})
	}
	if runs[0].Status().Code != codes.Error || runs[0].Status().Description != "boom" || len(runs[0].Events()) != 1 ||
		runs[1].Status().Code != codes.Unset {
		t.Errorf("the runs are %+v and %+v", runs[0].Status(), runs[1].Status())
	}
	// The job that a handler inserted goes on in the same trace.
	inner := named(recorder, "insert default")
	if len(inner) != 1 || inner[0].Parent().SpanID() != runs[1].SpanContext().SpanID() ||
		runs[2].Parent().SpanID() != inner[0].SpanContext().SpanID() ||
		runs[2].SpanContext().TraceID() != inserts[0].SpanContext().TraceID() {
		t.Errorf("the handler's insert and its run are not in the trace: %+v", inner)
	}
	job, err := client.Get(t.Context(), result.ID)
	if err != nil || job.Headers["mine"] != "kept" ||
		!regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-01$`).MatchString(job.Headers["traceparent"]) {
		t.Errorf("headers are %v, %v", job.Headers, err)
	}

	for _, n := range []int{3, 4} {
		if _, err := client.Insert(t.Context(), note{n}); err != nil {
			t.Fatal(err)
		}
		pawltest.RunOne(t, client, mux)
	}
	runs = named(recorder, "run note")[3:]
	require(t, runs[1], map[attribute.Key]any{"pawl.outcome": "snooze"})
	if runs[0].Status().Code != codes.Error || len(runs[0].Events()) != 1 || runs[1].Status().Code != codes.Unset {
		t.Errorf("the runs are %+v and %+v", runs[0].Status(), runs[1].Status())
	}
	if stack := runs[0].Events()[0].Attributes; !slices.ContainsFunc(
		stack,
		func(a attribute.KeyValue) bool { return a.Key == "exception.stacktrace" },
	) {
		t.Errorf("the panic has no stack: %v", stack)
	}
}

func TestTraceOfMany(t *testing.T) {
	t.Parallel()
	client, mux, recorder := traced(t, pawlotel.Telemetry{Link: true})
	pawl.Handle(mux, func(context.Context, *pawl.Job[note]) error { return nil })
	jobs := make([]pawl.JobSpec, 50)
	for i := range jobs {
		jobs[i] = pawl.JobSpec{Args: note{i}, Queue: fmt.Sprint("q", i/49)}
	}
	if _, err := client.InsertMany(t.Context(), jobs); err != nil {
		t.Fatal(err)
	}
	inserts := named(recorder, "insert")
	if len(inserts) != 1 {
		t.Fatalf("%d spans of one InsertMany into two queues", len(inserts))
	}
	require(
		t,
		inserts[0],
		map[attribute.Key]any{
			"messaging.batch.message_count": int64(50),
			"messaging.destination.name":    nil,
			"pawl.kind":                     "note",
		},
	)

	if jobs, err := client.Claim(t.Context(), "q0", 40, time.Minute); err != nil || len(jobs) != 40 {
		t.Fatal(jobs, err)
	}
	if jobs, err := client.Claim(t.Context(), "nothing", 40, time.Minute); err != nil || len(jobs) != 0 {
		t.Fatal(jobs, err)
	}
	claims := named(recorder, "claim")
	if len(claims) != 1 {
		t.Fatalf("%d claims, want one: the other found nothing", len(claims))
	}
	claim := claims[0]
	require(
		t,
		claim,
		map[attribute.Key]any{
			"messaging.batch.message_count": int64(40),
			"messaging.destination.name":    "q0",
			"messaging.operation.type":      "receive",
		},
	)
	if took := claim.EndTime().Sub(claim.StartTime()); took <= 0 || took > time.Minute ||
		claim.StartTime().After(time.Now()) {
		t.Errorf("the claim took %v, from %v", took, claim.StartTime())
	}
	if links := claim.Links(); len(links) != 32 || links[0].SpanContext.SpanID() != inserts[0].SpanContext().SpanID() {
		t.Errorf("%d links, the first %+v", len(links), links)
	}

	pawltest.RunOne(t, client, mux)
	runs := named(recorder, "run note")
	if len(runs) != 1 || runs[0].Parent().IsValid() || len(runs[0].Links()) != 1 ||
		runs[0].Links()[0].SpanContext.SpanID() != inserts[0].SpanContext().SpanID() ||
		runs[0].SpanContext().TraceID() == inserts[0].SpanContext().TraceID() {
		t.Errorf("the run is not a trace of its own, linked to the insert: %+v", runs)
	}
}

// What fails is marked; what passes insert middleware by begins a trace.
func TestTraceWithoutInsert(t *testing.T) {
	t.Parallel()
	client, mux, recorder := traced(t, pawlotel.Telemetry{})
	pawl.Handle(mux, func(context.Context, *pawl.Job[note]) error { return nil })
	if _, err := client.Insert(t.Context(), pawl.JobSpec{Args: note{1}, Queue: "mail", Priority: 1 << 20}); err == nil {
		t.Fatal("an invalid job was inserted")
	}
	if spans := named(recorder, "insert mail"); len(spans) != 1 || spans[0].Status().Code != codes.Error {
		t.Errorf("the refused insert is %+v", spans)
	}
	if _, err := pawltest.Pool(t, client).Exec(t.Context(), `select pawl.insert('note', '{}')`); err != nil {
		t.Fatal(err)
	}
	pawltest.RunOne(t, client, mux)
	if runs := named(recorder, "run note"); len(runs) != 1 || runs[0].Parent().IsValid() {
		t.Errorf("the run is %+v", runs)
	}
	if spans := named(recorder, "claim"); len(spans) != 1 || len(spans[0].Links()) != 0 {
		t.Errorf("the claim is %+v", spans)
	}
}

// sums are the values of an instrument by its attributes.
func sums(t *testing.T, reader *metric.ManualReader) map[string]map[string]float64 {
	t.Helper()
	var read metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &read); err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string]float64{}
	for _, m := range read.ScopeMetrics[0].Metrics {
		points := map[string]float64{}
		all[m.Name] = points
		key := func(set attribute.Set) string { return set.Encoded(attribute.DefaultEncoder()) }
		switch data := m.Data.(type) {
		case metricdata.Gauge[float64]:
			for _, p := range data.DataPoints {
				points[key(p.Attributes)] = p.Value
			}
		case metricdata.Sum[int64]:
			for _, p := range data.DataPoints {
				points[key(p.Attributes)] = float64(p.Value)
			}
		case metricdata.Histogram[float64]:
			for _, p := range data.DataPoints {
				points[key(p.Attributes)] = float64(p.Count)
			}
		default:
			t.Errorf("%s is a %T", m.Name, data)
		}
	}
	return all
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	reader := metric.NewManualReader()
	telemetry := pawlotel.Telemetry{MeterProvider: metric.NewMeterProvider(metric.WithReader(reader))}
	client, mux, _ := traced(t, telemetry)
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[note]) error {
		if job.Args.N == 0 {
			return pawl.RetryAfter(time.Hour, errors.New("boom"))
		}
		return nil
	})
	registration, err := telemetry.Observe(client)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if _, err := client.Insert(t.Context(), pawl.JobSpec{Args: note{i}, Queue: "mail"}); err != nil {
			t.Fatal(err)
		}
	}
	pawltest.Drain(t, client, mux, "mail")
	got := sums(t, reader)
	for name, want := range map[string]map[string]float64{
		"pawl.client.inserted":  {"messaging.destination.name=mail": 3},
		"pawl.client.completed": {"messaging.destination.name=mail": 2},
		"pawl.client.failed":    {"messaging.destination.name=mail": 1},
		"pawl.queue.jobs":       {"messaging.destination.name=mail,pawl.state=scheduled": 1, "messaging.destination.name=mail,pawl.state=ready": 0},
		"pawl.queue.archived":   {"messaging.destination.name=mail": 2},
		"pawl.job.wait":         {"messaging.destination.name=mail,pawl.kind=note": 3},
		"pawl.job.run":          {"messaging.destination.name=mail,pawl.kind=note,pawl.outcome=complete": 2, "messaging.destination.name=mail,pawl.kind=note,pawl.outcome=retry": 1},
		"pawl.workers":          {"": 0},
	} {
		for key, value := range want {
			if have, ok := got[name][key]; !ok || have != value {
				t.Errorf("%s{%s} is %v, want %v", name, key, got[name], value)
			}
		}
	}
	if in := got["pawl.queue.inserted"]["messaging.destination.name=mail"]; in <= 0 || in > 3.0/60 {
		t.Errorf("%v inserted a second, want 3 in a minute", in)
	}

	documented := map[string]bool{}
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range regexp.MustCompile("`(pawl\\.[a-z_.]+)`").FindAllStringSubmatch(string(text), -1) {
		documented[match[1]] = true
	}
	for name := range got {
		if !documented[name] {
			t.Errorf("docs/metrics.md has no %s", name)
		}
	}
	if err := registration.Unregister(); err != nil {
		t.Fatal(err)
	}
	if n := len(sums(t, reader)["pawl.queue.jobs"]); n != 0 {
		t.Errorf("%d points after Unregister", n)
	}
}

func Example() {
	var pool *pgxpool.Pool           // From pgxpool.New.
	var telemetry pawlotel.Telemetry // OpenTelemetry's global providers.
	client, err := pawl.New(pool, pawl.Config{
		InsertMiddleware: []func(context.Context, []pawl.JobSpec, func(context.Context) error) error{
			telemetry.InsertMiddleware(),
		},
		OnClaim: telemetry.OnClaim,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := new(pawl.Mux)
	mux.Use(telemetry.Middleware())
	registration, err := telemetry.Observe(client)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer registration.Unregister()
	fmt.Println(client.Run(context.Background(), mux, pawl.RunnerConfig{}))
}
