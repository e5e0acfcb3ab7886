package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

const databaseName = "river_bench"

// bench is the state that scenarios share. Its admin connection goes to the
// database of --database-url, not to the measured database. Reading statistics
// there adds no transactions to the counted ones.
type bench struct {
	opts     options
	admin    *pgx.Conn
	settings serverSettings

	// postmaster is the server's process id. It is 0 if the server runs on
	// another machine.
	postmaster int

	// inserted counts the jobs of the running scenario; it also numbers them.
	inserted atomic.Int64
}

func open(ctx context.Context, opts options) (*bench, error) {
	admin, err := pgx.Connect(ctx, opts.databaseURL)
	if err != nil {
		return nil, err
	}
	b := &bench{opts: opts, admin: admin}
	if err := b.create(ctx); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bench) create(ctx context.Context) error {
	if b.admin.Config().Database == databaseName {
		return fmt.Errorf("--database-url must name another database than %s, which is dropped", databaseName)
	}
	if err := b.drop(ctx); err != nil {
		return err
	}
	if _, err := b.admin.Exec(ctx, "CREATE DATABASE "+databaseName); err != nil {
		return err
	}
	if err := b.readServer(ctx); err != nil {
		return err
	}

	pool, err := b.pool(ctx, 2)
	if err != nil {
		return err
	}
	defer pool.Close()
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: quiet})
	if err != nil {
		return err
	}
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

func (b *bench) drop(ctx context.Context) error {
	_, err := b.admin.Exec(ctx, "DROP DATABASE IF EXISTS "+databaseName+" WITH (FORCE)")
	return err
}

// close drops the database. Otherwise autovacuum would work on its dead rows
// during the next measurement on the same server.
func (b *bench) close() {
	// The caller's context may be cancelled already.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if !b.opts.keep && b.admin.Config().Database != databaseName {
		_ = b.drop(ctx)
	}
	_ = b.admin.Close(ctx)
}

// pool opens a pool on the measured database.
func (b *bench) pool(ctx context.Context, maxConns int) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(b.opts.databaseURL)
	if err != nil {
		return nil, err
	}
	cfg.ConnConfig.Database = databaseName
	cfg.MaxConns = int32(maxConns)
	return pgxpool.NewWithConfig(ctx, cfg)
}

// connect opens a single connection to the measured database.
func (b *bench) connect(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(b.opts.databaseURL)
	if err != nil {
		return nil, err
	}
	cfg.Database = databaseName
	return pgx.ConnectConfig(ctx, cfg)
}

// exec runs statements over a connection of their own, one by one because
// VACUUM refuses to be in a transaction.
func (b *bench) exec(ctx context.Context, statements ...string) error {
	conn, err := b.connect(ctx)
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

func (b *bench) truncate(ctx context.Context) error {
	conn, err := b.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))

	// River's tables differ between versions, so the catalog lists them.
	rows, err := conn.Query(ctx, `
		SELECT quote_ident(tablename) FROM pg_tables
		WHERE schemaname = current_schema() AND tablename LIKE 'river\_%' AND tablename <> 'river_migration'`)
	if err != nil {
		return err
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "TRUNCATE "+strings.Join(tables, ", ")+" RESTART IDENTITY")
	return err
}

// prepare gives each scenario the same start: fresh planner statistics, and
// the next checkpoint a full checkpoint_timeout away.
func (b *bench) prepare(ctx context.Context) error {
	return b.exec(ctx, "VACUUM ANALYZE", "CHECKPOINT")
}

// checkCompleted reports whether all of the scenario's jobs are completed.
func (b *bench) checkCompleted(ctx context.Context) (bool, error) {
	conn, err := b.connect(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var completed, total int64
	err = conn.QueryRow(ctx, `
		SELECT count(*) FILTER (WHERE state = 'completed'), count(*) FROM river_job`).Scan(&completed, &total)
	if err != nil {
		return false, err
	}
	if want := b.inserted.Load(); total != want {
		return false, fmt.Errorf("%d jobs in the table, want %d", total, want)
	}
	return completed == total, nil
}

// transactions reads how many transactions the measured database has seen. A
// backend reports its last ones as it exits, so wait until all have.
func (b *bench) transactions(ctx context.Context) (int64, error) {
	deadline := time.Now().Add(10 * time.Second)
	for {
		var backends, n int64
		err := b.admin.QueryRow(ctx, `
			SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = d.datname AND backend_type = 'client backend'),
				d.xact_commit + d.xact_rollback
			FROM pg_stat_database d WHERE d.datname = $1`, databaseName).Scan(&backends, &n)
		if err != nil {
			return 0, err
		}
		if backends == 0 {
			// Read again: the counts may be older than the last exit.
			err := b.admin.QueryRow(ctx, `
				SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = $1`, databaseName).Scan(&n)
			return n, err
		}
		if time.Now().After(deadline) {
			return 0, errors.New("connections to " + databaseName + " stay open")
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

type serverSettings struct {
	Version           string `json:"version"`
	Fsync             string `json:"fsync"`
	SynchronousCommit string `json:"synchronous_commit"`
	SharedBuffers     string `json:"shared_buffers"`
}

func (b *bench) readServer(ctx context.Context) error {
	s := &b.settings
	var (
		pid   int
		local bool
	)
	// Equal addresses, or none over a Unix socket, mean the same host. Only
	// there is the backend's process id valid for this process.
	err := b.admin.QueryRow(ctx, `
		SELECT current_setting('server_version'), current_setting('fsync'),
			current_setting('synchronous_commit'), current_setting('shared_buffers'),
			pg_backend_pid(), inet_server_addr() IS NOT DISTINCT FROM inet_client_addr()`).
		Scan(&s.Version, &s.Fsync, &s.SynchronousCommit, &s.SharedBuffers, &pid, &local)
	if err != nil {
		return err
	}
	if local {
		b.postmaster = findPostmaster(pid)
	}
	return nil
}
