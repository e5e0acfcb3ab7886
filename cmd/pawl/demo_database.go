package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/localpg"
)

const (
	demoSchema    = "pawl_demo"     // The queue.
	demoAppSchema = "pawl_demo_app" // The shop's own tables.
	demoComment   = "made by pawl demo, which may drop it"
	demoLock      = "select pg_try_advisory_xact_lock(hashtextextended('pawl demo', 0))"
)

// shopTables are the application's. invoice has no unique constraint on purpose: that each is written exactly once
// is the queue's doing, and would otherwise prove nothing.
const shopTables = `
	create table pawl_demo_app.orders (id bigint generated always as identity primary key, tenant text not null, cents bigint not null);
	create table pawl_demo_app.invoice (order_id bigint not null, job_id bigint not null, cents bigint not null, written_at timestamptz not null default now())`

// demoDatabase is where a demo takes place, and removes itself.
type demoDatabase struct {
	url     string
	server  *localpg.Server // nil: the user's.
	lock    *pgx.Conn       // Holds the lock that keeps two demos in one database apart, in a transaction: a pooler may be in between.
	pool    *pgxpool.Pool
	client  *pawl.Client
	version string
}

// openDemoDatabase starts a server if there is no URL, and makes the schemas. What it made is gone if it fails.
func openDemoDatabase(ctx context.Context, url string) (_ *demoDatabase, err error) {
	b := &demoDatabase{url: url}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("demo: %w", err), b.close())
		}
	}()
	if url == "" {
		// Durable: what is shown should hold for a server as people run it.
		if b.server, err = localpg.Start(ctx, localpg.Config{Durable: true}); err != nil {
			return nil, fmt.Errorf("%w\nOr give a server of your own with --dsn", err)
		}
		b.url = b.server.URL("postgres")
	}
	if b.pool, b.client, err = openDemoClient(ctx, b.url, nil); err != nil {
		return nil, err
	}
	if err := b.makeSchemas(ctx); err != nil {
		return nil, err
	}
	err = b.pool.QueryRow(ctx, "select current_setting('server_version')").Scan(&b.version)
	return b, err
}

// openDemoClient is what the demo and its workers have in common.
func openDemoClient(ctx context.Context, url string, logger *slog.Logger) (*pgxpool.Pool, *pawl.Client, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, nil, fmt.Errorf("--dsn: %w", err)
	}
	// Handlers that hold a transaction each must leave connections to the runner.
	config.MaxConns = 16
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe // A transaction pooler may be in between.
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	client, err := pawl.New(pool, pawl.Config{Schema: demoSchema, Logger: logger})
	if err != nil {
		pool.Close()
	}
	return pool, client, err
}

func (b *demoDatabase) makeSchemas(ctx context.Context) error {
	lock, err := pgx.Connect(ctx, b.url)
	if err != nil {
		return fmt.Errorf("connect: %w; check --dsn", err)
	}
	alone := false
	_, err = lock.Exec(ctx, "begin; set local idle_in_transaction_session_timeout = 0")
	if err == nil {
		err = lock.QueryRow(ctx, demoLock, pgx.QueryExecModeExec).Scan(&alone)
	}
	if err != nil || !alone {
		lock.Close(ctx)
		if err != nil {
			return err
		}
		return errors.New("another demo runs in this database: wait for it, or use another database")
	}
	b.lock = lock
	// A demo that was killed could not clean up: this one does. But a schema it did not make is somebody's.
	var others int
	err = b.pool.QueryRow(ctx, `select count(*) from pg_namespace where nspname = any ($1)
		and not exists (select from pg_namespace n where n.nspname = $2 and obj_description(n.oid, 'pg_namespace') = $3)`,
		[]string{demoSchema, demoAppSchema}, demoAppSchema, demoComment).Scan(&others)
	if err != nil {
		return err
	}
	if others > 0 {
		b.lock.Close(ctx) // And with it the right to drop what is there.
		b.lock = nil
		return fmt.Errorf("there is a schema %s or %s that no demo made: drop or rename it, or use another database", demoSchema, demoAppSchema)
	}
	if err := b.dropSchemas(ctx); err != nil {
		return err
	}
	_, err = b.pool.Exec(ctx, "create schema "+demoAppSchema+"; comment on schema "+demoAppSchema+" is '"+demoComment+"';"+shopTables,
		pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return fmt.Errorf("make the demo's tables: %w; the role needs the right to create schemas in this database", err)
	}
	return b.client.Migrate(ctx)
}

