package localpg

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// EnvPgBouncer is the environment variable that names the program pgbouncer.
const EnvPgBouncer = "PAWL_PGBOUNCER"

// ErrNoPgBouncer is wrapped by the error of [FindPgBouncer] if it finds no
// program pgbouncer on this computer.
var ErrNoPgBouncer = errors.New("no program pgbouncer found")

// bouncers lists the paths that packages install pgbouncer at. An ordinary user's
// PATH often lacks their folders.
var bouncers = []string{
	"/usr/sbin/pgbouncer",
	"/usr/bin/pgbouncer",
	"/opt/homebrew/bin/pgbouncer",
	"/usr/local/bin/pgbouncer",
}

const poolerPort = "6432" // only part of a file name

// FindPgBouncer returns the path of the program pgbouncer. It uses the program
// that $PAWL_PGBOUNCER names. If that is empty, it searches $PATH and then the
// paths that packages install it at.
func FindPgBouncer() (string, error) {
	if env := os.Getenv(EnvPgBouncer); env != "" {
		program, err := exec.LookPath(env)
		if err != nil {
			return "", fmt.Errorf("%s, %s, is not a program: %w", EnvPgBouncer, env, err)
		}
		return filepath.Abs(program)
	}
	for _, name := range append([]string{"pgbouncer"}, bouncers...) {
		if program, err := exec.LookPath(name); err == nil {
			return filepath.Abs(program)
		}
	}
	return "", fmt.Errorf("%w: looked along PATH and at %s. Install it (apt-get install pgbouncer), or set %s to it",
		ErrNoPgBouncer, strings.Join(bouncers, ", "), EnvPgBouncer)
}

// bounce is the shell script that runs PgBouncer. It kills PgBouncer when the
// process at the other end of standard input closes the pipe or dies. $1 is the
// program, $2 is its configuration and $3 is its log.
const bounce = `trap '' HUP INT TERM PIPE
"$1" "$2" </dev/null >>"$3" 2>&1 &
echo $!
read -r nothing
kill -KILL $! 2>/dev/null
wait`

// Pooler is a running private PgBouncer in front of a [Server], in transaction
// mode. It serves every database of the server. Like the server, it listens only
// on a Unix socket. It ends when it is stopped or this process ends.
type Pooler struct {
	server  *Server
	program string
	owner   *owner
	dir     string

	mu   sync.Mutex
	cmd  *exec.Cmd // the shell; nil while stopped
	life *os.File  // the pipe to the shell, which ends when the pipe closes
	pid  int
}

// StartPooler starts a PgBouncer in front of the server and waits until it
// accepts connections, for at most 30 seconds or until ctx ends. The settings go
// into the section [pgbouncer] and override this package's defaults. A client
// connects as any role it names, without a password. The role postgres may use
// the console.
func (s *Server) StartPooler(ctx context.Context, settings map[string]string) (_ *Pooler, err error) {
	program, err := FindPgBouncer()
	if err != nil {
		return nil, fmt.Errorf("start PgBouncer: %w", err)
	}
	owner, err := serverOwner() // PgBouncer refuses to run as root too.
	if err != nil {
		return nil, err
	}
	if err := owner.reach(filepath.Dir(program)); err != nil {
		return nil, fmt.Errorf("start PgBouncer: %w", err)
	}
	p := &Pooler{server: s, program: program, owner: owner}
	// The server's Stop removes this folder too.
	p.dir = filepath.Join(s.socket, fmt.Sprintf("b%d", s.poolers.Add(1)))
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		return nil, fmt.Errorf("start PgBouncer: %w", err)
	}
	files := map[string]string{"pgbouncer.ini": p.settings(settings), "users": `"postgres" ""` + "\n", "log": ""}
	for name, content := range files {
		err = errors.Join(err, os.WriteFile(p.file(name), []byte(content), 0o600), owner.take(p.file(name)))
	}
	if err = errors.Join(err, owner.take(p.dir)); err == nil {
		err = p.Start(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start PgBouncer: %w", err), p.Stop())
	}
	return p, nil
}

func (p *Pooler) file(name string) string { return filepath.Join(p.dir, name) }

