// Package localpg runs private PostgreSQL servers, for tests, benchmarks and
// demonstrations, and PgBouncers in front of them.
//
// A server listens only on a Unix socket in a folder closed to other users
// (root aside), so that it can do without passwords. It lives no longer than
// the process that started it: a small shell process watches a pipe that the
// starting process holds, and when that closes, even because the process was
// killed, it stops the server and removes its folders.
package localpg

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// How to stop a server, as pg_ctl names it.
const (
	// Fast ends every session and shuts down cleanly.
	Fast = "fast"
	// Immediate aborts every process at once; the next start recovers as
	// after a crash.
	Immediate = "immediate"
)

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 30 * time.Second
	port         = "5432" // only part of a file name: there is no TCP socket
	maxSocketDir = 80     // bytes; a socket's whole path may have about 100
	logTail      = 4096   // bytes of the log quoted in an error
)

// supervise is what /bin/sh runs.
//
//go:embed supervise.sh
var supervise string

// signals maps a way of stopping to the signal for it.
var signals = map[string]string{Fast: "INT", Immediate: "QUIT"}

// private settings are not for callers to change: they keep others out.
var private = []string{
	"listen_addresses",
	"port",
	"unix_socket_directories",
	"unix_socket_permissions",
	"unix_socket_group",
	"hba_file",
	"data_directory",
}

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// Config says what server to start. The zero Config is a server for tests.
type Config struct {
	// BinDir is the folder with initdb and postgres; if empty, [Find] finds it.
	BinDir string

	// Dir is the folder for the data and the log. If empty, it is a new
	// temporary folder, removed on Stop: in memory (/dev/shm) where there is
	// room and Durable is false, else on disk. A folder given is made if it is
	// not there and kept on Stop, and data left in it by an earlier server is
	// served again.
	Dir string

	// Durable makes commits survive a crash of the computer, as PostgreSQL does
	// by default. If false, fsync, full_page_writes and synchronous_commit are
	// off, which is much faster.
	Durable bool

	// Settings are further server settings by name, such as "work_mem": "8MB".
	// They override the defaults made here, such as max_connections, 200. Those
	// that say where the server listens cannot be set.
	Settings map[string]string
}

// Server is a running private PostgreSQL server. Its methods may be called from
// several goroutines at once.
type Server struct {
	dir      string   // data, log and configuration
	socket   string   // folder of the socket
	folders  []string // what Stop removes
	existing bool     // whether the data was there before
	version  atomic.Pointer[string]
	pid      atomic.Int64
	poolers  atomic.Int64 // started so far

	mu      sync.Mutex // one request at a time
	cmd     *exec.Cmd  // the supervising shell
	orders  *os.File   // to it
	replies *os.File   // from it
	lines   *bufio.Reader
	turn    int
	stopped bool
	stopErr error
}

