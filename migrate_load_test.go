package pawl_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/localpg"
	migrator "github.com/pawlhq/pawl/internal/migrate"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// envUpgrade is the environment variable that makes TestMigrateUnderLoad a measurement: on a private server with
// fsync on, with a million rows, and with phases of this duration.
const envUpgrade = "PAWL_UPGRADE_PHASE"

// A stopwatch is a tracer that records the longest statement of each sort and phase.
type stopwatch struct {
	mu    sync.Mutex
	phase string
	count map[string]int
	most  map[string]time.Duration
}

type stopwatchKey struct{}

func (w *stopwatch) enter(phase string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.phase = phase
}

func (w *stopwatch) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	for _, sort := range []string{"insert", "claim", "complete"} {
		if strings.Contains(data.SQL, "pawl."+sort+"(") {
			return context.WithValue(ctx, stopwatchKey{}, running{sort, time.Now()})
		}
	}
	return ctx
}

func (w *stopwatch) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	if r, ok := ctx.Value(stopwatchKey{}).(running); ok {
		w.mu.Lock()
		defer w.mu.Unlock()
		name := w.phase + ", " + r.sort
		w.count[name]++
		w.most[name] = max(w.most[name], time.Since(r.since))
	}
}

type running struct {
	sort  string
	since time.Time
}

// TestMigrateUnderLoad migrates a kept schema to a made-up next one, which changes busy tables and builds indexes.
// Meanwhile workers and inserts run, and a transaction stays open that has inserted a job. No statement waits for
// long.
func TestMigrateUnderLoad(t *testing.T) {
	pgtest.NotHostile(t, "the version before did not work there")
	t.Parallel()
	phase, rows := 500*time.Millisecond, 5_000
	url := ""
	version := slices.Max(frozenVersions(t))
	if text := os.Getenv(envUpgrade); text != "" {
		var err error
		phase, err = time.ParseDuration(text)
		must(t, err)
		rows = 1_000_000
		server, err := localpg.Start(t.Context(), localpg.Config{Durable: true,
			Settings: map[string]string{"shared_buffers": "512MB", "max_wal_size": "4GB"}})
		must(t, err)
		defer server.Stop()
		url = server.URL("postgres")
		schema, err := os.ReadFile(filepath.Join(frozenFolder(version), "schema.sql"))
		must(t, err)
		runScript(t, connectTo(t, url), string(schema))
	} else {
		url = keptSchema(t, version)
	}
	watch := &stopwatch{count: map[string]int{}, most: map[string]time.Duration{}}
	pool := pgtest.Pool(t, url, func(c *pgxpool.Config) { c.MaxConns, c.ConnConfig.Tracer = 16, watch })
	exec(t, pool, effects)
	f := &fleet{ledger: &ledger{t: t, pool: pool, due: map[int]string{}}, texts: frozenStatements(t, version)}
	f.partitions()
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	client, err := pawl.New(pool, pawl.Config{Logger: logger})
	must(t, err)
	for range rows / 5000 {
		jobs := notes(5000)
		for i := range jobs {
			jobs[i].Delay, jobs[i].Queue = 1000*time.Hour, "later"
		}
		_, err := client.InsertMany(t.Context(), jobs)
		must(t, err)
	}

	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	for i := range 2 {
		all.Go(func() { f.produce(ctx) })
		all.Go(func() {
			if err := f.work(ctx, fmt.Sprint("old ", i)); err != nil {
				t.Errorf("a worker: %v", err)
			}
		})
		all.Go(func() {
			for ctx.Err() == nil {
				n := f.next()
				if _, err := client.Insert(context.WithoutCancel(ctx), pawl.JobSpec{Args: Work{N: n},
					Queue: "plain"}); err != nil {
					t.Errorf("an insert: %v", err)
					return
				}
				f.accept("new", n)
			}
		})
	}
	// last waits until a phase has lasted long enough and has seen statements of each sort.
	last := func(name string) {
		t.Helper()
		watch.enter(name)
		began := time.Now()
		pgtest.Wait(t, "statements "+name, func() bool {
			watch.mu.Lock()
			defer watch.mu.Unlock()
			return watch.count[name+", insert"] > 20 && watch.count[name+", claim"] > 20 && watch.count[name+", complete"] > 20
		})
		select {
		case <-time.After(phase - time.Since(began)):
		case <-ctx.Done():
		}
	}
	last("1 before")
	long := begin(t, pool)
	_, err = client.With(long).Insert(t.Context(), pawl.JobSpec{Args: Note{1}, Queue: "later", Delay: hour})
	must(t, err)
	last("2 beside a long transaction")

	migrated := make(chan error, 1)
	waits := make(chan string, 1000)
	go func() {
		migrated <- func() error {
			conn, err := pgx.Connect(ctx, url)
			if err != nil {
				return err
			}
			defer conn.Close(context.WithoutCancel(ctx))
			return nextRelease(t).Up(ctx, conn, "pawl", migrator.Options{After: []string{"select pawl.make_partitions(7);",
				"select pawl.grant_roles(false);"},
				Blocked: func(by string) { waits <- by }})
		}()
	}()
	last("3 migrate, blocked by it")
	pgtest.Wait(t, "the migrator to be blocked", func() bool { return len(waits) > 0 })
	select {
	case err := <-migrated:
		t.Fatalf("the migrator was not held up: %v", err)
	default:
	}
	watch.enter("4 migrate, when it has ended")
	commit(t, long)
	began := time.Now()
	must(t, <-migrated)
	t.Logf("%d attempts were blocked; it took %v from the end of the long transaction", len(waits),
		time.Since(began).Round(time.Millisecond))
	last("5 after")
	stop()
	all.Wait()

	watch.mu.Lock()
	defer watch.mu.Unlock()
	var slow time.Duration
	for sort, most := range watch.most {
		if strings.HasPrefix(sort, "1") || strings.HasPrefix(sort, "2") {
			slow = max(slow, most)
		}
	}
	for _, sort := range slices.Sorted(maps.Keys(watch.most)) {
		fmt.Fprintf(t.Output(), "%-40s %7d statements, longest %7.1f ms\n", sort, watch.count[sort],
			float64(watch.most[sort].Microseconds())/1000)
		// The machine may be slow, as the phases before the migration show. But no statement may wait for the long
		// transaction.
		if limit := 3*time.Second + 5*slow; watch.most[sort] > limit {
			t.Errorf("%s: one took %v, more than %v", sort, watch.most[sort], limit)
		}
	}
	checkInvariant(t, client)
}