func (p *Pooler) settings(given map[string]string) string {
	settings := map[string]string{
		"pool_mode": "transaction", "max_client_conn": "1000", "log_connections": "0", "log_disconnections": "0",
		// With auth_user, PgBouncer also finds roles that are created later.
		"auth_type": "trust", "auth_file": p.file("users"), "auth_user": "postgres", "admin_users": "postgres",
	}
	maps.Copy(settings, given)
	settings["listen_addr"] = ""
	settings["listen_port"] = poolerPort
	settings["unix_socket_dir"] = p.dir
	settings["unix_socket_mode"] = "0700"
	var b strings.Builder
	fmt.Fprintf(&b, "[databases]\n* = host=%s port=%s\n[pgbouncer]\n", p.server.socket, port)
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s = %s\n", name, settings[name])
	}
	return b.String()
}

// URL returns the URL of a database of the server, through the pooler. The
// database "pgbouncer" is the pooler's console. The console accepts only the
// simple protocol: see [Pooler.Tell].
func (p *Pooler) URL(database string) string {
	query := url.Values{"host": {p.dir}, "port": {poolerPort}, "user": {"postgres"}}
	return (&url.URL{Scheme: "postgres", Path: "/" + database, RawQuery: query.Encode()}).String()
}

// Tell runs a command on the console, such as "PAUSE", "RESUME", "RECONNECT" or
// "SET name = value".
func (p *Pooler) Tell(ctx context.Context, command string) error {
	conn, err := p.console(ctx)
	if err != nil {
		return fmt.Errorf("PgBouncer's console: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, command); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}

func (p *Pooler) console(ctx context.Context) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(p.URL("pgbouncer"))
	if err != nil {
		return nil, err
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	return pgx.ConnectConfig(ctx, config)
}

// Start starts the pooler again after [Pooler.Kill], at the same URL, and waits
// until it accepts connections. It does nothing if the pooler runs.
func (p *Pooler) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return nil
	}
	cmd := exec.Command("/bin/sh", "-c", bounce, "pawl-pgbouncer", p.program, p.file("pgbouncer.ini"), p.file("log"))
	cmd.Dir, cmd.Env, cmd.SysProcAttr = "/", environment(), p.owner.attributes()
	stdin, life, err := os.Pipe()
	if err != nil {
		return err
	}
	defer stdin.Close()
	stdout, shellOut, err := os.Pipe()
	if err != nil {
		life.Close()
		return err
	}
	defer stdout.Close()
	cmd.Stdin, cmd.Stdout = stdin, shellOut
	err = cmd.Start()
	shellOut.Close()
	if err != nil {
		life.Close()
		return err
	}
	p.cmd, p.life = cmd, life
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if p.pid, _ = strconv.Atoi(strings.TrimSpace(line)); err != nil || p.pid == 0 {
		return fmt.Errorf("its shell wrote %q: %w", line, err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for tick := time.Tick(10 * time.Millisecond); ; {
		conn, err := p.console(ctx)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return fmt.Errorf("it accepted no connection in time: %w%s", err, p.tail())
		}
	}
}

// PID returns the process id of PgBouncer, or 0 while it is stopped.
func (p *Pooler) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// Kill kills the pooler, as kill -9 does. Clients lose their connections. The
// server finishes the statements it has received. [Pooler.Start] starts the
// pooler again.
func (p *Pooler) Kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	p.life.Close()
	err := p.cmd.Wait()
	p.cmd, p.pid = nil, 0
	if err != nil {
		return fmt.Errorf("stop PgBouncer: its shell failed: %w", err)
	}
	return nil
}

// Stop ends the pooler for good and removes its files. Call it before the server's
// Stop.
func (p *Pooler) Stop() error {
	return errors.Join(p.Kill(), os.RemoveAll(p.dir))
}

// Log returns what the pooler has logged so far.
func (p *Pooler) Log() string {
	f, err := os.Open(p.file("log"))
	if err != nil {
		return ""
	}
	defer f.Close()
	content, _ := io.ReadAll(f)
	return string(content)
}

func (p *Pooler) tail() string {
	content := bytes.TrimSpace([]byte(p.Log()))
	if len(content) == 0 {
		return ""
	}
	return "; the end of its log:\n" + string(content[max(0, len(content)-logTail):])
}
