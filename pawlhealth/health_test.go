package pawlhealth_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/localpg"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlhealth"
)

// get asks a handler over a real connection.
func get(t *testing.T, server *httptest.Server, method, path string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(request)
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

// A database from nothing over a fitting schema, a newer one, an outage and back: what the probes say at each step.
func TestHandler(t *testing.T) {
	t.Parallel()
	database := pgtest.Server(t)
	pool := pgtest.Pool(t, database.URL("postgres"), func(c *pgxpool.Config) { c.MaxConns = 2 })
	client, err := pawl.New(pool, pawl.Config{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(pawlhealth.Handler(client))
	defer server.Close()
	exec := func(sql string) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	expect := func(step string, ready int, reason string) {
		t.Helper()
		if status, body := get(t, server, "GET", "/readyz"); status != ready || !strings.Contains(body, reason) {
			t.Errorf("%s: /readyz is %d %q; want %d and %q in it", step, status, body, ready, reason)
		}
		if status, body := get(t, server, "GET", "/healthz"); status != http.StatusOK || body != "ok\n" {
			t.Errorf("%s: /healthz is %d %q; the process is alive", step, status, body)
		}
	}

	expect("nothing installed", http.StatusServiceUnavailable, "not installed")
	if err := client.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect("migrated", http.StatusOK, "ok")
	var version int
	if err := pool.QueryRow(t.Context(), "select max(version) from pawl.migration").Scan(&version); err != nil {
		t.Fatal(err)
	}
	if version > 1 { // Below version 1 nothing is installed, as tested above.
		exec(fmt.Sprintf("delete from pawl.migration where version = %d", version))
		expect("an old schema", http.StatusServiceUnavailable, "older than this binary's")
		exec(fmt.Sprintf("insert into pawl.migration (version, name) values (%d, 'again')", version))
	}
	exec("insert into pawl.migration (version, name) values (1000, 'of a later binary')")
	expect("a newer schema, which serves old binaries too", http.StatusOK, "ok")

	exec("alter database postgres set default_transaction_read_only = on")
	pool.Reset()
	expect("a read-only server", http.StatusServiceUnavailable, "read-only")
	exec("set transaction read write; alter database postgres reset default_transaction_read_only")
	pool.Reset()
	expect("writable again", http.StatusOK, "ok")

	if err := database.StopServer(t.Context(), localpg.Immediate); err != nil {
		t.Fatal(err)
	}
	expect("the database is away", http.StatusServiceUnavailable, "cannot be used")
	if err := database.StartServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect("it is back", http.StatusOK, "ok")

	// Both are for probes: GET and HEAD, nothing else, and nothing else is there.
	if status, body := get(t, server, "HEAD", "/readyz"); status != http.StatusOK || body != "" {
		t.Errorf("HEAD /readyz is %d %q", status, body)
	}
	if status, _ := get(t, server, "POST", "/readyz"); status != http.StatusMethodNotAllowed {
		t.Errorf("POST /readyz is %d", status)
	}
	if status, _ := get(t, server, "GET", "/"); status != http.StatusNotFound {
		t.Errorf("GET / is %d", status)
	}
}

// A pool whose connections are all taken is not ready, and the probe ends when who asked gives up.
func TestHandlerPoolTaken(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.Server(t).URL("postgres"), func(c *pgxpool.Config) { c.MaxConns = 1 })
	client, err := pawl.New(pool, pawl.Config{})
	if err != nil {
		t.Fatal(err)
	}
	taken, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Release()
	impatient, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	answer := httptest.NewRecorder()
	pawlhealth.Handler(client).ServeHTTP(answer, httptest.NewRequestWithContext(impatient, "GET", "/readyz", nil))
	if answer.Code != http.StatusServiceUnavailable || !strings.Contains(answer.Body.String(), "deadline exceeded") {
		t.Errorf("/readyz is %d %q; want 503 and that there was no connection in time", answer.Code, answer.Body)
	}
}
