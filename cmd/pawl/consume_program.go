package main

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
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/pawlhq/pawl"
)

// consumption is how a program is run for a job.
type consumption struct {
	program  []string
	input    stdinValue
	result   bool          // Standard output is kept with the job, and else goes to output.
	snooze   time.Duration // After exitSnooze.
	grace    time.Duration // From SIGTERM to SIGKILL.
	output   io.Writer
	errors   io.Writer // For the programs' standard error.
	log      *slog.Logger
	draining context.Context // Ends when consume is to stop and the drain timeout is over.
}

// What exit codes of a program mean beside 0: completed, and the rest: failed.
const (
	exitSnooze = 75 // EX_TEMPFAIL of sysexits.h.
	exitDead   = 100
	exitCancel = 101
)

const (
	mostResult = 1 << 20 // Bytes; the library takes no more.
	mostStderr = 3000    // Bytes of its end that are kept as an error.
	mostHeader = 100_000 // Bytes of a variable; Linux takes no 128 KiB.
)

var (
	errTimeout = errors.New("timed out")
	errDrained = errors.New("stopped at the end of the drain")
)

// handle has the program run for jobs of a kind.
func (c *consumption) handle(mux *pawl.Mux, options pawl.KindOptions) {
	if c.result {
		pawl.HandleResult(mux, func(ctx context.Context, job *pawl.Job[pawl.RawArgs]) (json.RawMessage, error) {
			var output bounded
			err := c.run(ctx, job.JobInfo, &output)
			if err == nil && output.beyond {
				err = fmt.Errorf("the result, standard output, is beyond %d bytes", mostResult)
			}
			return resultOf(output.text), err
		}, options)
		return
	}
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[pawl.RawArgs]) error { return c.run(ctx, job.JobInfo, c.output) }, options)
}

// run runs the program for a job and says what becomes of it.
func (c *consumption) run(ctx context.Context, job *pawl.JobInfo, stdout io.Writer) error {
	input, err := c.input.of(job)
	if err != nil {
		return err
	}
	end := &lastBytes{most: mostStderr}
	command := exec.Command(c.program[0], c.program[1:]...)
	command.Env = append(os.Environ(), facts(job)...)
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), stdout, io.MultiWriter(end, c.errors)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(command.SysProcAttr)
	command.WaitDelay = time.Second // For what it left running and has its standard error.
	began := time.Now()
	if err := command.Start(); err != nil {
		c.log.Error("pawl: the program cannot be started, its job is put off", "job", job, "for", c.snooze, "error", err)
		return pawl.Snooze(c.snooze)
	}
	group := -command.Process.Pid
	ended := make(chan struct{})
	stopped := make(chan error, 1)
	go func() { stopped <- c.stop(ctx, group, ended) }()
	err = command.Wait()
	close(ended)
	syscall.Kill(group, syscall.SIGKILL) // What it left running.
	why := <-stopped
	c.log.Debug("pawl: program ended", "job", job, "how", command.ProcessState, "after", time.Since(began))

	if command.ProcessState == nil {
		return fmt.Errorf("wait for the program: %w", err)
	}
	failure := failed(command.ProcessState.String(), end)
	switch code := command.ProcessState.ExitCode(); {
	case code == 0:
		return nil
	case code == exitSnooze:
		return pawl.Snooze(c.snooze)
	case code == exitDead:
		return pawl.Dead(failure)
	case code == exitCancel:
		return pawl.Cancel(failure)
	case errors.Is(why, errDrained) || errors.Is(why, pawl.ErrShutdown):
		return pawl.Snooze(0)
	case why != nil:
		return fmt.Errorf("%w: %w", why, failure)
	}
	return failure
}

// stop has a group of processes end when ctx does, or the drain, and says why; nil: it ended before.
func (c *consumption) stop(ctx context.Context, group int, ended <-chan struct{}) (why error) {
	grace := c.grace
	select {
	case <-ended:
		return nil
	case <-c.draining.Done():
		why = errDrained
	case <-ctx.Done():
		switch why = context.Cause(ctx); {
		case errors.Is(why, pawl.ErrTimeout):
			why = errTimeout
		case errors.Is(why, pawl.ErrShutdown):
			grace = min(grace, 700*time.Millisecond) // The worker was stopped from elsewhere, and gives the job back in a second.
		}
	}
	syscall.Kill(group, syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		syscall.Kill(group, syscall.SIGKILL)
	}
	return why
}

