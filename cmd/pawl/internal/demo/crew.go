package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pawlhq/pawl"
)

// stopTimeout is the time that a worker has to end.
const stopTimeout = 4 * time.Second

// crew holds the worker processes and what they reported.
type crew struct {
	workers []*crewWorker

	mu       sync.Mutex
	report   func(format string, args ...any)
	started  map[pawl.ID]bool
	waits    map[string][]time.Duration // By kind: the times from insert to start.
	rescued  int
	killedAt time.Time
	warnings []string
}

type crewWorker struct {
	name     string
	cmd      *exec.Cmd
	stdin    io.Closer // The worker ends when it is closed.
	errors   bytes.Buffer
	ended    chan struct{}
	stopping atomic.Bool
	killed   atomic.Bool
	running  map[pawl.ID]bool // Guarded by crew.mu.
}

// startCrew starts workers. If a worker ends on its own, it calls fail.
func startCrew(fail context.CancelCauseFunc, url string, names ...string) (*crew, error) {
	c := &crew{
		report: func(string, ...any) {}, started: map[pawl.ID]bool{}, waits: map[string][]time.Duration{},
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("demo: find the path of pawl, to start workers: %w", err)
	}
	for _, name := range names {
		w := &crewWorker{name: name, ended: make(chan struct{}), running: map[pawl.ID]bool{}}
		w.cmd = exec.Command(self, "demo", "worker", "--name", name)
		w.cmd.Env = append(os.Environ(), URLVariable+"="+url)
		w.cmd.Stderr = &w.errors
		if err := c.start(w, fail); err != nil {
			return nil, errors.Join(fmt.Errorf("demo: start worker %s: %w", name, err), c.stop())
		}
	}
	return c, nil
}

func (c *crew) start(w *crewWorker, fail context.CancelCauseFunc) error {
	stdin, err := w.cmd.StdinPipe()
	if err != nil {
		return err
	}
	w.stdin = stdin
	stdout, err := w.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := w.cmd.Start(); err != nil {
		return err
	}
	c.workers = append(c.workers, w)
	go c.read(w, stdout, fail)
	return nil
}

// reportTo sets the function that reports a rescue.
func (c *crew) reportTo(say func(format string, args ...any)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report = say
}

func (w *crewWorker) pid() int { return w.cmd.Process.Pid }

// read handles the events of a worker until it ends.
func (c *crew) read(w *crewWorker, stdout io.Reader, fail context.CancelCauseFunc) {
	defer close(w.ended)
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) == nil { // The last line of a killed worker may be incomplete.
			c.handle(w, e)
		}
	}
	err := w.cmd.Wait()
	if !w.killed.Load() && !w.stopping.Load() {
		fail(fmt.Errorf("worker %s ended unexpectedly: %w\n%s", w.name, err, bytes.TrimSpace(w.errors.Bytes())))
	}
}

func (c *crew) handle(w *crewWorker, e event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e.What {
	case "start":
		w.running[e.Job] = true
		if e.Waited > 0 && !c.started[e.Job] {
			c.waits[e.Kind] = append(c.waits[e.Kind], e.Waited)
		}
		c.started[e.Job] = true
	case "end":
		delete(w.running, e.Job)
	case "rescued":
		if e.Jobs > 0 {
			c.rescued += e.Jobs
			c.report("Worker %s rescued %d jobs, %.1f s after the kill; they run again.",
				w.name, e.Jobs, time.Since(c.killedAt).Seconds())
		}
	case "warning":
		c.warnings = append(c.warnings, "worker "+w.name+": "+e.Text)
		if extra := len(c.warnings) - 20; extra > 0 {
			c.warnings = slices.Delete(c.warnings, 0, extra)
		}
	}
}

// minRunning is the number of jobs that a worker runs at least when it is killed, so that there are jobs to rescue.
const minRunning = 12

// kill kills a worker while it runs jobs.
func (c *crew) kill(ctx context.Context, index int) error {
	w := c.workers[index]
	for {
		c.mu.Lock()
		if len(w.running) >= minRunning {
			w.killed.Store(true)
			c.killedAt = time.Now()
			err := w.cmd.Process.Kill()
			c.mu.Unlock()
			if err != nil {
				return fmt.Errorf("kill worker %s: %w", w.name, err)
			}
			<-w.ended
			return nil
		}
		c.mu.Unlock()
		if !pause(ctx, 2*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
}

// stop ends all workers and waits for them.
func (c *crew) stop() error {
	var stuck []string
	for _, w := range c.workers {
		w.stopping.Store(true)
		w.stdin.Close()
	}
	limit := time.After(stopTimeout)
	for _, w := range c.workers {
		select {
		case <-w.ended:
		case <-limit:
			stuck = append(stuck, w.name)
			_ = w.cmd.Process.Kill()
			<-w.ended
			limit = time.After(0)
		}
	}
	if stuck != nil {
		return fmt.Errorf("demo: workers %s did not end within %v and were killed", strings.Join(stuck, ", "), stopTimeout)
	}
	return nil
}

// warningsError returns the workers' last warnings, which explain a failure.
func (c *crew) warningsError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.warnings) == 0 {
		return nil
	}
	return errors.New("the workers' last warnings:\n  " + strings.Join(c.warnings, "\n  "))
}
