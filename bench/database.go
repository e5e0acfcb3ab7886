package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/localpg"
)

const (
	databaseName = "pawl_bench"
	// ours marks the database as made here; another one of that name is left alone.
	ours = "made by pawl bench, which drops it"
)

// database is the measured database and what is around it. Its admin
// connection is to another one, so that reading statistics adds no
// transactions to those being counted.
type database struct {
	url      string
	server   *localpg.Server // nil: not ours
	admin    *pgx.Conn
	settings Settings
	created  bool

	// postmaster is the server's process id, 0 if it can't be seen from here.
	postmaster int

	// filler is how many jobs were put in by SQL, see depth.go.
	filler int64
}

// Settings are those of the server that decide about the figures.
type Settings struct {
	Version           string `json:"version"`
	Fsync             string `json:"fsync"`
	SynchronousCommit string `json:"synchronous_commit"`
	SharedBuffers     string `json:"shared_buffers"`
}

func startServer(ctx context.Context) (*localpg.Server, error) {
	return localpg.Start(ctx, localpg.Config{
		Durable:  true,
		Settings: map[string]string{"shared_buffers": "512MB", "max_wal_size": "4GB"},
	})
}

// Serve starts the private server that Run would, writes its URL as one line,
// and stops it when in ends or ctx does: for measuring several programs on the
// same server.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	server, err := startServer(ctx)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, server.URL("postgres")); err != nil {
		return errors.Join(err, server.Stop())
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		io.Copy(io.Discard, in)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	return server.Stop()
}

func open(ctx context.Context, url string) (_ *database, err error) {
	db := &database{url: url}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.close())
		}
	}()
	if url == "" {
		if db.server, err = startServer(ctx); err != nil {
			return nil, err
		}
		db.url = db.server.URL("postgres")
	}
	if db.admin, err = pgx.Connect(ctx, db.url); err != nil {
		return nil, fmt.Errorf("connect: %w; correct --database-url, or leave it out to use a private server", err)
	}
	if err := db.create(ctx); err != nil {
		return nil, err
	}
	return db, db.readServer(ctx)
}

func (db *database) create(ctx context.Context) error {
	if db.admin.Config().Database == databaseName {
		return fmt.Errorf("--database-url must name another database than %s, which is made and dropped", databaseName)
	}
	var comment *string
	err := db.admin.QueryRow(ctx, "select shobj_description(oid, 'pg_database') from pg_database where datname = $1", databaseName).Scan(&comment)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
	case err != nil:
		return err
	case comment == nil || *comment != ours:
		return fmt.Errorf("the server has a database %s that was not made by pawl bench: rename or drop it, or name another server", databaseName)
	default:
		db.created = true // By a run that was killed.
		if err := db.drop(ctx); err != nil {
			return err
		}
	}
	if _, err := db.admin.Exec(ctx, "create database "+databaseName); err != nil {
		return fmt.Errorf("%w; the role of --database-url must be allowed to create databases", err)
	}
	db.created = true
	_, err = db.admin.Exec(ctx, "comment on database "+databaseName+" is '"+ours+"'")
	return err
}

func (db *database) drop(ctx context.Context) error {
	if !db.created {
		return nil
	}
	_, err := db.admin.Exec(ctx, "drop database if exists "+databaseName+" with (force)")
	db.created = err != nil
	return err
}

// close drops the database and stops the server if it is private.
func (db *database) close() error {
	// The caller's context may be cancelled already.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var errs []error
	if db.admin != nil {
		if db.server == nil { // Else the whole server goes.
			errs = append(errs, db.drop(ctx))
		}
		db.admin.Close(ctx)
	}
	if db.server != nil {
		errs = append(errs, db.server.Stop())
	}
	return errors.Join(errs...)
}

// client opens a client on the measured database with a pool of its own.
func (db *database) client(ctx context.Context, conns int) (*pawl.Client, *pgxpool.Pool, error) {
	return newClient(ctx, db.url, conns)
}

func newClient(ctx context.Context, url string, conns int) (*pawl.Client, *pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, nil, err
	}
	cfg.ConnConfig.Database = databaseName
	cfg.MaxConns = int32(conns)
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	client, err := pawl.New(pool, pawl.Config{})
	if err != nil {
		pool.Close()
		return nil, nil, err
	}
	return client, pool, nil
}

// connect opens a single connection to the measured database.
func (db *database) connect(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(db.url)
	if err != nil {
		return nil, err
	}
	cfg.Database = databaseName
	return pgx.ConnectConfig(ctx, cfg)
}

// exec runs statements over a connection of their own, one by one because
// VACUUM refuses to be in a transaction.
func (db *database) exec(ctx context.Context, statements ...string) error {
	conn, err := db.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (db *database) fresh(ctx context.Context) error {
	client, pool, err := db.client(ctx, 2)
	if err != nil {
		return err
	}
	defer pool.Close()
	db.filler = 0
	if err := client.Uninstall(ctx); err != nil {
		return err
	}
	return client.Migrate(ctx)
}

// settle gives each scenario the same start: fresh planner statistics, and the
// next checkpoint a full checkpoint_timeout away.
func (db *database) settle(ctx context.Context) error {
	return db.exec(ctx, "vacuum analyze", "checkpoint")
}

// count counts the jobs, in one snapshot.
func (db *database) count(ctx context.Context) (live, finished int64, err error) {
	conn, err := db.connect(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = conn.QueryRow(ctx, "select (select count(*) from pawl.job), (select count(*) from pawl.archive) + (select count(*) from pawl.dead)").
		Scan(&live, &finished)
	return live, finished, err
}

// transactions reads how many transactions the measured database has seen. A
// backend reports its last ones as it exits, so wait until all have.
func (db *database) transactions(ctx context.Context) (n int64, err error) {
	err = until(ctx, "close the connections to "+databaseName, func() (int64, bool, error) {
		var backends int64
		err := db.admin.QueryRow(ctx, "select count(*) from pg_stat_activity where datname = $1 and backend_type = 'client backend'", databaseName).Scan(&backends)
		return backends, backends == 0, err
	})
	if err == nil {
		err = db.admin.QueryRow(ctx, "select xact_commit + xact_rollback from pg_stat_database where datname = $1", databaseName).Scan(&n)
	}
	return n, err
}

// deadTuples reads how many dead rows autovacuum has left.
func (db *database) deadTuples(ctx context.Context) (n int64, err error) {
	conn, err := db.connect(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = conn.QueryRow(ctx, "select coalesce(sum(n_dead_tup), 0)::bigint from pg_stat_user_tables where schemaname = 'pawl'").Scan(&n)
	return n, err
}

func (db *database) readServer(ctx context.Context) error {
	s := &db.settings
	var (
		pid   int
		local bool
	)
	// Equal addresses (or none, over a Unix socket) mean the same host, where
	// the backend's process id means something to us as well.
	err := db.admin.QueryRow(ctx, `
		select current_setting('server_version'), current_setting('fsync'),
			current_setting('synchronous_commit'), current_setting('shared_buffers'),
			pg_backend_pid(), inet_server_addr() is not distinct from inet_client_addr()`).
		Scan(&s.Version, &s.Fsync, &s.SynchronousCommit, &s.SharedBuffers, &pid, &local)
	if err == nil && local {
		db.postmaster = findPostmaster(pid)
	}
	return err
}
