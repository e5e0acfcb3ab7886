package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/localpg"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/pawlhq/pawl/pawltest"
)

// install is a client on a server that may be stopped.
func install(t *testing.T) (*pawl.Client, *localpg.Server) {
	t.Helper()
	server := pgtest.Server(t)
	pool := pgtest.Pool(t, pgtest.Reach(t, server), func(c *pgxpool.Config) { c.MaxConns = 4 })
	client, err := pawl.New(pool, pawl.Config{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return client, server
}

func open(t *testing.T, client *pawl.Client, path string, most int) *Spool {
	t.Helper()
	spool, err := Open(client, path, most)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { spool.Close() })
	return spool
}

func insert(t *testing.T, spool *Spool, page string, wantSpooled bool) {
	t.Helper()
	spooled, err := spool.Insert(t.Context(), pawl.JobSpec{Args: Visit{page}})
	if err != nil || spooled != wantSpooled {
		t.Fatalf("insert of %s: spooled %v, %v; want %v", page, spooled, err, wantSpooled)
	}
}

func replay(t *testing.T, spool *Spool, want int) {
	t.Helper()
	if n, err := spool.Replay(t.Context()); err != nil || n != want {
		t.Fatalf("replayed %d, %v; want %d", n, err, want)
	}
}

func stop(t *testing.T, server *localpg.Server) {
	t.Helper()
	if err := server.StopServer(t.Context(), localpg.Fast); err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, client *pawl.Client, server *localpg.Server) {
	t.Helper()
	if err := server.StartServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	pool := pawltest.Pool(t, client)
	pool.Reset() // Or each connection from before costs one more failure.
	pgtest.Wait(
		t,
		"the server to be reached",
		func() bool { return pool.Ping(t.Context()) == nil },
	) // A pooler looks for it once a second.
}

// visited runs all visits and returns their pages.
func visited(t *testing.T, client *pawl.Client) string {
	t.Helper()
	var pages []string
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Visit]) error {
		pages = append(pages, job.Args.Page)
		return nil
	})
	pawltest.Drain(t, client, mux, "default")
	return strings.Join(pages, " ")
}

func TestOutage(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"memory", "file"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			client, server := install(t)
			path := ""
			if where == "file" {
				path = filepath.Join(t.TempDir(), "spool")
			}
			spool := open(t, client, path, 2)
			insert(t, spool, "a", false)
			stop(t, server)
			insert(t, spool, "b", true)
			insert(t, spool, "c", true)
			if _, err := spool.Insert(t.Context(), pawl.JobSpec{Args: Visit{"d"}}); !errors.Is(err, ErrFull) {
				t.Errorf("into a full spool: %v", err)
			}
			if n, err := spool.Replay(t.Context()); n != 0 || err == nil {
				t.Errorf("replayed %d without a server, %v", n, err)
			}
			start(t, client, server)
			replay(t, spool, 2)
			insert(t, spool, "e", false)
			if got := visited(t, client); got != "a b c e" {
				t.Errorf("visited %s", got)
			}
			if n := spool.Waiting(); n != 0 {
				t.Errorf("%d jobs wait", n)
			}
			if path != "" {
				if info, err := os.Stat(path); err != nil || info.Size() != 0 {
					t.Errorf("the file is %v, %v", info, err)
				}
			}
		})
	}
}

