package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/internal/localpg"
)

// run is the state of one test binary: its server and its databases.
type run struct {
	migrate  func(ctx context.Context, url string) error
	connect  func() error                      // opens the server, once
	template func() (string, error)            // makes the template, once
	settings func() (map[string]string, error) // reads the server's settings, once

	server *localpg.Server // the private server; nil on the server of EnvURL
	pooler *localpg.Pooler // nil if tests connect to the server directly
	given  *url.URL        // the URL in EnvURL; nil if the server is private
	lock   *pgx.Conn       // the session that has the advisory lock, on the server of EnvURL
	prefix string          // the start of the names of this run's databases
	clone  string          // the end of a CREATE DATABASE from a template

	unattended bool // there is no TestMain that calls close

	mu    sync.Mutex
	count int
}

func newRun(migrate func(ctx context.Context, url string) error) *run {
	r := &run{migrate: migrate}
	r.connect = sync.OnceValue(r.open)
	r.template = sync.OnceValues(r.makeTemplate)
	r.settings = sync.OnceValues(r.readSettings)
	return r
}

func (r *run) tests(m *testing.M) (code int) {
	defer func() {
		if err := r.close(); err != nil {
			fmt.Fprintln(os.Stderr, "pgtest:", err)
			code = max(code, 1)
		}
	}()
	return m.Run()
}

// open starts a private server, or connects to the server of EnvURL.
func (r *run) open() error {
	ctx, cancel := context.WithTimeout(context.Background(), statementTime)
	defer cancel()
	if given := os.Getenv(EnvURL); given != "" {
		if Pooled() {
			return fmt.Errorf(
				"%s is set, and %s puts a PgBouncer in front of a private server: unset one of them",
				EnvURL,
				EnvPgBouncer,
			)
		}
		if err := r.openGiven(ctx, given); err != nil {
			return fmt.Errorf("use the server of %s: %w", EnvURL, err)
		}
		return nil
	}
	server, err := localpg.Start(ctx, localpg.Config{})
	if err != nil {
		return err
	}
	r.server = server
	r.prefix = "pawl_test_"
	r.clone = cloneClause(server.Version(), true)
	if Pooled() {
		r.pooler, err = startPooler(server, map[string]string{"default_pool_size": poolSize})
	}
	return err
}

// cloneClause returns the strategy that CREATE DATABASE uses to copy a template.
// Before version 15, PostgreSQL only copies files. On a private server, in memory
// and without fsync, copying files takes half the time of copying through the log.
// On a server that syncs its files, the two checkpoints of a file copy are slow.
func cloneClause(version string, own bool) string {
	var major int
	_, _ = fmt.Sscan(version, &major)
	switch {
	case major < 15:
		return ""
	case own:
		return " STRATEGY file_copy"
	default:
		return " STRATEGY wal_log"
	}
}

func (r *run) openGiven(ctx context.Context, given string) error {
	parsed, err := url.Parse(given)
	if err != nil || parsed.Scheme != "postgres" && parsed.Scheme != "postgresql" {
		return errors.New("its value is not a URL; write it as postgres://user:password@host:5432/database")
	}
	r.given = parsed
	conn, err := pgx.Connect(ctx, given)
	if err != nil {
		return err
	}
	r.lock = conn
	r.clone = cloneClause(conn.PgConn().ParameterStatus("server_version"), false)
	// The process id of a session is unique on the server until the session ends.
	id := conn.PgConn().PID()
	r.prefix = fmt.Sprintf("pawl_test_%d_", id)
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1, $2)", lockClass, int32(id)); err != nil {
		return err
	}
	return r.sweep(ctx)
}

// sweep drops the databases of runs that died. This run has no databases yet, so
// databases with its prefix belong to an earlier run with the same process id.
func (r *run) sweep(ctx context.Context) error {
	rows, _ := r.lock.Query(ctx, `
		SELECT datname FROM pg_database d
		WHERE datname ~ '^pawl_test_[0-9]+_([0-9]+|template)$'
		AND (starts_with(datname, $1) OR NOT EXISTS (
			SELECT FROM pg_locks
			WHERE locktype = 'advisory' AND classid = $2
			AND objid::text = split_part(d.datname, '_', 3)))`, r.prefix, lockClass)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range names {
		// Several runs may sweep at once, so another run may have dropped it.
		if _, err := r.lock.Exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			return err
		}
	}
	return nil
}

// close drops the template on the server of EnvURL, or stops the private server. It
// does nothing if no test has used a server.
func (r *run) close() error {
	switch {
	case r.pooler != nil:
		return errors.Join(r.pooler.Stop(), r.server.Stop())
	case r.server != nil:
		return r.server.Stop()
	case r.lock != nil:
		ctx, cancel := context.WithTimeout(context.Background(), statementTime)
		defer cancel()
		_, err := r.lock.Exec(ctx, "DROP DATABASE IF EXISTS "+r.prefix+"template WITH (FORCE)")
		return errors.Join(err, r.lock.Close(ctx))
	}
	return nil
}

// url returns the URL of a database of the run's server. If the name is empty, it
// returns the URL of the database that administrative statements run in.
func (r *run) url(database string) string {
	if r.server != nil {
		if database == "" {
			database = "postgres"
		}
		return r.server.URL(database)
	}
	u := *r.given
	if database != "" {
		u.Path = "/" + database
		query := u.Query()
		query.Del("dbname") // it would override the path
		u.RawQuery = query.Encode()
	}
	return u.String()
}

func (r *run) exec(statements ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), statementTime)
	defer cancel()
	conn, err := pgx.Connect(ctx, r.url(""))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// makeTemplate creates the template, migrates it, and closes it to everyone,
// because a database in use cannot be copied.
func (r *run) makeTemplate() (string, error) {
	if err := r.connect(); err != nil {
		return "", err
	}
	name := r.prefix + "template"
	if err := r.exec("CREATE DATABASE " + name + " TEMPLATE template0"); err != nil {
		return "", err
	}
	if IsHostile() {
		if err := r.set(name, Hostile); err != nil {
			return "", err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), statementTime)
	defer cancel()
	if r.migrate != nil {
		if err := r.migrate(ctx, r.url(name)); err != nil {
			return "", fmt.Errorf("migrate the template database: %w", err)
		}
	}
	return name, r.exec("ALTER DATABASE " + name + " ALLOW_CONNECTIONS false")
}

func (r *run) copyTemplate() (string, error) {
	if r.unattended {
		if err := r.connect(); err != nil {
			return "", err
		}
		if r.given != nil {
			return r.migrated()
		}
	}
	template, err := r.template()
	if err != nil {
		return "", err
	}
	return r.create(template)
}

func (r *run) migrated() (string, error) {
	name, err := r.newDatabase()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), statementTime)
	defer cancel()
	if err := r.migrate(ctx, r.url(name)); err != nil {
		return "", errors.Join(fmt.Errorf("migrate the database: %w", err), r.drop(name))
	}
	return name, nil
}

func (r *run) newDatabase() (string, error) {
	if err := r.connect(); err != nil {
		return "", err
	}
	return r.create("template0")
}

func (r *run) create(template string) (name string, err error) {
	name = r.name()
	if err := r.exec("CREATE DATABASE " + name + " TEMPLATE " + template + r.clone); err != nil {
		return name, err
	}
	if IsHostile() { // A copy does not have the settings of its template.
		return name, r.set(name, Hostile)
	}
	return name, nil
}

func (r *run) drop(name string) error {
	return r.exec("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)")
}

func (r *run) name() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	return fmt.Sprintf("%s%d", r.prefix, r.count)
}
