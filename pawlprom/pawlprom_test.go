package pawlprom_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlprom"
	"github.com/pawlhq/pawl/pawltest"
)

type note struct {
	N int `json:"n"`
}

func (note) Kind() string { return "note" }

// worked is a client that has inserted, completed, failed and left jobs.
func worked(t *testing.T) *pawl.Client {
	t.Helper()
	client := pawltest.New(t)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[note]) error {
		if job.Args.N == 0 {
			return pawl.RetryAfter(time.Hour, errors.New("boom"))
		}
		return nil
	})
	for i := range 3 {
		insert(t, client, pawl.JobSpec{Args: note{i}, Queue: "mail"})
	}
	pawltest.Drain(t, client, mux, "mail")
	for i := range 2 {
		insert(t, client, pawl.JobSpec{Args: note{i}, Queue: "mail", Channel: "acme"})
		insert(t, client, pawl.JobSpec{Args: note{i}, Queue: "other", Delay: time.Hour})
	}
	return client
}

func insert(t *testing.T, client *pawl.Client, job pawl.JobSpec) {
	t.Helper()
	if _, err := client.Insert(t.Context(), job); err != nil {
		t.Fatal(err)
	}
}

func TestCollect(t *testing.T) {
	t.Parallel()
	client := worked(t)
	c := pawlprom.NewCollector(client, pawlprom.Options{})
	want := `
		# HELP pawl_queue_jobs Jobs of the queue by state: reserved, waiting, scheduled, ready, running, dead. Exact up to a bound, then an estimate.
		# TYPE pawl_queue_jobs gauge
		pawl_queue_jobs{queue="mail",state="dead"} 0
		pawl_queue_jobs{queue="mail",state="ready"} 2
		pawl_queue_jobs{queue="mail",state="reserved"} 0
		pawl_queue_jobs{queue="mail",state="running"} 0
		pawl_queue_jobs{queue="mail",state="scheduled"} 1
		pawl_queue_jobs{queue="mail",state="waiting"} 0
		pawl_queue_jobs{queue="other",state="dead"} 0
		pawl_queue_jobs{queue="other",state="ready"} 0
		pawl_queue_jobs{queue="other",state="reserved"} 0
		pawl_queue_jobs{queue="other",state="running"} 0
		pawl_queue_jobs{queue="other",state="scheduled"} 2
		pawl_queue_jobs{queue="other",state="waiting"} 0
		# HELP pawl_queue_archived_jobs Completed and cancelled jobs of the queue that are still kept. An estimate in a large archive.
		# TYPE pawl_queue_archived_jobs gauge
		pawl_queue_archived_jobs{queue="mail"} 2
		pawl_queue_archived_jobs{queue="other"} 0
		# HELP pawl_client_inserted_jobs_total Jobs that this process inserted.
		# TYPE pawl_client_inserted_jobs_total counter
		pawl_client_inserted_jobs_total{queue="mail"} 5
		pawl_client_inserted_jobs_total{queue="other"} 2
		# HELP pawl_client_completed_jobs_total Jobs that this process completed.
		# TYPE pawl_client_completed_jobs_total counter
		pawl_client_completed_jobs_total{queue="mail"} 2
		pawl_client_completed_jobs_total{queue="other"} 0
		# HELP pawl_client_failed_attempts_total Attempts that failed in this process.
		# TYPE pawl_client_failed_attempts_total counter
		pawl_client_failed_attempts_total{queue="mail"} 1
		pawl_client_failed_attempts_total{queue="other"} 0
		# HELP pawl_stats_up Whether the statements of this collection worked: 1 or 0.
		# TYPE pawl_stats_up gauge
		pawl_stats_up 1
	`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), "pawl_queue_jobs", "pawl_queue_archived_jobs", "pawl_client_inserted_jobs_total",
		"pawl_client_completed_jobs_total", "pawl_client_failed_attempts_total", "pawl_stats_up"); err != nil {
		t.Error(err)
	}
	problems, err := testutil.CollectAndLint(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	// The rate is of three completed jobs in a minute, or not quite.
	for name, want := range map[string]float64{"pawl_queue_inserted_per_second": 5, "pawl_queue_completed_per_second": 2, "pawl_queue_failed_per_second": 1} {
		if got := value(t, c, name, "mail"); got > want/60 || got < want/71 {
			t.Errorf("%s is %v, want %v in a minute", name, got, want)
		}
	}
	if n := testutil.CollectAndCount(c, "pawl_channel_jobs", "pawl_semaphore_permits"); n != 0 {
		t.Errorf("%d series of channels and semaphores that nobody asked for", n)
	}
	if age := value(t, c, "pawl_queue_newest_job_timestamp_seconds", "mail") - float64(time.Now().Unix()); age < -300 ||
		age > 300 {
		t.Errorf("the newest job is of %v s from now", age)
	}
}

