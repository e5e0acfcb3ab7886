package main

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/creack/pty"
	"github.com/hinshun/vt10x"
	"golang.org/x/term"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// On a terminal, top refreshes in place, adapts to a smaller window, and restores the terminal at the end.
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
		command := self(t, t.TempDir(), "pawl", "top", "--interval", "100ms")
		command.Env = append(os.Environ(), "PAWL_DSN="+url, "TERM=xterm")
		command.SysProcAttr = nil // The command keeps its process group, which owns the terminal.
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
		spec := pawl.JobSpec{Args: pawl.Raw("a", nil), Queue: "müll" + quit[:1]}
		if _, err := client.Insert(t.Context(), spec); err != nil {
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
			if command.ProcessState.ExitCode() != exit.CodeInterrupted {
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
			t.Errorf("after %q the terminal is not restored", quit)
		}
		pgtest.Wait(t, "the screen to be restored", func() bool { return !strings.Contains(screen.text(), "QUEUE") })
	}
}

// screen is the content of a terminal.
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

// onTerminal gives a command a terminal of 80 by 24 characters.
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