// dropSchemas drops the one with the comment last: until then another demo knows whose they are.
func (b *demoDatabase) dropSchemas(ctx context.Context) error {
	if err := b.client.Uninstall(ctx); err != nil {
		return fmt.Errorf("drop schema %s: %w", demoSchema, err)
	}
	_, err := b.pool.Exec(ctx, "drop schema if exists "+demoAppSchema+" cascade")
	return err
}

// close removes everything. It has its own time: the context of the demo may be over.
func (b *demoDatabase) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	var err error
	if b.lock != nil {
		if b.server == nil {
			if err = b.dropSchemas(ctx); err != nil {
				err = fmt.Errorf("clean up: %w; drop the schemas %s and %s by hand", err, demoSchema, demoAppSchema)
			}
		}
		b.lock.Close(ctx)
	}
	if b.pool != nil {
		b.pool.Close()
	}
	if b.server != nil {
		err = errors.Join(err, b.server.Stop())
	}
	return err
}

// hint says how to look around.
func (b *demoDatabase) hint(out io.Writer) {
	where := fmt.Sprintf("psql '%s'", b.url)
	if b.server == nil {
		where = "psql, with the URL you gave" // It may hold a password.
	}
	fmt.Fprintf(out, `
Everything stays until ^C. To look around:

  %s

  select kind, state, attempt, count(*) from %[2]s.archive group by 1, 2, 3 order by 1, 3;
  select id, kind, reason, errors->-1->>'error' as last_error from %[2]s.dead limit 5;
  select * from %[3]s.invoice order by order_id limit 5;
`, where, demoSchema, demoAppSchema)
}

// tally is how far the jobs are.
type tally struct {
	live     int
	finished map[string]int // By kind; the dead too.
	dead     map[string]int
}

func (b *demoDatabase) tally(ctx context.Context) (tally, error) {
	t := tally{finished: map[string]int{}, dead: map[string]int{}}
	// One statement, one snapshot: no job is seen twice or between two tables.
	rows, err := b.pool.Query(ctx, `
		select 'live', '', count(*) from pawl_demo.job
		union all select 'archive', kind, count(*) from pawl_demo.archive group by kind
		union all select 'dead', kind, count(*) from pawl_demo.dead group by kind`)
	if err != nil {
		return t, err
	}
	var place, kind string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&place, &kind, &n}, func() error {
		switch place {
		case "live":
			t.live = n
		case "dead":
			t.dead[kind] = n
			t.finished[kind] += n
		default:
			t.finished[kind] += n
		}
		return nil
	})
	return t, err
}

// heldJobs are jobs in a worker's hands, with the epochs they have there.
type heldJobs struct {
	ids    []int64
	epochs []int32
}

// held is what a worker holds by the books.
func (b *demoDatabase) held(ctx context.Context, worker string) (h heldJobs, err error) {
	err = b.pool.QueryRow(ctx, `
		select coalesce(array_agg(j.id), '{}'), coalesce(array_agg(j.epoch), '{}')
		from pawl_demo.worker w
		join pawl_demo.lease l on l.worker_id = w.id, unnest(l.jobs, l.epochs) as u (id, epoch)
		join pawl_demo.job j on j.id = u.id and j.epoch = u.epoch
		where w.name = $1`, worker).Scan(&h.ids, &h.epochs)
	return h, err
}