// value is that of the series of a queue.
func value(t *testing.T, c prometheus.Collector, name, queue string) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			if len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == queue {
				return m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("there is no %s of queue %s", name, queue)
	return 0
}

func TestCollectOptions(t *testing.T) {
	t.Parallel()
	client := worked(t)
	own := pawlprom.NewCollector(client, pawlprom.Options{OwnOnly: true})
	if installation, client := testutil.CollectAndCount(own, "pawl_stats_up", "pawl_queue_jobs"), testutil.CollectAndCount(own, "pawl_client_wait_seconds"); installation != 0 ||
		client != 2 {
		t.Errorf("%d series of the installation and %d of this process", installation, client)
	}
	one := pawlprom.NewCollector(client, pawlprom.Options{Queues: []string{"mail"}, Channels: []string{"mail"}})
	if n := testutil.CollectAndCount(one, "pawl_queue_lag_seconds", "pawl_client_run_seconds"); n != 2 {
		t.Errorf("%d series of one queue", n)
	}
	want := `
		# HELP pawl_channel_jobs Jobs of the channel by state: reserved, scheduled, ready, running, dead. Exact up to a bound, then an estimate.
		# TYPE pawl_channel_jobs gauge
		pawl_channel_jobs{channel="",queue="mail",state="dead"} 0
		pawl_channel_jobs{channel="",queue="mail",state="ready"} 0
		pawl_channel_jobs{channel="",queue="mail",state="reserved"} 0
		pawl_channel_jobs{channel="",queue="mail",state="running"} 0
		pawl_channel_jobs{channel="",queue="mail",state="scheduled"} 1
		pawl_channel_jobs{channel="acme",queue="mail",state="dead"} 0
		pawl_channel_jobs{channel="acme",queue="mail",state="ready"} 2
		pawl_channel_jobs{channel="acme",queue="mail",state="reserved"} 0
		pawl_channel_jobs{channel="acme",queue="mail",state="running"} 0
		pawl_channel_jobs{channel="acme",queue="mail",state="scheduled"} 0
	`
	if err := testutil.CollectAndCompare(one, strings.NewReader(want), "pawl_channel_jobs"); err != nil {
		t.Error(err)
	}
}

// When the database is away, what the process counts is told still.
func TestCollectWithoutADatabase(t *testing.T) {
	t.Parallel()
	client := worked(t)
	pawltest.Pool(t, client).Close()
	c := pawlprom.NewCollector(client, pawlprom.Options{Logger: slog.New(slog.DiscardHandler)})
	want := `
		# HELP pawl_stats_up Whether the statements of this collection worked: 1 or 0.
		# TYPE pawl_stats_up gauge
		pawl_stats_up 0
		# HELP pawl_client_completed_jobs_total Jobs that this process completed.
		# TYPE pawl_client_completed_jobs_total counter
		pawl_client_completed_jobs_total{queue="mail"} 2
		pawl_client_completed_jobs_total{queue="other"} 0
	`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), "pawl_stats_up", "pawl_queue_jobs", "pawl_client_completed_jobs_total"); err != nil {
		t.Error(err)
	}
}

func TestHandler(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(pawlprom.Handler(worked(t), pawlprom.Options{}))
	defer server.Close()
	response, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response.Status, err)
	}
	for _, line := range []string{`pawl_queue_jobs{queue="other",state="scheduled"} 2`, `pawl_client_wait_seconds_count{queue="mail"} 3`, `pawl_client_run_seconds_bucket{queue="mail",le="86400"} 3`, `pawl_table_dead_rows{table="job"}`} {
		if !strings.Contains(string(text), line) {
			t.Errorf("%s is missing in\n%s", line, text)
		}
	}
}

