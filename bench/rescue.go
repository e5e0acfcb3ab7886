package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pawlhq/pawl"
)

// rescueHandler is how long a job of rescue takes: with it a runner on
// defaults does at most 6,400 a second, and a backlog is there all the time.
const rescueHandler = 5 * time.Millisecond

func rescueBacklog(c Config) int { return 100_000 + c.Held }

// runRescue kills a process that holds jobs and takes the time from there to
// the start of the last of them elsewhere, by a runner that has a backlog to
// work and the default heartbeat.
func runRescue(ctx context.Context, m *measurement) error {
	if len(m.Holder) == 0 {
		return errors.New("no command to start the process that is killed: set Config.Holder")
	}
	h, err := startHolder(ctx, m)
	if err != nil {
		return fmt.Errorf("process to be killed: %w", err)
	}
	defer h.kill()

	var killed atomic.Int64 // All in nanoseconds since base.
	base := time.Now()
	var first, last, again atomic.Int64
	rs, err := m.newRunners(ctx, func(id int64, _ int) error {
		if at := int64(time.Since(base)); h.held[id] {
			last.Store(max(at, last.Load())) // Racing handlers differ by microseconds.
			first.CompareAndSwap(0, at)
			if killed.Load() == 0 {
				return pawl.Dead(errors.New("ran while its holder lived"))
			}
			again.Add(1)
		}
		time.Sleep(rescueHandler)
		return nil
	})
	if err != nil {
		return err
	}
	defer rs.close()
	defer m.display.watch("worked", rs.succeeded.Load)()
	before, err := m.db.usage(ctx)
	if err != nil {
		return err
	}
	rs.run(ctx)
	time.Sleep(time.Second) // Until the runner is at work.
	killed.Store(int64(time.Since(base)))
	if err := h.kill(); err != nil {
		return fmt.Errorf("kill: %w", err)
	}
	err = until(ctx, "rerun", func() (int64, bool, error) {
		return rs.succeeded.Load(), again.Load() >= int64(len(h.held)), rs.broken()
	})
	if err != nil {
		return fmt.Errorf("%w; %d of %d held jobs have run again", err, again.Load(), len(h.held))
	}
	worked, elapsed := rs.succeeded.Load(), time.Since(rs.start)
	after, err := m.db.usage(ctx)
	if err != nil {
		return err
	}
	if worked >= m.inserted.Load() {
		return errors.New("the backlog was gone before the held jobs ran again: give fewer --runners or a lower --max")
	}
	if err := rs.stop(); err != nil {
		return err
	}
	m.result.finish(worked, elapsed, before, after)
	m.result.RescueFigures = &RescueFigures{
		Held:           len(h.held),
		SecondsToRerun: time.Duration(last.Load() - killed.Load()).Seconds(),
		SecondsToFirst: time.Duration(first.Load() - killed.Load()).Seconds(),
	}
	return nil
}

// holder is the process to be killed.
type holder struct {
	cmd  *exec.Cmd
	held map[int64]bool
	dead bool
}

// startHolder returns when the process holds its jobs.
func startHolder(ctx context.Context, m *measurement) (_ *holder, err error) {
	h := &holder{held: map[int64]bool{}, cmd: exec.Command(m.Holder[0], m.Holder[1:]...)}
	h.cmd.Stderr = os.Stderr
	in, err := h.cmd.StdinPipe() // Its end ends the process, whatever becomes of this one.
	if err != nil {
		return nil, err
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := h.cmd.Start(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			h.kill()
		}
	}()
	stop := context.AfterFunc(ctx, func() { h.cmd.Process.Kill() })
	defer stop()
	stuck := time.AfterFunc(30*time.Second, func() { h.cmd.Process.Kill() })
	defer stuck.Stop()
	// By its input and not as an argument: those are for everybody to see.
	if _, err := fmt.Fprintf(in, "%d %s\n", m.Held, m.db.url); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(out)
	for len(h.held) < m.Held {
		if !lines.Scan() {
			return nil, fmt.Errorf("it ended, or did not get on, when it held %d of %d jobs", len(h.held), m.Held)
		}
		id, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			return nil, err
		}
		h.held[id] = true
	}
	return h, nil
}

// kill gives the process no chance to say goodbye.
func (h *holder) kill() error {
	if h.dead {
		return nil
	}
	h.dead = true
	err := h.cmd.Process.Kill()
	h.cmd.Wait() // Its error is that it was killed.
	return err
}

// Hold is rescue's process to be killed: it claims jobs, writes their numbers
// and keeps them until in ends or it is killed. What to do it reads from in.
func Hold(ctx context.Context, in io.Reader, out io.Writer) error {
	input := bufio.NewReader(in)
	line, err := input.ReadString('\n')
	if err != nil {
		return fmt.Errorf("read what to hold: %w", err)
	}
	number, url, _ := strings.Cut(strings.TrimSpace(line), " ")
	n, err := strconv.Atoi(number)
	if err != nil {
		return fmt.Errorf("read what to hold: %w", err)
	}
	client, pool, err := newClient(ctx, url, runnerConns)
	if err != nil {
		return err
	}
	defer pool.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		io.Copy(io.Discard, input)
		cancel()
	}()
	held := make(chan int64, n)
	go func() {
		for id := range held {
			fmt.Fprintln(out, id)
		}
	}()
	mux := pawl.NewMux()
	pawl.Handle(mux, func(work context.Context, job *pawl.Job[jobArgs]) error {
		held <- job.Args.ID
		select {
		case <-ctx.Done():
		case <-work.Done():
		}
		return pawl.Snooze(0)
	})
	return client.Run(ctx, mux, pawl.RunnerConfig{Min: n, Max: n, Name: "bench-holder", NoChores: true})
}
