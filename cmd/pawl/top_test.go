package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/creack/pty"
	"github.com/hinshun/vt10x"
	"golang.org/x/term"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/localpg"
	"github.com/pawlhq/pawl/internal/pgtest"
)

func TestTopLines(t *testing.T) {
	t.Parallel()
	look := topLook{At: time.Date(2027, 1, 31, 8, 0, 0, 0, time.UTC), LiveWorkers: 2, StaleWorkers: 1, XminAge: 3 * time.Hour, Archived: 12_345_678}
	if got := strings.Join(look.lines(0, 0), "\n"); !strings.Contains(got, "08:00:00 UTC") || strings.Count(got, "none") != 3 {
		t.Errorf("nothing there:\n%s", got)
	}
	for i := range 40 {
		name := fmt.Sprintf("größe %d %s", i, strings.Repeat("日本", i))
		look.Queues = append(look.Queues, topQueue{Queue: name, Ready: 1 << i, Estimated: i%2 == 0, In: 0.25, Oldest: time.Hour})
		look.Workers = append(look.Workers, topWorker{Name: "host:" + name, State: "ready", Stale: i == 3, Age: time.Minute, Queues: []string{name, "x\x1b[31m"}})
		look.Running = append(look.Running, topJob{ID: pawl.ID(i), Kind: "kind\nof", Queue: name, Percent: i, Message: "going"})
	}
	for _, size := range [][2]int{{0, 0}, {200, 50}, {80, 24}, {80, 23}, {40, 12}, {20, 8}, {10, 5}, {5, 3}, {1, 1}} {
		width, height := size[0], size[1]
		lines := look.lines(width, height)
		for _, line := range lines {
			if width > 0 && ansi.StringWidth(line) > width || strings.ContainsAny(line, "\n\x1b") {
				t.Errorf("%d columns: %q has %d", width, line, ansi.StringWidth(line))
			}
		}
		if height > 5 && len(lines) > height {
			t.Errorf("%d lines: %d are written", height, len(lines))
		}
		text := strings.Join(lines, "\n")
		if height >= 6 && !strings.Contains(text, "größe") {
			t.Errorf("%dx%d: no queue:\n%s", width, height, text)
		}
		if height >= 23 || height == 0 {
			for _, want := range []string{"QUEUE", "WORKER", "JOB", "größe 0", "stale"} {
				if !strings.Contains(text, want) {
					t.Errorf("%dx%d: %q is missing:\n%s", width, height, want, text)
				}
			}
		}
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	for n, want := range map[float64]string{
		0: "0", 7: "7", 0.25: "0.2", 12.34: "12.3", 999: "999", 999.6: "1.0k", 1000: "1.0k", 12_345: "12.3k", 123_456: "123k", 999_999: "1.0M", 5e9: "5.0G", 7e12: "7T",
	} {
		if got := short(n); got != want {
			t.Errorf("%v is %s, want %s", n, got, want)
		}
	}
}

// A person at a terminal: sees jobs come and go in place, makes the window small, and gets the terminal back as it was.
func TestTopOnATerminal(t *testing.T) {
	t.Parallel()
	pgtest.Ensure(migrate)
	url := pgtest.Database(t)
	pool := pgtest.Pool(t, url)
	client, err := pawl.New(pool, pawl.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, quit := range []string{"q", "\x03", "SIGTERM"} {
		command := again(t, t.TempDir(), "pawl", "top", "--interval", "100ms")
		command.Env = append(os.Environ(), "PAWL_DSN="+url, "TERM=xterm")
		command.SysProcAttr = nil // pty.Start makes a session of it.
		screen, master, slave := onTerminal(t, command)
		before, err := term.GetState(int(slave.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		shows := func(text string) {
			t.Helper()
			pgtest.Wait(t, "the screen to show "+text, func() bool { return strings.Contains(screen.text(), text) })
		}
		shows("QUEUE")
		shows("q: quit")
		if _, err := client.Insert(t.Context(), pawl.JobSpec{Args: pawl.Raw("a", nil), Queue: "müll" + quit[:1]}); err != nil {
			t.Fatal(err)
		}
		shows("müll")
		pty.Setsize(master, &pty.Winsize{Rows: 10, Cols: 40})
		screen.resize(40, 10)
		shows("QUEUE")
		if quit == "SIGTERM" {
			command.Process.Signal(os.Interrupt)
		} else if _, err := master.WriteString(quit); err != nil {
			t.Fatal(err)
		}
		err = command.Wait()
		if quit == "SIGTERM" {
			if command.ProcessState.ExitCode() != exitInterrupted {
				t.Errorf("after a signal: %v", err)
			}
		} else if err != nil {
			t.Errorf("after %q: %v", quit, err)
		}
		after, err := term.GetState(int(slave.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		if *before != *after {
			t.Errorf("after %q the terminal is not as it was", quit)
		}
		pgtest.Wait(t, "the screen to be as before", func() bool { return !strings.Contains(screen.text(), "QUEUE") })
	}
}

// screen is what a terminal shows.
type screen struct {
	mu sync.Mutex
	vt vt10x.Terminal
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.vt.String()
}

func (s *screen) resize(columns, rows int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.vt.Resize(columns, rows)
}

// onTerminal gives a command a terminal of 80x24.
func onTerminal(t *testing.T, command *exec.Cmd) (*screen, *os.File, *os.File) {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	pty.Setsize(master, &pty.Winsize{Rows: 24, Cols: 80})
	command.Stdin, command.Stdout, command.Stderr = slave, slave, slave
	s := &screen{vt: vt10x.New(vt10x.WithSize(80, 24))}
	var around sync.WaitGroup
	around.Go(func() {
		buffer := make([]byte, 4096)
		for {
			n, err := master.Read(buffer)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.vt.Write(buffer[:n])
			s.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		if command.Process != nil {
			command.Process.Kill()
		}
		slave.Close()
		master.Close()
		around.Wait()
	})
	return s, master, slave
}

// Who watches goes on through an outage.
func TestWatchThroughAnOutage(t *testing.T) {
	pgtest.Ensure(migrate)
	t.Parallel()
	server := pgtest.Server(t)
	url := server.URL("postgres")
	if err := migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"queue", "create", "mail", "--dsn", url}, strings.NewReader(""), io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out, log running
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"queue", "metrics", "mail", "--watch=100ms", "--format", "csv", "--dsn", url}, strings.NewReader(""), &out, &log)
	}()
	looks := func() int { return strings.Count(out.logged(), "mail,") }
	pgtest.Wait(t, "the first looks", func() bool { return looks() > 1 })
	if err := server.StopServer(t.Context(), localpg.Immediate); err != nil {
		t.Fatal(err)
	}
	pgtest.Wait(t, "the outage to be told", func() bool { return strings.Contains(log.logged(), "looking again every 100ms") })
	if err := server.StartServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := looks()
	pgtest.Wait(t, "more looks", func() bool { return looks() > before })
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("when it was told to stop: %v", err)
	}
}
