package pawl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl/internal/migrate"
	"github.com/pawlhq/pawl/internal/pg"
	"github.com/pawlhq/pawl/sql"
)

// A Client inserts, claims and manages jobs, and runs handlers. It is safe for concurrent use. There is nothing to
// close.
type Client struct {
	*installation
	db pg.DB // Where statements run. If nil, on the pool.
}

// installation is what a client of New shares with the clients that With makes of it.
type installation struct {
	pool          *pgxpool.Pool
	config        Config
	source        *migrate.Source
	insertBatcher insertBatcher
	limiter       *limiter // It is nil if Config.InsertRate is zero.
	consumer      consumer
	awaiter       awaiter
	counters      *counters
	noListen      *atomic.Bool // Set once LISTEN met a transaction pooler: it is not tried again.
}

// Config configures a client. Its zero value works.
type Config struct {
	// Schema is the name of the schema that has Pawl's tables and functions. It defaults to "pawl".
	Schema string
	// ListenURL is where to connect for LISTEN. Behind a transaction pooler, it should lead past the pooler, or
	// through one in session mode. It defaults to connecting as the pool does.
	ListenURL string
	// Logger defaults to slog.Default().
	Logger *slog.Logger
	// Defaults are the values for what an inserted job leaves zero.
	Defaults JobSpec

	// These fields bound what may be inserted; beyond them Insert and Update return an *InvalidError. All but
	// MaxArgsBytes apply to the args of every kind as JSON, and not to Data.

	// MaxArgsBytes is the largest size of a job's args as JSON, before Codec, and of its Data. It defaults to 1 MiB.
	MaxArgsBytes int
	// MaxStringBytes is the largest size of a string in the args, unescaped. The keys of objects are strings too. If
	// zero, there is no limit.
	MaxStringBytes int
	// MaxDepth is the largest number of objects and arrays inside each other: {"a":[1]} is 2 deep. If zero, there is
	// no limit.
	MaxDepth int
	// ForbiddenKeys are keys that no object in the args may have, at any level.
	ForbiddenKeys []string
	// RequiredKeys are keys that the args must have at the top level; null is a value. Args that are not an object
	// have no keys, nor has a job without args.
	RequiredKeys []string

	// InsertRate limits how many jobs this client inserts, including its clients of With. If an insert exceeds it,
	// Insert and InsertMany insert nothing and return a *RateError. Each client counts for itself, in memory: n
	// processes insert n times as many. A job counts once it is valid, even if its transaction rolls back or the
	// database fails.
	//
	// An InsertMany of more than Burst jobs succeeds only when all of Burst is unused, and later inserts wait longer
	// for it. Beside steady inserts that may take long. For a bulk load, make a second client with New on the same
	// pool, without a rate.
	InsertRate Rate

	// Codec encrypts or compresses args. If nil, args are stored as they are.
	Codec Codec

	// OnClaim, if not nil, is called after each claim that got jobs or failed, by a runner or Claim, and before the
	// jobs start. The jobs wait for it. It must not keep or change them.
	OnClaim func(ctx context.Context, jobs Jobs, took time.Duration, err error)

	// InsertMiddleware runs around each Insert and InsertMany, the first outermost, before the jobs are checked and
	// before InsertRate. It does not run for batches, sagas, cron and SQL.
	//
	// It gets a copy of the jobs, with Defaults filled in and Headers not nil, and may change them in place. A field
	// that it sets to zero gets no default. It calls next once, before it returns. Then the jobs are inserted, in a
	// transaction if the client was made by With. To refuse the jobs, it returns an error without calling next. If it
	// returns an error after next has succeeded, the jobs stay inserted, and the caller gets the results and the
	// error. It cannot hide an error of next.
	InsertMiddleware []func(ctx context.Context, jobs []JobSpec, next func(context.Context) error) error
}

