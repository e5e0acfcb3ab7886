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
	db pg.DB // db runs the statements. If nil, the pool runs them.
}

// An installation is the state that a client made by New shares with the clients that With makes from it.
type installation struct {
	pool          *pgxpool.Pool
	config        Config
	source        *migrate.Source
	insertBatcher insertBatcher
	limits        insertLimits
	limiter       *limiter // It is nil if Config.InsertRate is zero.
	consumer      consumer
	awaiter       awaiter
	counters      *counters
	onClaim       *breaker // Of Config.OnClaim.
	outages       *outages
	noListen      *atomic.Bool // Set when LISTEN has met a transaction pooler. LISTEN is not tried again.
	scansClaims   atomic.Bool  // The pool's types of its own have to scan the rows of claims.
	boundedClaims atomic.Int32 // How many claims look at the sizes of jobs first.
}

// Config configures a client. Its zero value works.
type Config struct {
	// Schema is the name of the schema that has Pawl's tables and functions. It defaults to "pawl".
	Schema string
	// ListenURL is the connection string for connections that use LISTEN. If the pool connects through a transaction
	// pooler, let ListenURL connect to the server directly or through a pooler in session mode. It defaults to the
	// pool's connection settings.
	ListenURL string
	// Logger logs problems that no method can return as an error. It defaults to slog.Default().
	Logger *slog.Logger
	// Defaults holds the values for fields that an inserted job leaves zero: see JobSpec.
	Defaults JobSpec

	// The next five fields limit what may be inserted. If a job exceeds a limit, Insert and Update return an
	// *InvalidError. The limits apply to the args of every kind as JSON. Only MaxArgsBytes also applies to Data and
	// Headers.

	// MaxArgsBytes is the largest size in bytes of a job's args, as JSON before Codec encodes them. It is also the
	// largest size of the job's Data, and of its Headers as JSON. It defaults to 1 MiB and is at most 200 MiB.
	MaxArgsBytes int
	// MaxStringBytes is the largest size in bytes of a string in the args, without JSON escapes. Keys of objects count
	// as strings. If zero, there is no limit.
	MaxStringBytes int
	// MaxDepth is how deep objects and arrays may be nested in the args: {"a":[1]} has depth 2. If zero, there is no
	// limit.
	MaxDepth int
	// ForbiddenKeys are keys that no object in the args may have, at any depth.
	ForbiddenKeys []string
	// RequiredKeys are keys that the args must have at the top level. A key with the value null counts. A job whose args
	// are not an object, or that has no args, is refused.
	RequiredKeys []string

	// InsertRate limits how many jobs this client and the clients that With made from it insert. If an insert exceeds
	// the rate, it inserts nothing and returns a *RateError. Each client made by New counts in memory: n processes can
	// insert n times as many jobs. A valid job counts even if its transaction rolls back or the database fails.
	//
	// An InsertMany of more than Burst jobs succeeds only when Burst is fully available. Later inserts are then refused
	// until its jobs are paid off. If other inserts use the rate all the time, that may take long. For a bulk load, make
	// a second client without a rate: call New with the same pool.
	InsertRate Rate

	// Codec encrypts or compresses args. If nil, args are stored as they are.
	Codec Codec

	// OnClaim, if not nil, is called after each claim of a runner or of Claim that returned jobs or failed. took is the
	// duration of the claim. The jobs start after OnClaim returns. OnClaim must not keep or change the jobs.
	OnClaim func(ctx context.Context, jobs Jobs, took time.Duration, err error)

	// InsertMiddleware runs around each Insert and InsertMany, before the jobs are checked and before InsertRate
	// applies. The first function is the outermost. InsertMiddleware does not run for batches, sagas, crons and SQL.
	//
	// A middleware function gets a copy of the jobs with defaults filled in and with Headers that are not nil. It may
	// change the jobs in place. A field that it sets to zero gets no default. It must call next exactly once before it
	// returns; next inserts the jobs.
	//
	// To refuse the jobs, the function returns an error without calling next. If it returns an error after next has
	// succeeded, the jobs stay inserted, and the caller gets both the results and the error. It cannot hide an error of
	// next. On a client made by With, the inserts are part of that transaction.
	InsertMiddleware []func(ctx context.Context, jobs []JobSpec, next func(context.Context) error) error
}

// insertLimits bound the statements of inserts. Tests lower them.
type insertLimits struct {
	// batch is the size in bytes of the jobs in one statement of single inserts. While the server reads one statement,
	// the next is made.
	batch int
	// statement is the size in bytes of the jobs in one statement of InsertMany. Larger inserts are COPY, or several
	// statements in one transaction. A statement's jobs are in the server's memory several times.
	statement int
	// rows is the number of jobs with constraints in one statement.
	rows int
}

