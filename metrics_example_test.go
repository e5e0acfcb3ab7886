package pawl_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
)

func ExampleClient_Stats() {
	err := func() error {
		stats, err := client.Stats(ctx)
		if err != nil {
			return err
		}
		for _, q := range stats.Queues {
			fmt.Println(q.Queue, q.Ready, q.Running, q.OldestReady, q.In, q.Out, q.Failed)
		}
		tables, err := client.Tables(ctx)
		if err != nil {
			return err
		}
		for _, t := range tables {
			fmt.Println(t.Name, t.Live, t.Dead, t.Bytes)
		}
		workers, err := client.Workers(ctx)
		if err != nil {
			return err
		}
		for _, w := range workers {
			fmt.Println(w.Name, w.State, w.Running, w.Stale, len(w.Stuck), w.Problem)
		}
		for _, t := range client.Counters() {
			fmt.Println(t.Queue, t.Completed, t.Waited.Sum/time.Duration(max(t.Waited.Count(), 1)))
		}
		return nil
	}()
	if err != nil {
		log.Fatal(err)
	}
}

// A handler's lines say of the job what the library's do.
func ExampleJobInfo_LogValue() {
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Welcome]) error {
		log := slog.With("job", job)
		// job.id=1 job.kind=welcome job.queue=default job.attempt=1 job.worker=… user=42
		log.InfoContext(ctx, "sent", "user", job.Args.UserID)
		return nil
	})
}

// The examples of docs/metrics.md are compiled: each is in one of these files.
func TestMetricsPage(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(text), "\t", "")
	}
	var sources []string
	for _, name := range []string{"metrics_example_test.go", "pawlprom/pawlprom_test.go", "pawlotel/pawlotel_test.go"} {
		sources = append(sources, read(name))
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(read("docs/metrics.md"), -1)
	if len(blocks) != 5 {
		t.Errorf("%d examples, want 5", len(blocks))
	}
	for _, block := range blocks {
		if !strings.Contains(strings.Join(sources, "\n"), block[1]) {
			t.Errorf("this is compiled nowhere:\n%s", block[1])
		}
	}
}
