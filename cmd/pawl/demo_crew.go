package main

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

// workerStops is how long a worker may take to end when told.
const workerStops = 4 * time.Second

// crew is the worker processes, and what they told.
type crew struct {
	workers []*crewWorker

	mu       sync.Mutex
	tell     func(format string, args ...any)
	started  map[pawl.ID]bool
	waits    map[string][]time.Duration // Insert to start, by kind.
	rescued  int
	killedAt time.Time
	warnings []string
}

type crewWorker struct {
	name     string
	cmd      *exec.Cmd
	orders   io.Closer // Its standard input.
	errors   bytes.Buffer
	ended    chan struct{}
	stopping atomic.Bool
	killed   atomic.Bool
	holds    map[pawl.ID]bool // Under crew.mu.
}

// startCrew starts workers. One that ends by itself fails the demo.
func startCrew(fail context.CancelCauseFunc, url string, names ...string) (*crew, error) {
	c := &crew{tell: func(string, ...any) {}, started: map[pawl.ID]bool{}, waits: map[string][]time.Duration{}}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("demo: find the own program, to start workers: %w", err)
	}
	for _, name := range names {
		w := &crewWorker{name: name, ended: make(chan struct{}), holds: map[pawl.ID]bool{}}
		w.cmd = exec.Command(self, "demo", "worker", "--name", name)
		w.cmd.Env = append(os.Environ(), demoURLEnv+"="+url)
		w.cmd.Stderr = &w.errors
		orders, err := w.cmd.StdinPipe()
		if err == nil {
			w.orders = orders
			var told io.ReadCloser
			if told, err = w.cmd.StdoutPipe(); err == nil {
				if err = w.cmd.Start(); err == nil {
					c.workers = append(c.workers, w)
					go c.follow(w, told, fail)
				}
			}
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("demo: start worker %s: %w", name, err), c.stop())
		}
	}
	return c, nil
}

// tellBy says where a rescue is told of.
func (c *crew) tellBy(say func(format string, args ...any)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tell = say
}

func (w *crewWorker) pid() int { return w.cmd.Process.Pid }

// follow reads what a worker tells until it ends.
func (c *crew) follow(w *crewWorker, told io.Reader, fail context.CancelCauseFunc) {
	defer close(w.ended)
	for lines := bufio.NewScanner(told); lines.Scan(); {
		var e demoEvent
		if json.Unmarshal(lines.Bytes(), &e) == nil { // The last line of a killed worker may be half a line.
			c.hear(w, e)
		}
	}
	err := w.cmd.Wait()
	if !w.killed.Load() && !w.stopping.Load() {
		fail(fmt.Errorf("worker %s ended by itself: %w\n%s", w.name, err, bytes.TrimSpace(w.errors.Bytes())))
	}
}

func (c *crew) hear(w *crewWorker, e demoEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e.What {
	case "start":
		w.holds[e.Job] = true
		if e.Waited > 0 && !c.started[e.Job] {
			c.waits[e.Kind] = append(c.waits[e.Kind], e.Waited)
		}
		c.started[e.Job] = true
	case "end":
		delete(w.holds, e.Job)
	case "rescued":
		if e.Jobs > 0 {
			c.rescued += e.Jobs
			c.tell("Worker %s rescued %d jobs, %.1f s after the kill; they run again.", w.name, e.Jobs, time.Since(c.killedAt).Seconds())
		}
	case "warning":
		c.warnings = append(c.warnings, "worker "+w.name+": "+e.Text)
		if extra := len(c.warnings) - 20; extra > 0 {
			c.warnings = slices.Delete(c.warnings, 0, extra)
		}
	}
}

// inHand is how many jobs a worker holds when it is killed, at least: there should be something to rescue.
const inHand = 12

// kill ends a worker the hard way while it has work in hand.
func (c *crew) kill(ctx context.Context, index int) error {
	w := c.workers[index]
	for {
		c.mu.Lock()
		if len(w.holds) >= inHand {
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
		w.orders.Close()
	}
	limit := time.After(workerStops)
	for _, w := range c.workers {
		select {
		case <-w.ended:
		case <-limit:
			stuck = append(stuck, w.name)
			w.cmd.Process.Kill()
			<-w.ended
			limit = time.After(0)
		}
	}
	if stuck != nil {
		return fmt.Errorf("demo: workers %s did not end within %v and were killed", strings.Join(stuck, ", "), workerStops)
	}
	return nil
}

// complaints are what the workers warned of, to explain a failure.
func (c *crew) complaints() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.warnings) == 0 {
		return nil
	}
	return errors.New("the workers' last warnings:\n  " + strings.Join(c.warnings, "\n  "))
}