// New makes a client. It does no I/O; an error says that config or the pool's settings are wrong. pool may be nil if
// all statements go through With or WithSQL.
func New(pool *pgxpool.Pool, config Config) (*Client, error) {
	if config.Schema == "" {
		config.Schema = "pawl"
	}
	if err := migrate.CheckName(config.Schema); err != nil {
		return nil, fmt.Errorf("pawl: Config.Schema: %w", err)
	}
	if err := config.checkRules(); err != nil {
		return nil, err
	}
	if err := config.InsertRate.check(); err != nil {
		return nil, fmt.Errorf("pawl: Config.InsertRate: %w", err)
	}
	if config.ListenURL != "" {
		if _, err := pgx.ParseConfig(config.ListenURL); err != nil {
			return nil, fmt.Errorf("pawl: Config.ListenURL: %w", err)
		}
	}
	if pool != nil && pool.Config().ConnConfig.DescriptionCacheCapacity == 0 {
		return nil, errors.New("pawl: the pool's description_cache_capacity is 0, and Pawl has pgx describe statements" +
			" instead of preparing them: leave that setting out")
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	config.Logger = slog.New(guardedHandler{config.Logger.Handler()})
	source, err := migrate.Load(sql.Files, "pawl.")
	if err != nil {
		return nil, err
	}
	c := &Client{installation: &installation{
		pool: pool, config: config, source: source, limiter: newLimiter(config.InsertRate), noListen: new(atomic.Bool),
	}}
	c.insertBatcher.client, c.counters = c, newCounters(c)
	return c, nil
}

// Pool returns the pool that the client was made with, or nil if it was made without one. A client made by With has the
// pool of the client it was made from.
func (c *Client) Pool() *pgxpool.Pool { return c.pool }

// Schema returns the name of the schema that has the client's tables and functions.
func (c *Client) Schema() string { return c.config.Schema }

// With returns the same client with db in the place of the pool: if db is a transaction, what the client does is part
// of it. With a transaction of database/sql, see WithSQL. With panics if db is nil.
//
// What outlives a transaction (Run, Maintain, Wait, Migrate, Uninstall) returns an error on such a client.
func (c *Client) With(db DB) *Client {
	if db == nil {
		panic("pawl: With(nil): want a Tx, Conn or Pool of pgx")
	}
	return c.withDB(pg.Pgx{Querier: db})
}

// WithSQL is With for a Tx, Conn or DB of database/sql, with any driver for PostgreSQL, and for their wrappers. It
// panics if db is nil.
//
// If a wrapper embeds a *sql.Tx or *sql.Conn, as those of sqlx, bun and gorm do, statements run on that. Hooks and
// loggers of the wrapper do not see them.
func (c *Client) WithSQL(db SQLDB) *Client {
	if db == nil {
		panic("pawl: WithSQL(nil): want a Tx, Conn or DB of database/sql")
	}
	return c.withDB(pg.OnSQL(db))
}

// withDB returns the same client whose statements run on db.
func (c *Client) withDB(db pg.DB) *Client {
	return &Client{installation: c.installation, db: db}
}

// query runs a statement and calls each, if it is not nil, for every row. The statement names the schema "pawl.".
// Without With it runs on the pool, and an error that the state of the schema explains says so.
func (c *Client) query(ctx context.Context, text string, args []any, each func(scanner) error) error {
	if each == nil {
		each = func(scanner) error { return nil }
	}
	text = c.inSchema(text)
	if c.db != nil {
		return c.db.Query(ctx, text, args, each)
	}
	if c.pool == nil {
		return errors.New("pawl: this client has no pool: use With or WithSQL, or give New a pool")
	}
	pool := pg.Pgx{Querier: c.pool}
	err := pool.Query(ctx, text, args, each)
	if err == nil {
		return nil
	}
	if pg.SQLState(err) == noPartition && c.makePartitions(ctx) == nil {
		err = pool.Query(ctx, text, args, each)
	}
	return c.explainMissingSchema(ctx, err)
}

// inSchema puts the name of the client's schema into a statement that names it "pawl.".
func (c *Client) inSchema(text string) string {
	if c.config.Schema == "pawl" {
		return text
	}
	return strings.ReplaceAll(text, "pawl.", pgx.Identifier{c.config.Schema}.Sanitize()+".")
}

// noPartition is the SQLSTATE if the archive has no partition for a row: no worker did maintenance for a week, or a
// retention is new.
const noPartition = "23514"

// explainMissingSchema adds the state of the schema to the error of a missing table or function.
func (c *Client) explainMissingSchema(ctx context.Context, err error) error {
	if err != nil && pg.IsMissing(err) && c.db == nil {
		return errors.Join(c.checkSchema(ctx), err)
	}
	return err
}

// row runs a statement and scans its one row. It returns ErrNotFound if there is none.
func (c *Client) row(ctx context.Context, text string, args []any, dest ...any) error {
	found := false
	err := c.query(ctx, text, args, func(s scanner) error {
		found = true
		return s.Scan(dest...)
	})
	if err == nil && !found {
		err = ErrNotFound
	}
	return err
}

// requirePool returns an error if the client was made by With, or has no pool. verb names what needs the pool.
func (c *Client) requirePool(verb string) error {
	if c.db != nil {
		return fmt.Errorf("pawl: %s outlives a transaction: call it on the client itself, not on one made by With", verb)
	}
	if c.pool == nil {
		return fmt.Errorf("pawl: %s needs a pool: give New one", verb)
	}
	return nil
}

// clonePool returns a client like c with up to eight connections of its own, made as the pool makes its connections.
func (c *Client) clonePool(ctx context.Context) (*Client, error) {
	config := c.pool.Config()
	// They are for claims, three writers of results, heartbeats, cron, counters and maintenance.
	config.MaxConns, config.MinConns, config.MinIdleConns = 8, 0, 0
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), config)
	if err != nil {
		return nil, err
	}
	own := &Client{installation: &installation{
		pool: pool, config: c.config, source: c.source, counters: c.counters, noListen: c.noListen,
	}}
	own.insertBatcher.client = own
	return own, nil
}

// inTx calls do with a client in a transaction: the client's own, or a new one if it has none.
func (c *Client) inTx(ctx context.Context, do func(*Client) error) error {
	if c.db != nil {
		return do(c)
	}
	if c.pool == nil {
		return c.query(ctx, "", nil, nil) // It returns the error of a client without a pool.
	}
	options := pgx.TxOptions{IsoLevel: pgx.ReadCommitted}
	return pgx.BeginTxFunc(ctx, c.pool, options, func(tx pgx.Tx) error { return do(c.With(tx)) })
}

// warn logs an error of a callback of the user.
func (c *Client) warn(message string, job *JobInfo, err error) {
	if c != nil {
		c.config.Logger.Warn(message, "job", job, "error", err)
	}
}
