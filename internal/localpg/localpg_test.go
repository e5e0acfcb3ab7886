//go:build unix

package localpg

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// roleEnv makes the test binary play the process that owns a server.
const roleEnv = "LOCALPG_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "":
		os.Exit(m.Run())
	case "hang": // until killed
		s := startOrExit()
		fmt.Println(s.PID(), s.Dir())
		select {}
	case "stop":
		s := startOrExit()
		fmt.Println(s.PID(), s.Dir())
		if err := s.Stop(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
}

func startOrExit() *Server {
	s, err := Start(context.Background(), Config{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	return s
}

func start(t *testing.T, config Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// query runs one statement on a new connection and returns its one value.
func query(t *testing.T, s *Server, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var value string
	if err := conn.QueryRow(t.Context(), sql).Scan(&value); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

// wait polls cond for at most 20 seconds.
func wait(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.Tick(10 * time.Millisecond)
	for !cond() {
		select {
		case <-tick:
		case <-deadline:
			t.Fatalf("timed out while waiting for: %s", what)
		}
	}
}

// running reports whether there is a process pid. A dead one whose parent has
// not yet asked after it does not count.
func running(pid int) bool {
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		return !strings.Contains(string(stat), ") Z ")
	}
	return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

func missing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

func TestServer(t *testing.T) {
	s := start(t, Config{Settings: map[string]string{"application_name": `it's \ here`, "max_connections": "20"}})
	if got := query(t, s, "SHOW application_name"); got != `it's \ here` {
		t.Errorf("application_name is %q", got)
	}
	if got := query(t, s, "SHOW server_version"); !strings.HasPrefix(got, s.Version()) || s.Version() == "" {
		t.Errorf("Version() is %q, the server says %q", s.Version(), got)
	}
	for setting, want := range map[string]string{
		"listen_addresses": "", "max_connections": "20", "unix_socket_permissions": "0700",
		"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "server_encoding": "UTF8",
	} {
		if got := query(t, s, "SHOW "+setting); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	if info, err := os.Stat(s.socket); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's folder: %v, %v, want mode 0700", info.Mode(), err)
	}
	if !running(s.PID()) {
		t.Errorf("process %d is not running", s.PID())
	}

	pid := s.PID()
	for range 2 {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}
	if running(pid) || s.PID() != 0 {
		t.Errorf("process %d is still running after Stop", pid)
	}
	if !missing(s.Dir()) {
		t.Errorf("%s is still there after Stop", s.Dir())
	}
	if err := s.StartServer(t.Context()); err == nil || !strings.Contains(err.Error(), "for good") {
		t.Errorf("StartServer after Stop returned %v, want an error", err)
	}
}

func TestRestart(t *testing.T) {
	s := start(t, Config{})
	url := s.URL("postgres")
	query(t, s, "CREATE TABLE kept (n int)")
	for _, mode := range []string{Fast, Immediate} {
		pid := s.PID()
		if err := s.Restart(t.Context(), mode); err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
		if s.PID() == pid || running(pid) {
			t.Errorf("%s: the old process is still the server's", mode)
		}
		if got := query(t, s, "SELECT to_regclass('kept')::text"); got != "kept" {
			t.Errorf("%s: the table is gone", mode)
		}
	}
	if s.URL("postgres") != url {
		t.Error("the URL changed")
	}
	if err := s.Restart(t.Context(), "gentle"); err == nil || !strings.Contains(err.Error(), `use "fast"`) {
		t.Errorf("an unknown mode returned %v", err)
	}

	if err := s.StopServer(t.Context(), Fast); err != nil {
		t.Fatal(err)
	}
	if s.PID() != 0 {
		t.Errorf("PID is %d while stopped", s.PID())
	}
	if _, err := pgx.Connect(t.Context(), url); err == nil {
		t.Error("a stopped server accepted a connection")
	}
	if err := s.StopServer(t.Context(), Fast); err != nil {
		t.Errorf("the second StopServer: %v", err)
	}
	for range 2 {
		if err := s.StartServer(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStartAfterCrash(t *testing.T) {
	s := start(t, Config{})
	pid := s.PID()
	if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	wait(t, "the server's end", func() bool { return !running(pid) })
	if err := s.StartServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.PID() == pid {
		t.Error("PID is still the dead process's")
	}
}

func TestKeptDir(t *testing.T) {
	// Not t.TempDir: that is closed to the account root's servers run as.
	root, err := os.MkdirTemp("/tmp", "localpg-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, strings.Repeat("long", 30))
	config := Config{Dir: dir, Durable: true}

	s := start(t, config)
	if s.Dir() != dir {
		t.Errorf("Dir() is %s, want %s", s.Dir(), dir)
	}
	if got := query(t, s, "SHOW fsync"); got != "on" {
		t.Errorf("fsync is %s", got)
	}
	query(t, s, "CREATE TABLE kept (n int)")
	if _, err := Start(t.Context(), config); err == nil || !strings.Contains(err.Error(), "postmaster.pid") {
		t.Errorf("a second server on the same data: %v, want the log's complaint about postmaster.pid", err)
	}
	if err := s.Restart(t.Context(), Fast); err != nil {
		t.Errorf("after the second server failed: %v", err)
	}
	socket := s.socket
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if !missing(socket) {
		t.Errorf("the socket's folder %s is still there", socket)
	}

	s = start(t, config)
	if got := query(t, s, "SELECT to_regclass('kept')::text"); got != "kept" {
		t.Error("the data was not kept")
	}
}

func TestStartFails(t *testing.T) {
	t.Setenv("TMPDIR", "")
	for name, test := range map[string]struct {
		config Config
		want   string
	}{
		"bad value":    {Config{Settings: map[string]string{"shared_buffers": "plenty"}}, "shared_buffers"},
		"bad name":     {Config{Settings: map[string]string{"a = b": "c"}}, "setting's name"},
		"two lines":    {Config{Settings: map[string]string{"work_mem": "1MB\nport = 1"}}, "one line"},
		"private":      {Config{Settings: map[string]string{"Listen_Addresses": "*"}}, "cannot be changed"},
		"no programs":  {Config{BinDir: "/nonexistent"}, "/nonexistent"},
		"unusable dir": {Config{Dir: "/dev/null/x"}, "/dev/null"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Start(t.Context(), test.config)
			if err == nil {
				s.Stop()
				t.Fatal("Start succeeded")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error does not mention %q: %v", test.want, err)
			}
		})
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, Config{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Start with a cancelled context returned %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Start(ctx, Config{}); !errors.Is(err, os.ErrDeadlineExceeded) &&
		!errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Start with 50 ms returned %v", err)
	}
}

// owning starts this test binary in a role, as credential if not nil, and
// returns it with the process id and folder of its server.
func owning(t *testing.T, role string, credential *syscall.Credential) (cmd *exec.Cmd, pid int, dir string) {
	t.Helper()
	bin, err := Find("")
	if err != nil {
		t.Fatal(err)
	}
	// The binary lies where another user may not reach it.
	folder, err := os.MkdirTemp("/tmp", "localpg-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	self := filepath.Join(folder, "self")
	copyProgram(t, self)

	cmd = exec.Command(self)
	cmd.Dir = "/"
	cmd.Env = []string{roleEnv + "=" + role, EnvBin + "=" + bin, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, _ := bufio.NewReader(out).ReadString('\n')
	if _, err := fmt.Sscan(line, &pid, &dir); err != nil {
		rest, _ := io.ReadAll(out)
		t.Fatalf("the owning process printed %q: %v", line+string(rest), err)
	}
	return cmd, pid, dir
}

func copyProgram(t *testing.T, to string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestOwnerKilled(t *testing.T) {
	cmd, pid, dir := owning(t, "hang", nil)
	if !running(pid) || missing(dir) {
		t.Fatalf("process %d and %s are not there to begin with", pid, dir)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	wait(t, "the server's end after its owner was killed", func() bool { return !running(pid) })
	wait(t, "the folder's removal after its owner was killed", func() bool { return missing(dir) })
}

// A terminal sends ^C to its foreground process group.
func TestInterruptPassesServerBy(t *testing.T) {
	s := start(t, Config{})
	own, err := syscall.Getpgid(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{s.PID(), s.cmd.Process.Pid} {
		if group, err := syscall.Getpgid(pid); err != nil || group == own {
			t.Errorf("process %d is in our process group (%v)", pid, err)
		}
	}
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	query(t, s, "SELECT '1'")
}

func TestSupervisorKilled(t *testing.T) {
	s := start(t, Config{})
	pid := s.PID()
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err == nil || !strings.Contains(err.Error(), "supervising shell") {
		t.Errorf("Stop returned %v, want an error about the supervising shell", err)
	}
	wait(t, "the server's end", func() bool { return !running(pid) })
	if !missing(s.Dir()) {
		t.Errorf("%s is still there", s.Dir())
	}
	s.stopErr = nil // the cleanup need not report it again
}

func TestOrdinaryUser(t *testing.T) {
	owner, err := serverOwner()
	if err != nil {
		t.Fatal(err)
	}
	if owner == nil {
		t.Skip("the other tests run as an ordinary user already")
	}
	credential := &syscall.Credential{Uid: 65534, Gid: 65534}
	cmd, pid, dir := owning(t, "hang", credential)
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; uid != credential.Uid {
		t.Errorf("the folder belongs to user %d, want %d", uid, credential.Uid)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	wait(t, "the server's end after its owner was killed", func() bool { return !running(pid) })
	wait(t, "the folder's removal after its owner was killed", func() bool { return missing(dir) })

	cmd, pid, dir = owning(t, "stop", credential)
	if err := cmd.Wait(); err != nil {
		t.Errorf("the owning process: %v", err)
	}
	if running(pid) || !missing(dir) {
		t.Error("the server was not put away by Stop")
	}
}

// Root must not be offered folders that the server's account cannot enter.
func TestReach(t *testing.T) {
	owner, err := serverOwner()
	if err != nil {
		t.Fatal(err)
	}
	if owner == nil {
		t.Skip("only root starts servers as another user")
	}
	closed := t.TempDir()
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	inner := filepath.Join(closed, "inner")
	if err := os.Mkdir(inner, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := owner.reach(inner); err == nil || !strings.Contains(err.Error(), closed) {
		t.Errorf("reach of a folder in a closed one returned %v", err)
	}
	if err := owner.reach("/tmp"); err != nil {
		t.Error(err)
	}
	t.Setenv("TMPDIR", inner)
	s := start(t, Config{Durable: true})
	if strings.HasPrefix(s.Dir(), closed) {
		t.Errorf("the server's folder is %s", s.Dir())
	}
	if _, err := Start(t.Context(), Config{Dir: inner}); err == nil || !strings.Contains(err.Error(), "may not enter") {
		t.Errorf("Start in a closed folder returned %v", err)
	}
}