// A crash between a replay and the cut of the file, or between an insert and its answer, inserts nothing twice: not
// even when the jobs are done.
func TestReplayAfterCrash(t *testing.T) {
	t.Parallel()
	client, server := install(t)
	path := filepath.Join(t.TempDir(), "spool")
	spool := open(t, client, path, 10)
	stop(t, server)
	insert(t, spool, "a", true)
	insert(t, spool, "b", true)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	start(t, client, server)
	replay(t, spool, 2)
	if got := visited(t, client); got != "a b" {
		t.Errorf("visited %s", got)
	}
	// The file as it was, and a line that a crash cut off.
	if err := os.WriteFile(path, append(before, `{"key":"spool:X","kind":"vi`...), 0o600); err != nil {
		t.Fatal(err)
	}
	spool = open(t, client, path, 10)
	replay(t, spool, 2)
	if got := visited(t, client); got != "" {
		t.Errorf("visited again: %s", got)
	}
	pawltest.Advance(t, client, Once+time.Minute)
	if err := os.WriteFile(path, before, 0o600); err != nil {
		t.Fatal(err)
	}
	replay(t, open(t, client, path, 10), 2)
	if got := visited(t, client); got != "a b" {
		t.Errorf("after Once: visited %s; the documentation says that it inserts twice", got)
	}

	if err := os.WriteFile(path, []byte("no job\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(client, path, 10); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("a file with something else: %v", err)
	}
}

// What is wrong with a job is not an outage.
func TestRefused(t *testing.T) {
	t.Parallel()
	client := pawltest.New(t)
	spool := open(t, client, "", 10)
	for name, job := range map[string]pawl.JobSpec{
		"no args": {}, "constrained": {Args: Visit{}, Unique: pawl.Unique{Key: "k"}}, "invalid": {Args: Visit{}, MaxAttempts: -1},
	} {
		if spooled, err := spool.Insert(t.Context(), job); spooled || err == nil {
			t.Errorf("%s: spooled %v, %v", name, spooled, err)
		}
	}
	refusing, err := pawl.New(
		pawltest.Pool(t, client),
		pawl.Config{InsertMiddleware: []func(context.Context, []pawl.JobSpec, func(context.Context) error) error{
			func(context.Context, []pawl.JobSpec, func(context.Context) error) error {
				return errors.New("not today")
			},
		}},
	)
	if err != nil {
		t.Fatal(err)
	}
	if spooled, err := open(t, refusing, "", 10).Insert(t.Context(), pawl.JobSpec{Args: Visit{}}); spooled || err == nil {
		t.Errorf("refused by middleware: spooled %v, %v", spooled, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if spooled, err := spool.Insert(ctx, pawl.JobSpec{Args: Visit{}}); spooled || !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that has gone: spooled %v, %v", spooled, err)
	}
	spool.waiting = []spooled{
		{Key: "spool:x", Kind: "visit", MaxAttempts: -1},
		{Key: "spool:y", Kind: "visit", Args: []byte(`{"Page":"good"}`)},
	}
	if n, err := spool.Replay(t.Context()); n != 2 || err == nil || !strings.Contains(fmt.Sprint(err), "given up") {
		t.Errorf("replay beside a bad job: %d, %v", n, err)
	}
	if got := visited(t, client); got != "good" {
		t.Errorf("visited %s", got)
	}
}

// All of a job comes back from the file.
func TestKept(t *testing.T) {
	t.Parallel()
	client, server := install(t)
	path := filepath.Join(t.TempDir(), "spool")
	stop(t, server)
	job := pawl.JobSpec{
		Args: Visit{"a"}, Data: []byte{0, 1}, Queue: "q", Channel: "c", Priority: 3, Delay: time.Hour, MaxAttempts: 4,
		Backoff: pawl.Backoff{Base: time.Minute}, Fingerprint: "f", Headers: map[string]string{"h": "v"},
	}
	if spooled, err := open(t, client, path, 10).Insert(t.Context(), job); err != nil || !spooled {
		t.Fatal(spooled, err)
	}
	start(t, client, server)
	replay(t, open(t, client, path, 10), 1)
	got := pawltest.RequireInserted[Visit](t, client, pawl.Filter{Queue: "q", Channel: "c", Fingerprint: "f"})
	if got.Args.Page != "a" || string(got.Data) != "\x00\x01" || got.Priority != 3 || got.MaxAttempts != 4 || got.Headers["h"] != "v" ||
		got.State != pawlstate.Scheduled ||
		time.Until(got.RunAt) < 50*time.Minute {
		t.Errorf("it came back as %+v of %s", got.JobInfo, got.JobInfo.Args)
	}
}
