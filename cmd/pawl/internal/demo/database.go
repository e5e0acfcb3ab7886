package demo

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
	// Schema is the schema of the queue.
	Schema = "pawl_demo"
	// AppSchema is the schema of the shop's own tables.
	AppSchema = "pawl_demo_app"

	schemaComment = "made by pawl demo, which may drop it"
	tryLock       = "select pg_try_advisory_xact_lock(hashtextextended('pawl demo', 0))"
)

// shopTables creates the application's tables. The table invoice has no unique constraint: the queue alone must write
// each invoice exactly once.
const shopTables = `
	create table pawl_demo_app.orders (
		id bigint generated always as identity primary key, tenant text not null, cents bigint not null);
	create table pawl_demo_app.invoice (
		order_id bigint not null, job_id bigint not null, cents bigint not null,
		written_at timestamptz not null default now())`

// database is the database of a demo. close removes what the demo has created in it.
type database struct {
	url     string
	server  *localpg.Server // Nil if the user gave a URL.
	lock    *pgx.Conn       // Excludes a second demo. A transaction holds the lock, which also works through a pooler.
	pool    *pgxpool.Pool
	client  *pawl.Client
	version string
}

// openDatabase starts a server if there is no URL, and creates the schemas. If it fails, it removes what it has
// created.
func openDatabase(ctx context.Context, url string) (_ *database, err error) {
	db := &database{url: url}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("demo: %w", err), db.close())
		}
	}()
	if url == "" {
		// The server is durable, as servers in production are.
		if db.server, err = localpg.Start(ctx, localpg.Config{Durable: true}); err != nil {
			return nil, fmt.Errorf("%w\nOr use a server of your own with --dsn", err)
		}
		db.url = db.server.URL("postgres")
	}
	if db.pool, db.client, err = openClient(ctx, db.url, nil); err != nil {
		return nil, err
	}
	if err := db.makeSchemas(ctx); err != nil {
		return nil, err
	}
	err = db.pool.QueryRow(ctx, "select current_setting('server_version')").Scan(&db.version)
	return db, err
}

// openClient opens the client that the demo and its workers use.
func openClient(ctx context.Context, url string, logger *slog.Logger) (*pgxpool.Pool, *pawl.Client, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, nil, fmt.Errorf("--dsn: %w", err)
	}
	// The handlers hold one transaction each, and the runner needs connections, too.
	config.MaxConns = 16
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe // A transaction pooler may be in between.
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	client, err := pawl.New(pool, pawl.Config{Schema: Schema, Logger: logger})
	if err != nil {
		pool.Close()
	}
	return pool, client, err
}

func (db *database) makeSchemas(ctx context.Context) error {
	lock, err := pgx.Connect(ctx, db.url)
	if err != nil {
		return fmt.Errorf("connect: %w; check --dsn", err)
	}
	alone := false
	_, err = lock.Exec(ctx, "begin; set local idle_in_transaction_session_timeout = 0")
	if err == nil {
		err = lock.QueryRow(ctx, tryLock, pgx.QueryExecModeExec).Scan(&alone)
	}
	if err != nil || !alone {
		lock.Close(ctx)
		if err != nil {
			return err
		}
		return errors.New("another demo runs in this database: wait for it, or use another database")
	}
	db.lock = lock
	// Remove what a killed demo has left, but no schema that a demo did not create.
	var others int
	err = db.pool.QueryRow(ctx, `select count(*) from pg_namespace where nspname = any ($1)
		and not exists (select from pg_namespace n where n.nspname = $2 and obj_description(n.oid, 'pg_namespace') = $3)`,
		[]string{Schema, AppSchema}, AppSchema, schemaComment).Scan(&others)
	if err != nil {
		return err
	}
	if others > 0 {
		db.lock.Close(ctx) // Without the lock, close drops no schema.
		db.lock = nil
		return fmt.Errorf("there is a schema %s or %s that no demo made: drop or rename it, or use another database",
			Schema, AppSchema)
	}
	if err := db.dropSchemas(ctx); err != nil {
		return err
	}
	_, err = db.pool.Exec(ctx,
		"create schema "+AppSchema+"; comment on schema "+AppSchema+" is '"+schemaComment+"';"+shopTables,
		pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return fmt.Errorf("create the demo's tables: %w; the role needs the right to create schemas in this database", err)
	}
	return db.client.Migrate(ctx)
}

// dropSchemas drops the schema with the comment last, so that another demo can finish the work if this one is killed.
func (db *database) dropSchemas(ctx context.Context) error {
	if err := db.client.Uninstall(ctx); err != nil {
		return fmt.Errorf("drop schema %s: %w", Schema, err)
	}
	_, err := db.pool.Exec(ctx, "drop schema if exists "+AppSchema+" cascade")
	return err
}

// close removes everything. It has a context of its own, because the demo's may have ended.
func (db *database) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	var err error
	if db.lock != nil {
		if db.server == nil {
			if err = db.dropSchemas(ctx); err != nil {
				err = fmt.Errorf("clean up: %w; drop the schemas %s and %s by hand", err, Schema, AppSchema)
			}
		}
		db.lock.Close(ctx)
	}
	if db.pool != nil {
		db.pool.Close()
	}
	if db.server != nil {
		err = errors.Join(err, db.server.Stop())
	}
	return err
}

// printHint prints statements that show the results.
func (db *database) printHint(out io.Writer) {
	where := fmt.Sprintf("psql '%s'", db.url)
	if db.server == nil {
		where = "psql, with the URL you gave" // The URL may contain a password.
	}
	fmt.Fprintf(out, `
Everything stays until ^C. To look around:

  %s

  select kind, state, attempt, count(*) from %[2]s.archive group by 1, 2, 3 order by 1, 3;
  select id, kind, reason, errors->-1->>'error' as last_error from %[2]s.dead limit 5;
  select * from %[3]s.invoice order by order_id limit 5;
`, where, Schema, AppSchema)
}

// counts holds the numbers of jobs.
type counts struct {
	live     int
	finished map[string]int // By kind, including dead jobs.
	dead     map[string]int
}

func (db *database) count(ctx context.Context) (counts, error) {
	c := counts{finished: map[string]int{}, dead: map[string]int{}}
	// One statement sees one snapshot: it counts each job once.
	rows, err := db.pool.Query(ctx, `
		select 'live', '', count(*) from pawl_demo.job
		union all select 'archive', kind, count(*) from pawl_demo.archive group by kind
		union all select 'dead', kind, count(*) from pawl_demo.dead group by kind`)
	if err != nil {
		return c, err
	}
	var place, kind string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&place, &kind, &n}, func() error {
		switch place {
		case "live":
			c.live = n
		case "dead":
			c.dead[kind] = n
			c.finished[kind] += n
		default:
			c.finished[kind] += n
		}
		return nil
	})
	return c, err
}

// claimedJobs holds the IDs of claimed jobs and the epochs of their claims.
type claimedJobs struct {
	ids    []int64
	epochs []int32
}

// claimed returns the jobs that a worker has claimed, by the tables.
func (db *database) claimed(ctx context.Context, worker string) (jobs claimedJobs, err error) {
	err = db.pool.QueryRow(ctx, `
		select coalesce(array_agg(j.id), '{}'), coalesce(array_agg(j.epoch), '{}')
		from pawl_demo.worker w
		join pawl_demo.lease l on l.worker_id = w.id, unnest(l.jobs, l.epochs) as u (id, epoch)
		join pawl_demo.job j on j.id = u.id and j.epoch = u.epoch
		where w.name = $1`, worker).Scan(&jobs.ids, &jobs.epochs)
	return jobs, err
}