var defaultInsertLimits = insertLimits{batch: 4 << 20, statement: 8 << 20, rows: 5000}

// New returns a client that runs its statements on pool. It does no I/O. It returns an error if config or the pool's
// settings are invalid. pool may be nil if the client is only used through [Client.With] or [Client.WithSQL].
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
		return nil, errors.New("pawl: make client: the pool's description_cache_capacity is 0, but Pawl needs that cache:" +
			" remove the setting")
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	config.Logger = slog.New(guardedHandler{config.Logger.Handler(), new(breaker)})
	source, err := migrate.Load(sql.Files, "pawl.")
	if err != nil {
		return nil, err
	}
	c := &Client{installation: &installation{
		pool: pool, config: config, source: source, limiter: newLimiter(config.InsertRate), onClaim: new(breaker),
		outages: new(outages), noListen: new(atomic.Bool), limits: defaultInsertLimits,
	}}
	c.insertBatcher.client, c.counters = c, newCounters(c)
	return c, nil
}

// Pool returns the pool that the client was made with, or nil if it was made without one. A client made by
// [Client.With] has the pool of the client it was made from.
func (c *Client) Pool() *pgxpool.Pool { return c.pool }

// Schema returns the name of the schema that has the client's tables and functions.
func (c *Client) Schema() string { return c.config.Schema }

// With returns a client like c that runs its statements on db instead of the pool. If db is a transaction, everything
// that the client does is part of that transaction. If db is a Conn or Pool, a method that needs several statements
// begins a transaction on it. For a transaction of database/sql, use [Client.WithSQL]. With panics if db is nil.
//
// Run, Maintain, Wait, Await, Tail, Ready, Doctor, Repair, Uninstall and the methods that migrate outlive a
// transaction: they return an error on such a client.
func (c *Client) With(db DB) *Client {
	if db == nil {
		panic("pawl: With(nil): want a Tx, Conn or Pool of pgx")
	}
	return c.withDB(pg.Pgx{Querier: db})
}

// WithSQL is like [Client.With] for a Tx, Conn or DB of database/sql, or for a wrapper of one. Any driver for
// PostgreSQL works. WithSQL panics if db is nil.
//
// If a wrapper embeds a *sql.Tx or *sql.Conn, statements run on the embedded value. Examples are the wrappers of
// sqlx, bun and gorm. Hooks and loggers of the wrapper do not see these statements.
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

// query runs a statement and calls each, if it is not nil, for every row. The statement names the schema "pawl.". On
// the pool, query explains an error that the state of the schema caused.
func (c *Client) query(ctx context.Context, text string, args []any, each func(scanner) error) error {
	if each == nil {
		each = func(scanner) error { return nil }
	}
	text = c.inSchema(text)
	if c.db != nil {
		err := c.db.Query(ctx, text, args, each)
		if pg.SQLState(err) == "40001" {
			err = fmt.Errorf("it conflicts with a concurrent transaction: run the whole transaction again: %w", err)
		}
		return err
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

// noPartition is the SQLSTATE of an insert for which the archive has no partition. Then no worker has done
// maintenance for a week, or a retention is new.
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

// requirePool returns an error if the client was made by With, or has no pool. verb names the operation in the error.
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
	pg.PinConfig(config)
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), config)
	if err != nil {
		return nil, err
	}
	own := &Client{installation: &installation{
		pool: pool, config: c.config, source: c.source, counters: c.counters, onClaim: c.onClaim, outages: c.outages,
		noListen: c.noListen, limits: c.limits,
	}}
	own.insertBatcher.client = own
	return own, nil
}

// inTx calls do with a client in a transaction: the client's own, or a new one if it has none.
func (c *Client) inTx(ctx context.Context, do func(*Client) error) error {
	if c.db != nil {
		return pg.InTx(ctx, c.db, func(db pg.DB) error { return do(c.withDB(db)) })
	}
	if c.pool == nil {
		return c.query(ctx, "", nil, nil) // It returns the error of a client without a pool.
	}
	return pg.Begin(ctx, c.pool, "", func(tx pgx.Tx) error { return do(c.With(tx)) })
}

// warn logs an error of a callback of the user.
func (c *Client) warn(message string, job *JobInfo, err error) {
	if c != nil {
		c.config.Logger.Warn(message, "job", job, "error", err)
	}
}
