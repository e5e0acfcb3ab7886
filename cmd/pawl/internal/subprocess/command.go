// Package subprocess runs a program for each job.
package subprocess

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/pawlhq/pawl"
)

// Command describes how the program runs.
type Command struct {
	Args     []string // The program and its arguments.
	Input    Input
	Result   bool          // Keep standard output as the job's result. Otherwise it goes to Stdout.
	Snooze   time.Duration // How long a job is put off if the program exits with 75.
	Grace    time.Duration // From SIGTERM to SIGKILL.
	Stdout   io.Writer
	Stderr   io.Writer
	Log      *slog.Logger
	Draining context.Context // Ends when running programs must stop.
}

// Exit codes of a program that mean something else than a completed or a failed attempt.
const (
	exitSnooze = 75 // EX_TEMPFAIL of sysexits.h.
	exitDead   = 100
	exitCancel = 101
)

var (
	errTimeout = errors.New("timed out")
	errDrained = errors.New("stopped at the end of the drain")
)

// Handle registers the command for the jobs of a kind.
func (c *Command) Handle(mux *pawl.Mux, options pawl.KindOptions) {
	if !c.Result {
		pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[pawl.RawArgs]) error {
			return c.run(ctx, job.JobInfo, c.Stdout)
		}, options)
		return
	}
	pawl.HandleResult(mux, func(ctx context.Context, job *pawl.Job[pawl.RawArgs]) (json.RawMessage, error) {
		var stdout limitedBuffer
		err := c.run(ctx, job.JobInfo, &stdout)
		if err == nil && stdout.exceeded {
			err = fmt.Errorf("standard output, the result, has more than %d bytes", maxResult)
		}
		return resultOf(stdout.text), err
	}, options)
}

// run runs the program for a job and returns the result of the attempt.
func (c *Command) run(ctx context.Context, job *pawl.JobInfo, stdout io.Writer) error {
	input, err := c.Input.of(job)
	if err != nil {
		return err
	}
	tail := &tailBuffer{limit: maxStderr}
	command := exec.Command(c.Args[0], c.Args[1:]...)
	command.Env = append(os.Environ(), environment(job)...)
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), stdout, io.MultiWriter(tail, c.Stderr)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	killWithParent(command.SysProcAttr)
	command.WaitDelay = time.Second // A process that the program left behind may keep its standard error open.
	began := time.Now()
	if err := command.Start(); err != nil {
		c.Log.Error("pawl: cannot start the program; the job is put off", "job", job, "for", c.Snooze, "error", err)
		return pawl.Snooze(c.Snooze)
	}
	group := -command.Process.Pid
	ended := make(chan struct{})
	stopped := make(chan error, 1)
	go func() { stopped <- c.stop(ctx, group, ended) }()
	err = command.Wait()
	close(ended)
	_ = syscall.Kill(group, syscall.SIGKILL) // Processes that the program left behind.
	cause := <-stopped
	c.Log.Debug("pawl: program ended", "job", job, "state", command.ProcessState, "after", time.Since(began))

	if command.ProcessState == nil {
		return fmt.Errorf("wait for the program: %w", err)
	}
	return c.result(command.ProcessState, tail.String(), cause)
}

// result translates how the program ended. The cause is nil if nothing stopped the program.
func (c *Command) result(state *os.ProcessState, stderr string, cause error) error {
	failure := errors.New(state.String())
	if stderr != "" {
		failure = fmt.Errorf("%s: %s", state, stderr)
	}
	switch code := state.ExitCode(); {
	case code == 0:
		return nil
	case code == exitSnooze:
		return pawl.Snooze(c.Snooze)
	case code == exitDead:
		return pawl.Dead(failure)
	case code == exitCancel:
		return pawl.Cancel(failure)
	case errors.Is(cause, errDrained) || errors.Is(cause, pawl.ErrShutdown):
		return pawl.Snooze(0)
	case cause != nil:
		return fmt.Errorf("%w: %w", cause, failure)
	}
	return failure
}

// stop ends a process group when ctx or the drain ends. It returns the cause, or nil if the program ended first.
func (c *Command) stop(ctx context.Context, group int, ended <-chan struct{}) (cause error) {
	grace := c.Grace
	select {
	case <-ended:
		return nil
	case <-c.Draining.Done():
		cause = errDrained
	case <-ctx.Done():
		switch cause = context.Cause(ctx); {
		case errors.Is(cause, pawl.ErrTimeout):
			cause = errTimeout
		case errors.Is(cause, pawl.ErrShutdown):
			// Another process stopped the worker, which releases the job in a second.
			grace = min(grace, 700*time.Millisecond)
		}
	}
	_ = syscall.Kill(group, syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		_ = syscall.Kill(group, syscall.SIGKILL)
	}
	return cause
}