// failed is how a program ended, and the end of what it said.
func failed(how string, end *lastBytes) error {
	if said := end.String(); said != "" {
		how += ": " + said
	}
	return errors.New(how)
}

// facts are variables of the environment. All are set, so that none is somebody else's.
func facts(job *pawl.JobInfo) []string {
	headers := []byte("{}")
	if len(job.Headers) > 0 {
		headers, _ = json.Marshal(job.Headers)
	}
	if len(headers) > mostHeader {
		headers = nil
	}
	due := job.RunAt
	if due.IsZero() {
		due = job.CreatedAt
	}
	batch := ""
	if job.Batch != 0 {
		batch = fmt.Sprint(job.Batch)
	}
	return []string{
		"PAWL_JOB_ID=" + fmt.Sprint(job.ID),
		"PAWL_KIND=" + job.Kind,
		"PAWL_QUEUE=" + job.Queue,
		"PAWL_CHANNEL=" + job.Channel,
		"PAWL_PRIORITY=" + strconv.Itoa(job.Priority),
		"PAWL_ATTEMPT=" + strconv.Itoa(job.Attempt),
		"PAWL_MAX_ATTEMPTS=" + strconv.Itoa(job.MaxAttempts),
		"PAWL_CREATED_AT=" + job.CreatedAt.UTC().Format(time.RFC3339Nano),
		"PAWL_RUN_AT=" + due.UTC().Format(time.RFC3339Nano),
		"PAWL_FINGERPRINT=" + job.Fingerprint,
		"PAWL_UNIQUE_KEY=" + job.UniqueKey,
		"PAWL_HEADERS=" + string(headers),
		"PAWL_BATCH=" + batch,
		"PAWL_WORKER=" + job.Worker,
	}
}

// resultOf is what a program wrote, as JSON; nothing is null.
func resultOf(output []byte) json.RawMessage {
	output = bytes.TrimSpace(output)
	switch {
	case len(output) == 0:
		return json.RawMessage("null")
	case json.Valid(output):
		return output
	}
	text := strings.ReplaceAll(strings.ToValidUTF8(string(output), "\ufffd"), "\x00", "\ufffd")
	b, _ := toJSON(text)
	return b
}

// stdinValue is a flag: what of a job is a program's standard input.
type stdinValue string

func (*stdinValue) allowed() []string { return []string{"args", "data", "job"} }
func (*stdinValue) Type() string      { return "word" }

func (v *stdinValue) String() string {
	if *v == "" {
		return "args"
	}
	return string(*v)
}

func (v *stdinValue) Set(text string) error {
	for _, word := range v.allowed() {
		if text == word {
			*v = stdinValue(text)
			return nil
		}
	}
	return fmt.Errorf("%q: want one of %s", text, strings.Join(v.allowed(), ", "))
}

// of is a job's part the flag names. JSON is a line, for programs that read lines.
func (v stdinValue) of(job *pawl.JobInfo) (text []byte, err error) {
	switch v {
	case "data":
		return job.Data, nil
	case "job":
		text, err = jsonOf(job)
	default:
		text = slices.Clone(job.Args)
	}
	if len(text) > 0 {
		text = append(text, '\n')
	}
	return text, err
}

// bounded keeps no more than mostResult bytes.
type bounded struct {
	text   []byte
	beyond bool
}

func (b *bounded) Write(some []byte) (int, error) {
	fit := min(len(some), mostResult-len(b.text))
	b.text = append(b.text, some[:fit]...)
	b.beyond = b.beyond || fit < len(some)
	return len(some), nil
}

// lastBytes keeps the end of what is written.
type lastBytes struct {
	most int
	text []byte
	cut  bool
}

func (l *lastBytes) Write(some []byte) (int, error) {
	l.text = append(l.text, some...)
	if over := len(l.text) - l.most; over > 0 {
		l.text = append(l.text[:0], l.text[over:]...)
		l.cut = true
	}
	return len(some), nil
}

func (l *lastBytes) String() string {
	text := l.text
	for l.cut && len(text) > 0 && !utf8.RuneStart(text[0]) {
		text = text[1:]
	}
	said := strings.TrimSpace(string(text))
	if l.cut {
		said = "… " + said
	}
	return said
}

// lockedWriter is for several writers.
type lockedWriter struct {
	mu sync.Mutex
	to io.Writer
}

func (w *lockedWriter) Write(some []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(some)
}
