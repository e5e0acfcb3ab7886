package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/internal/localpg"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// running is a pawl that serves HTTP in this process.
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
func serving(ctx context.Context, t *testing.T, args ...string) *running {
	t.Helper()
	r := &running{err: make(chan error, 1)}
	go func() { r.err <- run(ctx, args, strings.NewReader(""), io.Discard, r) }()
	pgtest.Wait(t, "pawl to serve HTTP", func() bool {
		select {
		case err := <-r.err:
			t.Fatalf("pawl ended: %v\n%s", err, r.logged())
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

// pawl serve starts without a schema, rescues jobs, survives an outage of the database, and stops. One process goes
// through all of this, so the test is one function.
func TestServe(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	url := server.URL("postgres")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	r := serving(ctx, t, "serve", "--listen", "127.0.0.1:0", "--dsn", url)
	becomes := func(status int, reason string) {
		t.Helper()
		pgtest.Wait(t, "/readyz to say: "+reason, func() bool {
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
		args = append([]string{"health", "--listen", address}, args...)
		return run(t.Context(), args, strings.NewReader(""), io.Discard, io.Discard)
	}
	if err := health(); err != nil {
		t.Errorf("pawl health: %v", err)
	}
	err := health("--ready")
	if err == nil || !strings.Contains(err.Error(), "not installed") || exit.Code(err) != exit.CodeFailure {
		t.Errorf("pawl health --ready: %v, exit code %d", err, exit.Code(err))
	}

	if err := migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	becomes(http.StatusOK, "ok")
	if err := health("--ready"); err != nil {
		t.Errorf("pawl health --ready: %v", err)
	}

	// Maintenance runs: a job whose lease has expired becomes ready again.
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
	status, body := r.get(t, "/metrics")
	for _, want := range []string{
		`pawl_queue_jobs{queue="default",state="ready"} 1`, "pawl_stats_up 1", "go_goroutines",
	} {
		if status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("/metrics is %d, want %s in:\n%s", status, want, body)
		}
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
		t.Errorf("after the stop: %v", err)
	}
	if err := health(); err == nil {
		t.Error("pawl health succeeds after the end of pawl serve")
	}
}

// An idle connection does not delay the stop. With --no-maintenance, pawl serve runs no maintenance.
func TestServeWithoutMaintenance(t *testing.T) {
	pgtest.Ensure(migrate)
	t.Parallel()
	url := pgtest.Database(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	pool := pgtest.Pool(t, url, func(c *pgxpool.Config) { c.MaxConns = 2 })
	client, err := pawl.New(pool, pawl.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Insert(t.Context(), pawl.Raw("note", []byte("{}"))); err != nil {
		t.Fatal(err)
	}
	if jobs, err := client.Claim(t.Context(), "default", 1, time.Millisecond); err != nil || len(jobs) != 1 {
		t.Fatal(jobs, err)
	}
	r := serving(ctx, t, "serve", "--no-maintenance", "--listen", "127.0.0.1:0", "--dsn", url)
	if status, body := r.get(t, "/readyz"); status != http.StatusOK {
		t.Errorf("/readyz is %d %q", status, body)
	}
	idle, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	// Maintenance would have rescued the job by then: it looks for expired leases every second.
	time.Sleep(4 * time.Second)
	var ready int
	if err := pool.QueryRow(t.Context(), "select count(*) from pawl.ready").Scan(&ready); err != nil || ready != 0 {
		t.Errorf("maintenance ran: %d jobs were rescued, %v", ready, err)
	}
	stop()
	select {
	case err := <-r.err:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(15 * time.Second):
		t.Error("pawl serve did not end within 15 s")
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
		t.Errorf("with a taken address: %v", err)
	}
	err = run(t.Context(), []string{"serve", "--listen", "8484"}, strings.NewReader(""), io.Discard, io.Discard)
	if _, wrong := errors.AsType[exit.UsageError](err); !wrong {
		t.Errorf("with a port alone: %v", err)
	}
}