// Start starts a server and waits until it accepts connections, at most 30
// seconds or until ctx ends. The end of ctx after that does not stop the
// server; [Server.Stop] does, and so does the end of this process. When run by
// root, the server runs as user postgres, or else nobody. If Start fails,
// nothing it made remains, except in a folder given as Dir, and the error ends
// with the server's last log lines if it got that far.
func Start(ctx context.Context, config Config) (_ *Server, err error) {
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	bin, err := Find(config.BinDir)
	if err != nil {
		return nil, err
	}
	owner, err := serverOwner()
	if err != nil {
		return nil, err
	}
	if err := owner.reach(bin); err != nil {
		return nil, fmt.Errorf("use PostgreSQL's programs: %w; install them elsewhere, or run as an ordinary user", err)
	}

	s := &Server{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	if err := s.makeFolders(config, owner); err != nil {
		return nil, err
	}
	if err := s.supervise(bin, config, owner); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if !s.existing {
		if err := s.initialize(ctx, config.Durable); err != nil {
			return nil, err
		}
	}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// URL returns the URL of a database of this server, for its superuser,
// postgres. It is good for pgx and for libpq programs such as psql, and stays
// the same through restarts.
func (s *Server) URL(database string) string {
	query := url.Values{"host": {s.socket}, "port": {port}, "user": {"postgres"}}
	return (&url.URL{Scheme: "postgres", Path: "/" + database, RawQuery: query.Encode()}).String()
}

// Version returns the server's version, such as "17.2".
func (s *Server) Version() string {
	if v := s.version.Load(); v != nil {
		return *v
	}
	return ""
}

// Dir returns the folder with the server's data and its log, server.log.
func (s *Server) Dir() string { return s.dir }

// PID returns the process id of the postmaster, PostgreSQL's first process, or
// 0 while the server is stopped.
func (s *Server) PID() int { return int(s.pid.Load()) }

// Restart stops the server as mode says, [Fast] or [Immediate], and starts it
// again on the same data and at the same URL.
func (s *Server) Restart(ctx context.Context, mode string) error {
	if err := s.StopServer(ctx, mode); err != nil {
		return err
	}
	return s.StartServer(ctx)
}

// StopServer stops the server as mode says, [Fast] or [Immediate], and keeps
// its data for [Server.StartServer]. It returns when every process of the
// server has ended, within 30 seconds or when ctx's deadline passes. Stopping a
// stopped server does nothing.
func (s *Server) StopServer(ctx context.Context, mode string) error {
	signal, ok := signals[mode]
	if !ok {
		return fmt.Errorf("stop PostgreSQL: %q is no way to stop; use %q or %q", mode, Fast, Immediate)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if _, err := s.ask(ctx, "stop "+signal); err != nil {
		return fmt.Errorf("stop PostgreSQL: %w", err)
	}
	s.pid.Store(0)
	return nil
}

// StartServer starts the server again after [Server.StopServer], on the same
// data, and waits until it accepts connections, at most 30 seconds or until ctx
// ends. Starting a running server does nothing.
func (s *Server) StartServer(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return s.start(ctx)
}

// Stop stops the server for good and removes the folders made for it: its
// temporary ones, not one given as Dir. Calling it again does nothing and
// returns the same error.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return s.stopErr
	}
	s.stopped = true
	s.stopErr = s.stop()
	s.pid.Store(0)
	return s.stopErr
}

func (s *Server) stop() error {
	var failures []error
	if s.cmd != nil {
		// Closing the pipe is the order to end everything; the same happens
		// when this process dies. The replies end when the supervisor does.
		s.orders.Close()
		_ = s.replies.SetReadDeadline(time.Now().Add(stopTimeout))
		if _, err := io.Copy(io.Discard, s.lines); err != nil {
			_ = s.cmd.Process.Kill()
			failures = append(
				failures,
				fmt.Errorf("stop PostgreSQL: it did not stop within %v; look for process %d", stopTimeout, s.PID()),
			)
		}
		s.replies.Close()
		if err := s.cmd.Wait(); err != nil {
			failures = append(failures, fmt.Errorf("stop PostgreSQL: its supervising shell failed: %w", err), s.quit())
		}
	}
	// The supervisor has removed them unless it failed or never ran.
	for _, folder := range s.folders {
		if err := os.RemoveAll(folder); err != nil {
			failures = append(failures, fmt.Errorf("remove PostgreSQL's folder: %w; remove it by hand", err))
		}
	}
	return errors.Join(failures...)
}

// quit ends a server that has lost its supervisor, if its data folder names
// one, and waits until it has ended.
func (s *Server) quit() error {
	lock := filepath.Join(s.dir, "data", "postmaster.pid")
	content, err := os.ReadFile(lock)
	if err != nil {
		return nil // it is not running
	}
	line, _, _ := strings.Cut(string(content), "\n")
	if pid, err := strconv.Atoi(line); err != nil || pid != s.PID() {
		return nil // it is not ours
	}
	process, err := os.FindProcess(s.PID())
	if err != nil {
		return nil
	}
	if err := process.Signal(quitSignal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop PostgreSQL's process %d: %w; stop it by hand", s.PID(), err)
	}
	deadline := time.After(stopTimeout)
	for tick := time.Tick(20 * time.Millisecond); err == nil; _, err = os.Stat(lock) {
		select {
		case <-tick:
		case <-deadline:
			return fmt.Errorf("stop PostgreSQL: process %d did not end within %v; stop it by hand", s.PID(), stopTimeout)
		}
	}
	return nil
}

// supervise starts the shell that runs the server.
func (s *Server) supervise(bin string, config Config, owner *owner) error {
	last := signals[Immediate] // nothing is worth saving in a folder to be removed
	if config.Dir != "" {
		last = signals[Fast]
	}
	path := func(name string) string { return filepath.Join(s.dir, name) }
	args := []string{"-c", supervise, "pawl-postgres", bin, path("data"), s.config(), path("server.log"), last}
	cmd := exec.Command("/bin/sh", append(args, s.folders...)...)
	cmd.Dir = "/"
	cmd.Env = environment()
	cmd.SysProcAttr = owner.attributes()

	stdin, orders, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	defer stdin.Close()
	replies, stdout, err := os.Pipe()
	if err != nil {
		orders.Close()
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	defer stdout.Close()
	cmd.Stdin, cmd.Stdout = stdin, stdout
	if err := cmd.Start(); err != nil {
		orders.Close()
		replies.Close()
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	s.cmd, s.orders, s.replies, s.lines = cmd, orders, replies, bufio.NewReader(replies)
	return nil
}

// environment keeps what finding and loading programs needs. The rest is no
// business of the server, which may run as another user.
func environment() []string {
	env := []string{"LC_ALL=C", "TZ=UTC", "PATH=" + os.Getenv("PATH") + ":/usr/bin:/bin"}
	for _, name := range []string{"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// initialize makes the data folder's content. The caller holds mu.
func (s *Server) initialize(ctx context.Context, durable bool) error {
	order := "init --no-sync"
	if durable {
		order = "init"
	}
	ok, err := s.ask(ctx, order)
	if err != nil {
		return fmt.Errorf("initialize PostgreSQL's data: %w%s", err, s.tail())
	}
	if !ok {
		return fmt.Errorf("initialize PostgreSQL's data: initdb failed%s", s.tail())
	}
	return nil
}

// start starts the server and waits until it is ready. The caller holds mu.
func (s *Server) start(ctx context.Context) error {
	if _, err := s.ask(ctx, "start"); err != nil {
		return fmt.Errorf("start PostgreSQL: %w%s", err, s.tail())
	}
	for {
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			version, _, _ := strings.Cut(conn.PgConn().ParameterStatus("server_version"), " ")
			s.version.Store(&version)
			conn.Close(ctx)
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("start PostgreSQL: it was not ready in time (%w): %w%s", context.Cause(ctx), err, s.tail())
		}
		alive, askErr := s.ask(ctx, "status") // answers after a short sleep
		if askErr != nil {
			return fmt.Errorf("start PostgreSQL: %w: %w%s", askErr, err, s.tail())
		}
		if !alive {
			s.pid.Store(0)
			return fmt.Errorf("start PostgreSQL: it ended while starting%s", s.tail())
		}
	}
}

// ask sends one order to the supervisor and waits for the answer until ctx's
// deadline. The caller holds mu.
func (s *Server) ask(ctx context.Context, order string) (ok bool, err error) {
	if s.stopped {
		return false, errors.New("it has been stopped for good; start a new one")
	}
	deadline, _ := ctx.Deadline()
	if err := s.replies.SetReadDeadline(deadline); err != nil {
		return false, err
	}
	s.turn++
	if _, err := fmt.Fprintf(s.orders, "%d %s\n", s.turn, order); err != nil {
		return false, fmt.Errorf("its supervising shell is gone: %w", err)
	}
	for {
		line, err := s.lines.ReadString('\n')
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false, fmt.Errorf("no answer to %q in time: %w", order, err)
		}
		if err != nil {
			return false, fmt.Errorf("its supervising shell is gone: %w", err)
		}
		var turn, pid int
		var word string
		_, _ = fmt.Sscan(line, &turn, &word, &pid)
		if turn != s.turn {
			continue // the answer to an order given up on
		}
		if pid != 0 {
			s.pid.Store(int64(pid))
		}
		return word == "ok", nil
	}
}

// tail returns the end of the log, introduced, for an error's text.
func (s *Server) tail() string {
	content, err := os.ReadFile(filepath.Join(s.dir, "server.log"))
	content = bytes.TrimSpace(content)
	if err != nil || len(content) == 0 {
		return ""
	}
	if len(content) > logTail {
		content = content[len(content)-logTail:]
		_, content, _ = bytes.Cut(content, []byte("\n"))
	}
	return "; the end of its log:\n" + string(content)
}
