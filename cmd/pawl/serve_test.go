package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/localpg"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// running is a pawl that serves, in this process.
type running struct {
	url string
	err chan error

	mu  sync.Mutex
	log bytes.Buffer
}

func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(p)
}

func (r *running) logged() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

var servingAt = regexp.MustCompile(`msg="pawl: serving HTTP" address=(\S+)`)

// serving runs pawl with args that make it serve, until ctx ends.
func serving(t *testing.T, ctx context.Context, args ...string) *running {
	t.Helper()
	r := &running{err: make(chan error, 1)}
	go func() { r.err <- run(ctx, args, strings.NewReader(""), io.Discard, r) }()
	pgtest.Wait(t, "it to serve", func() bool {
		select {
		case err := <-r.err:
			t.Fatalf("it ended: %v\n%s", err, r.logged())
		default:
		}
		at := servingAt.FindStringSubmatch(r.logged())
		if at != nil {
			r.url = "http://" + at[1]
		}
		return at != nil
	})
	return r
}

func (r *running) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	response, err := http.Get(r.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(content)
}

// From a database without a schema over a rescue and an outage to a graceful end.
func TestServe(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	url := server.URL("postgres")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	r := serving(t, ctx, "serve", "--listen", "127.0.0.1:0", "--dsn", url)
	becomes := func(status int, reason string) {
		t.Helper()
		pgtest.Wait(t, "readiness to be told: "+reason, func() bool {
			got, body := r.get(t, "/readyz")
			return got == status && strings.Contains(body, reason)
		})
		if status, _ := r.get(t, "/healthz"); status != http.StatusOK {
			t.Errorf("/healthz is %d", status)
		}
	}
	becomes(http.StatusServiceUnavailable, "not installed")
	health := func(args ...string) error {
		address := strings.TrimPrefix(r.url, "http://")
		return run(t.Context(), append([]string{"health", "--listen", address}, args...), strings.NewReader(""), io.Discard, io.Discard)
	}
	if err := health(); err != nil {
		t.Errorf("pawl health: %v", err)
	}
	if err := health("--ready"); err == nil || !strings.Contains(err.Error(), "not installed") || exitCode(err) != exitFailure {
		t.Errorf("pawl health --ready: %v, exit code %d", err, exitCode(err))
	}

	if err := migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	becomes(http.StatusOK, "ok")
	if err := health("--ready"); err != nil {
		t.Errorf("pawl health --ready: %v", err)
	}

	// The chores are done: a job whose holder is gone becomes ready again.
	pool := pgtest.Pool(t, url, func(c *pgxpool.Config) { c.MaxConns = 2 })
	client, err := pawl.New(pool, pawl.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Insert(t.Context(), pawl.Raw("note", []byte("{}"))); err != nil {
		t.Fatal(err)
	}
	lose := func() {
		t.Helper()
		jobs, err := client.Claim(t.Context(), "default", 1, time.Millisecond)
		if err != nil || len(jobs) != 1 {
			t.Fatal(jobs, err)
		}
		pgtest.Wait(t, "the job to be rescued", func() bool {
			var ready int
			if err := pool.QueryRow(t.Context(), "select count(*) from pawl.ready").Scan(&ready); err != nil {
				t.Fatal(err)
			}
			return ready == 1
		})
	}
	lose()
	if status, body := r.get(t, "/metrics"); status != http.StatusOK || !strings.Contains(body, `pawl_queue_jobs{queue="default",state="ready"} 1`) || !strings.Contains(body, "pawl_stats_up 1") || !strings.Contains(body, "go_goroutines") {
		t.Errorf("/metrics is %d:\n%s", status, body)
	}

	if err := server.StopServer(t.Context(), localpg.Immediate); err != nil {
		t.Fatal(err)
	}
	becomes(http.StatusServiceUnavailable, "cannot be used")
	if status, body := r.get(t, "/metrics"); status != http.StatusOK || !strings.Contains(body, "pawl_stats_up 0") {
		t.Errorf("without a database /metrics is %d:\n%s", status, body)
	}
	if err := server.StartServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	becomes(http.StatusOK, "ok")
	pool.Reset()
	lose()

	stop()
	if err := <-r.err; err != nil {
		t.Errorf("after it was told to stop: %v", err)
	}
	if err := health(); err == nil {
		t.Error("pawl health is content with what has ended")
	}
}

// What is under way when it is told to stop is answered; who only serves rescues nobody.
func TestServeWithoutChores(t *testing.T) {
	pgtest.Ensure(migrate)
	t.Parallel()
	url := pgtest.Database(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	r := serving(t, ctx, "serve", "--no-chores", "--listen", "127.0.0.1:0", "--dsn", url)
	if status, body := r.get(t, "/readyz"); status != http.StatusOK {
		t.Errorf("/readyz is %d %q", status, body)
	}
	// An idle connection does not keep it from ending.
	idle, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	stop()
	select {
	case err := <-r.err:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(15 * time.Second):
		t.Error("it did not end within 15 s")
	}
	if log := r.logged(); strings.Contains(log, "maintenance task") {
		t.Errorf("it did maintenance:\n%s", log)
	}
}

func TestServeAddressTaken(t *testing.T) {
	pgtest.Ensure(migrate)
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	args := []string{"serve", "--listen", taken.Addr().String(), "--dsn", pgtest.Database(t)}
	err = run(t.Context(), args, strings.NewReader(""), io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "listen (--listen)") {
		t.Errorf("on a taken address it said %v", err)
	}
	err = run(t.Context(), []string{"serve", "--listen", "8484"}, strings.NewReader(""), io.Discard, io.Discard)
	if _, wrong := errors.AsType[usageError](err); !wrong {
		t.Errorf("of a port alone it said %v", err)
	}
}

func TestReachable(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:8484": "127.0.0.1:8484",
		":8484":          "127.0.0.1:8484",
		"0.0.0.0:8484":   "127.0.0.1:8484",
		"[::]:8484":      "127.0.0.1:8484",
		"[::1]:8484":     "[::1]:8484",
		"pawl.local:80":  "pawl.local:80",
	} {
		if got := reachable(address); got != want {
			t.Errorf("who listens at %s is asked at %s, want %s", address, got, want)
		}
	}
}

// A worker serves its probes and its own figures where it is told to, until it has drained.
func TestConsumeListens(t *testing.T) {
	pgtest.Ensure(migrate)
	t.Parallel()
	url := pgtest.Database(t)
	pool := pgtest.Pool(t, url, func(c *pgxpool.Config) { c.MaxConns = 2 })
	client, err := pawl.New(pool, pawl.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	hold := filepath.Join(t.TempDir(), "hold")
	r := serving(t, ctx, "consume", "default", "--listen", "127.0.0.1:0", "--dsn", url, "--", "sh", "-c", `touch "$0"; while [ -e "$0" ]; do sleep 0.02; done`, hold)
	if status, body := r.get(t, "/readyz"); status != http.StatusOK {
		t.Errorf("/readyz is %d %q", status, body)
	}
	begin := func() {
		t.Helper()
		if _, err := client.Insert(t.Context(), pawl.Raw("note", []byte("{}"))); err != nil {
			t.Fatal(err)
		}
		pgtest.Wait(t, "the program to run", func() bool { _, err := os.Stat(hold); return err == nil })
	}
	end := func() {
		t.Helper()
		if err := os.Remove(hold); err != nil {
			t.Fatal(err)
		}
	}
	begin()
	end()
	var body string
	pgtest.Wait(t, "the run to be told", func() bool {
		_, body = r.get(t, "/metrics")
		return strings.Contains(body, `pawl_client_run_seconds_count{queue="default"} 1`)
	})
	if strings.Contains(body, "pawl_queue_jobs") {
		t.Error("/metrics of a worker has the installation's figures")
	}
	begin()
	stop()
	if status, _ := r.get(t, "/healthz"); status != http.StatusOK {
		t.Errorf("while it drains /healthz is %d", status)
	}
	end()
	if err := <-r.err; err != nil {
		t.Errorf("after it was told to stop: %v", err)
	}
}