// metrics are the names and labels of all there is.
func metrics() map[string][]string {
	c := pawlprom.NewCollector(nil, pawlprom.Options{})
	descs := make(chan *prometheus.Desc)
	go func() { c.Describe(descs); close(descs) }()
	found := map[string][]string{}
	told := regexp.MustCompile(`fqName: "([a-z_]+)".*variableLabels: \{(.*?)\}`)
	for d := range descs {
		match := told.FindStringSubmatch(d.String())
		found[match[1]] = strings.FieldsFunc(match[2], func(r rune) bool { return r == ',' })
	}
	return found
}

// Every query of the dashboard names metrics that exist, and labels they have.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../deploy/grafana/pawl.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard any
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	var queries []string
	var find func(v any)
	find = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, value := range v {
				if text, ok := value.(string); ok && (key == "expr" || key == "query") {
					queries = append(queries, text)
				}
				find(value)
			}
		case []any:
			for _, value := range v {
				find(value)
			}
		}
	}
	find(dashboard)
	have := metrics()
	used := map[string]bool{}
	metric := regexp.MustCompile(`\b(pawl_[a-z_]+)(?:\{([^}]*)\})?`)
	label := regexp.MustCompile(`([a-z_]+) *(?:=~|!~|!=|=)`)
	grouped := regexp.MustCompile(`\bby *\(([^)]*)\)`)
	for _, query := range queries {
		if query == "prometheus" {
			continue // The kind of a data source.
		}
		named := metric.FindAllStringSubmatch(query, -1)
		if len(named) == 0 {
			t.Errorf("no metric of ours in %s", query)
		}
		var labels []string
		for _, match := range named {
			name := match[1]
			for _, end := range []string{"_bucket", "_sum", "_count"} {
				if base := strings.TrimSuffix(name, end); strings.HasSuffix(base, "_seconds") && have[base] != nil &&
					strings.HasPrefix(base, "pawl_client_") {
					name = base
				}
			}
			if _, ok := have[name]; !ok {
				t.Errorf("there is no %s: %s", name, query)
			}
			used[name] = true
			labels = append([]string{"instance"}, have[name]...)
			for _, l := range label.FindAllStringSubmatch(match[2], -1) {
				if !slices.Contains(labels, l[1]) {
					t.Errorf("%s has no label %s: %s", name, l[1], query)
				}
			}
		}
		for _, match := range grouped.FindAllStringSubmatch(query, -1) {
			for l := range strings.SplitSeq(match[1], ",") {
				if l = strings.TrimSpace(l); l != "le" && !slices.Contains(labels, l) {
					t.Errorf("there is no label %s: %s", l, query)
				}
			}
		}
	}
	if len(queries) < 15 || len(used) < 15 {
		t.Errorf("%d queries of %d metrics: the dashboard was not read", len(queries), len(used))
	}
}

// docs/metrics.md has a row for every metric and none beyond.
func TestMetricsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, match := range regexp.MustCompile("(?m)^\\| `(pawl_[a-z_]+)`").FindAllStringSubmatch(string(text), -1) {
		documented[match[1]] = true
	}
	names := map[string]bool{}
	for name := range metrics() {
		names[name] = true
	}
	if !maps.Equal(documented, names) {
		t.Errorf("documented are %v,\nthere are %v", slices.Sorted(maps.Keys(documented)), slices.Sorted(maps.Keys(names)))
	}
}

func ExampleHandler() {
	var client *pawl.Client // From pawl.New.
	http.Handle("/metrics", pawlprom.Handler(client, pawlprom.Options{Channels: []string{"mail"}}))
	fmt.Println(http.ListenAndServe("localhost:9100", nil))
}

func ExampleNewCollector() {
	var client *pawl.Client // From pawl.New.
	// Beside the process's other metrics; a scrape of this process makes no statement.
	prometheus.MustRegister(pawlprom.NewCollector(client, pawlprom.Options{OwnOnly: true}))
}
