package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/cmd/pawl/internal/demo"
	"github.com/pawlhq/pawl/internal/localpg"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// The demo starts its own program again, so the tests need the real program.
func buildDemo(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "pawl")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

func demoServer(t *testing.T) string {
	t.Helper()
	server, err := localpg.Start(t.Context(), localpg.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return pgtest.Reach(t, server)
}

// demoSchemas returns the schemas that are left in the database.
func demoSchemas(t *testing.T, url string) (names []string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), "select nspname::text from pg_namespace where nspname like 'pawl%'")
	if err != nil {
		t.Fatal(err)
	}
	if names, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		t.Fatal(err)
	}
	return names
}

func TestDemo(t *testing.T) {
	program, url := buildDemo(t), demoServer(t)

	t.Run("runs", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, program, "demo", "--dsn", url, "--scale", "0.2").CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, want := range []string{
			`Worker A killed \(SIGKILL\) in the middle of its jobs\.`,
			`Worker B rescued \d+ jobs, \d\.\d s after the kill`,
			`(?m)^ +all +(\d+) `,
			`(?m)^ok: every invoice was written exactly once: 200 orders, 200 invoices, 200 distinct, 0 missing, 0 twice$`,
			`(?m)^ok: no job was lost: (\d+) inserted = \d+ completed \+ \d+ dead$`,
			`(?m)^ok: \d+ jobs of rolled back transactions: 0 exist$`,
			`(?m)^ok: verify finds no violation$`,
		} {
			if !regexp.MustCompile(want).Match(out) {
				t.Errorf("the output does not match %s", want)
			}
		}
		if t.Failed() {
			t.Logf("%s", out)
		}
		if left := demoSchemas(t, url); len(left) > 0 {
			t.Errorf("schemas left: %v", left)
		}
	})

	t.Run("interrupted", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), program, "demo", "--dsn", url, "--scale", "0.2")
		out := &untilText{text: " 1 s  email", seen: make(chan struct{})}
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-out.seen:
		case <-time.After(20 * time.Second):
			t.Error("no job finished within 20 s")
		}
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		err := cmd.Wait()
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok || exit.ExitCode() != 1 || !strings.Contains(out.all.String(), "interrupted") {
			t.Errorf("after ^C: %v\n%s", err, out.all.String())
		}
		if left := demoSchemas(t, url); len(left) > 0 {
			t.Errorf("schemas left: %v", left)
		}
	})

	t.Run("not its schema", func(t *testing.T) {
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		if _, err := conn.Exec(t.Context(), "create schema pawl_demo"); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), program, "demo", "--dsn", url).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "no demo made") {
			t.Errorf("%v\n%s", err, out)
		}
		if left := demoSchemas(t, url); len(left) != 1 {
			t.Errorf("schemas left: %v, want the one that existed", left)
		}
	})
}

// untilText reports when a text has been written. exec writes from one goroutine, because Stdout and Stderr are the
// same.
type untilText struct {
	text string
	all  bytes.Buffer
	seen chan struct{} // Closed when the text has been written.
	done bool
}

func (u *untilText) Write(p []byte) (int, error) {
	u.all.Write(p)
	if !u.done && strings.Contains(u.all.String(), u.text) {
		u.done = true
		close(u.seen)
	}
	return len(p), nil
}

func TestDemoWorkerAlone(t *testing.T) {
	t.Setenv(demo.URLVariable, "")
	err := run(t.Context(), []string{"demo", "worker"}, nil, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "pawl demo") {
		t.Errorf("a worker without a demo returned %v", err)
	}
}
