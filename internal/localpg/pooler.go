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

// ErrNoPgBouncer is returned, wrapped, when this computer has no pgbouncer in
// any of the places looked at.
var ErrNoPgBouncer = errors.New("no program pgbouncer found")

// PgBouncer's package puts it where the PATH of ordinary users does not lead.
var bouncers = []string{
	"/usr/sbin/pgbouncer",
	"/usr/bin/pgbouncer",
	"/opt/homebrew/bin/pgbouncer",
	"/usr/local/bin/pgbouncer",
}

const poolerPort = "6432" // only part of a file name

// FindPgBouncer returns the path of the program pgbouncer: what $PAWL_PGBOUNCER
// names, else the first along $PATH and where packages install.
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

// bounce is what /bin/sh runs: PgBouncer, until the process that holds the other
// end of standard input closes it or dies. $1: the program, $2: its
// configuration, $3: its log.
const bounce = `trap '' HUP INT TERM PIPE
"$1" "$2" </dev/null >>"$3" 2>&1 &
echo $!
read -r nothing
kill -KILL $! 2>/dev/null
wait`

// Pooler is a running private PgBouncer in front of a [Server], in transaction
// mode, with every database of the server behind it. It listens as the server
// does and ends when that is stopped or this process ends.
type Pooler struct {
	server  *Server
	program string
	owner   *owner
	dir     string

	mu   sync.Mutex
	cmd  *exec.Cmd // the shell; nil while stopped
	hold *os.File  // what it lives as long as
	pid  int
}

// StartPooler starts a PgBouncer in front of the server and waits until it
// answers, at most 30 seconds or until ctx ends. settings are those of its
// section [pgbouncer], over the ones made here; the rest is PgBouncer's default.
// Whoever connects does so as the role it names, without a password, and
// postgres may give orders on the console.
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
	// In the folder that goes with the server.
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
		// Roles made later are found too.
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

// URL is [Server.URL] through the pooler. The database "pgbouncer" is its
// console, which speaks the simple protocol alone: see [Pooler.Tell].
func (p *Pooler) URL(database string) string {
	query := url.Values{"host": {p.dir}, "port": {poolerPort}, "user": {"postgres"}}
	return (&url.URL{Scheme: "postgres", Path: "/" + database, RawQuery: query.Encode()}).String()
}

// Tell gives an order on the console: "PAUSE", "RESUME", "RECONNECT", "SET name = value".
func (p *Pooler) Tell(ctx context.Context, order string) error {
	conn, err := p.console(ctx)
	if err != nil {
		return fmt.Errorf("PgBouncer's console: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, order); err != nil {
		return fmt.Errorf("%s: %w", order, err)
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
// until it answers. Starting a running pooler does nothing.
func (p *Pooler) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return nil
	}
	cmd := exec.Command("/bin/sh", "-c", bounce, "pawl-pgbouncer", p.program, p.file("pgbouncer.ini"), p.file("log"))
	cmd.Dir, cmd.Env, cmd.SysProcAttr = "/", environment(), p.owner.attributes()
	stdin, hold, err := os.Pipe()
	if err != nil {
		return err
	}
	defer stdin.Close()
	stdout, answer, err := os.Pipe()
	if err != nil {
		hold.Close()
		return err
	}
	defer stdout.Close()
	cmd.Stdin, cmd.Stdout = stdin, answer
	err = cmd.Start()
	answer.Close()
	if err != nil {
		hold.Close()
		return err
	}
	p.cmd, p.hold = cmd, hold
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if p.pid, _ = strconv.Atoi(strings.TrimSpace(line)); err != nil || p.pid == 0 {
		return fmt.Errorf("its shell said %q: %w", line, err)
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
			return fmt.Errorf("it did not answer in time: %w%s", err, p.tail())
		}
	}
}

// PID returns the process id of PgBouncer, or 0 while it is stopped.
func (p *Pooler) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// Kill ends the pooler without notice, as kill -9 does: clients lose their
// connections, and the server goes on with what it was told. [Pooler.Start]
// starts it again.
func (p *Pooler) Kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	p.hold.Close()
	err := p.cmd.Wait()
	p.cmd, p.pid = nil, 0
	if err != nil {
		return fmt.Errorf("stop PgBouncer: its shell failed: %w", err)
	}
	return nil
}

// Stop ends the pooler for good and removes its files. Stop it before its server.
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
