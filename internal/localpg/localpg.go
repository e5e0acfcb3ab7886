// Package localpg runs private PostgreSQL servers, for tests, benchmarks and
// demonstrations, and PgBouncers in front of them.
//
// A server listens only on a Unix socket. Only its owner and root may enter the
// socket's folder, so the server needs no passwords.
//
// A server ends with the process that started it. A small shell process reads
// from a pipe whose other end belongs to the starting process. When the pipe
// closes, the shell stops the server and removes its folders. This also works
// if the starting process was killed.
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

// The modes of stopping a server have the names that pg_ctl uses.
const (
	// Fast ends every session and shuts down cleanly.
	Fast = "fast"
	// Immediate aborts every process at once. The next start recovers as it does
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

// supervise is the shell script that runs the server.
//
//go:embed supervise.sh
var supervise string

// signals maps each mode of stopping to its signal.
var signals = map[string]string{Fast: "INT", Immediate: "QUIT"}

// private lists the settings that callers cannot change. They protect the server
// from other users.
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

// Config configures a server. The zero Config starts a server for tests.
type Config struct {
	// BinDir is the folder with initdb and postgres. If it is empty, [Find] finds
	// the folder.
	BinDir string

	// Dir is the folder for the data and the log. Start makes it if it does not
	// exist, and Stop keeps it. A later server in the same folder serves the same
	// data. If Dir is empty, Start makes a temporary folder and Stop removes it.
	// The temporary folder is in memory (/dev/shm) if Durable is false and the
	// memory has room; otherwise it is on disk.
	Dir string

	// Durable makes commits survive a crash of the computer, as PostgreSQL does
	// by default. If false, fsync, full_page_writes and synchronous_commit are
	// off, which is much faster.
	Durable bool

	// Settings are further server settings by name, such as "work_mem": "8MB".
	// They override this package's defaults, such as 200 for max_connections.
	// The settings that decide where the server listens cannot be set.
	Settings map[string]string
}

// Server is a running private PostgreSQL server. Its methods may be called from
// several goroutines at once.
type Server struct {
	dir      string   // data, log and configuration
	socket   string   // folder of the socket
	folders  []string // the folders that Stop removes
	existing bool     // whether the data was there before
	version  atomic.Pointer[string]
	pid      atomic.Int64
	poolers  atomic.Int64 // the number of poolers started so far

	mu      sync.Mutex // one request at a time
	cmd     *exec.Cmd  // the supervising shell
	orders  *os.File   // the pipe to the shell
	replies *os.File   // the pipe from the shell
	lines   *bufio.Reader
	number  int // the number of the last order
	stopped bool
	stopErr error
}

// Start starts a server and waits until it accepts connections, for at most 30
// seconds or until ctx ends. The server then runs until [Server.Stop] or the end
// of this process, even if ctx ends earlier. If the caller is root, the server
// runs as the user postgres, or as the user nobody if there is no postgres.
//
// If Start fails, it removes everything it made except the contents of
// Config.Dir. The error ends with the last lines of the server's log, if any.
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

// URL returns the URL of a database of this server, for the superuser postgres.
// Both pgx and libpq programs such as psql accept it. A restart does not change
// it.
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

// Restart stops the server and starts it again with the same data and URL. The
// mode is [Fast] or [Immediate].
func (s *Server) Restart(ctx context.Context, mode string) error {
	if err := s.StopServer(ctx, mode); err != nil {
		return err
	}
	return s.StartServer(ctx)
}

// StopServer stops the server and keeps its data for [Server.StartServer]. The
// mode is [Fast] or [Immediate]. StopServer waits until every process of the
// server has ended, for at most 30 seconds or until ctx's deadline. It does
// nothing if the server is stopped.
func (s *Server) StopServer(ctx context.Context, mode string) error {
	signal, ok := signals[mode]
	if !ok {
		return fmt.Errorf("stop PostgreSQL: %q is not a mode; use %q or %q", mode, Fast, Immediate)
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

// StartServer starts the server again after [Server.StopServer], with the same
// data. It waits until the server accepts connections, for at most 30 seconds or
// until ctx ends. It does nothing if the server runs.
func (s *Server) StartServer(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return s.start(ctx)
}

// Stop stops the server for good and removes its temporary folders. It keeps
// Config.Dir. A second call does nothing and returns the error of the first.
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
		// The supervisor ends everything when the pipe closes. This also happens
		// when this process dies. The replies end when the supervisor ends.
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
	// The supervisor has removed the folders, unless it failed or never ran.
	for _, folder := range s.folders {
		if err := os.RemoveAll(folder); err != nil {
			failures = append(failures, fmt.Errorf("remove PostgreSQL's folder: %w; remove it by hand", err))
		}
	}
	return errors.Join(failures...)
}

// quit ends a server whose supervisor has failed, and waits until the server has
// ended. It does nothing if the data folder names no running server of ours.
func (s *Server) quit() error {
	lock := filepath.Join(s.dir, "data", "postmaster.pid")
	content, err := os.ReadFile(lock)
	if err != nil {
		return nil // it is not running
	}
	line, _, _ := strings.Cut(string(content), "\n")
	if pid, err := strconv.Atoi(line); err != nil || pid != s.PID() {
		return nil // another process started it
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
	last := signals[Immediate] // a temporary folder is removed, so its data need not be saved
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

// environment returns the variables that the server needs to find and load
// programs. The server may run as another user, so it gets no other variables.
func environment() []string {
	env := []string{"LC_ALL=C", "TZ=UTC", "PATH=" + os.Getenv("PATH") + ":/usr/bin:/bin"}
	for _, name := range []string{"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// initialize makes the content of the data folder. The caller has locked mu.
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

// start starts the server and waits until it is ready. The caller has locked mu.
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
		alive, askErr := s.ask(ctx, "status") // the reply comes after a short sleep
		if askErr != nil {
			return fmt.Errorf("start PostgreSQL: %w: %w%s", askErr, err, s.tail())
		}
		if !alive {
			s.pid.Store(0)
			return fmt.Errorf("start PostgreSQL: it ended while starting%s", s.tail())
		}
	}
}

// ask sends one order to the supervisor and waits for the reply until ctx's
// deadline. The caller has locked mu.
func (s *Server) ask(ctx context.Context, order string) (ok bool, err error) {
	if s.stopped {
		return false, errors.New("it has been stopped for good; start a new one")
	}
	deadline, _ := ctx.Deadline()
	if err := s.replies.SetReadDeadline(deadline); err != nil {
		return false, err
	}
	s.number++
	if _, err := fmt.Fprintf(s.orders, "%d %s\n", s.number, order); err != nil {
		return false, fmt.Errorf("its supervising shell is gone: %w", err)
	}
	for {
		line, err := s.lines.ReadString('\n')
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false, fmt.Errorf("no reply to %q in time: %w", order, err)
		}
		if err != nil {
			return false, fmt.Errorf("its supervising shell is gone: %w", err)
		}
		var number, pid int
		var word string
		_, _ = fmt.Sscan(line, &number, &word, &pid)
		if number != s.number {
			continue // the reply to an earlier order that timed out
		}
		if pid != 0 {
			s.pid.Store(int64(pid))
		}
		return word == "ok", nil
	}
}

// tail returns the end of the log with an introduction, for the text of an error.
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
