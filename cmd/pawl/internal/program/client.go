package program

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/settings"
)

// Open connects to the database of the settings. The client is usable until the command ends. Open does not check
// whether Pawl is installed.
func (p *Program) Open(ctx context.Context) (*pawl.Client, error) {
	s, err := p.LoadSettings()
	if err != nil {
		return nil, err
	}
	log, err := p.Logger()
	if err != nil {
		return nil, err
	}
	pool, err := p.Connect(ctx, s.DSN)
	if err != nil {
		return nil, err
	}
	return pawl.New(pool, s.ClientConfig(log))
}

// Offline returns a client without a database, which can only validate.
func (p *Program) Offline() (*pawl.Client, error) {
	log, err := p.Logger()
	if err != nil {
		return nil, err
	}
	return pawl.New(nil, p.Settings.ClientConfig(log))
}

// Connect opens a pool and checks that its database can be reached. The pool is closed when the command ends.
func (p *Program) Connect(ctx context.Context, dsn string) (*pgxpool.Pool, error) {
	s, err := p.LoadSettings()
	if err != nil {
		return nil, err
	}
	if dsn == "" && os.Getenv("PGHOST") == "" && os.Getenv("PGDATABASE") == "" && os.Getenv("PGSERVICE") == "" {
		return nil, exit.Usagef("no database: set --dsn postgres://user@host/database, PAWL_DSN, DATABASE_URL "+
			"or dsn in %s", settings.DefaultFile)
	}
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, exit.Usage(fmt.Errorf("dsn: %w", err)) // The dsn was checked before: a variable PG… is wrong.
	}
	config.MaxConns = int32(s.MaxConnections)
	config.ConnConfig.ConnectTimeout = s.ConnectionTimeout
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = p.command.CommandPath()
	}
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe // A transaction pooler may be in between.
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	p.OnEnd(func() error { pool.Close(); return nil })
	pinging, cancel := context.WithTimeout(ctx, s.ConnectionTimeout)
	defer cancel()
	if err := pool.Ping(pinging); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if errors.Is(err, context.DeadlineExceeded) {
			port := strconv.Itoa(int(config.ConnConfig.Port))
			err = fmt.Errorf("%s: no answer within %s (connection_timeout)",
				net.JoinHostPort(config.ConnConfig.Host, port), flagvalue.FormatDuration(s.ConnectionTimeout))
		}
		return nil, exit.Unreachable(err)
	}
	return pool, nil
}

// ExplicitDSN returns the value of --dsn, or "" if the dsn comes from anywhere else. Commands that create and drop
// schemas or databases of their own must not do so in the user's usual database.
func (p *Program) ExplicitDSN() (string, error) {
	s, err := p.LoadSettings()
	if err != nil || s.Origin("dsn") != "--dsn" {
		return "", err
	}
	return s.DSN, nil
}

// ExplainSchema adds to a schema error the command that helps.
func (p *Program) ExplainSchema(err *pawl.SchemaError) error {
	schema, command := p.Settings.Schema, "pawl"
	if p.Settings.Origin("schema") == "--schema" {
		command += " --schema " + schema
	}
	text := ""
	switch {
	case err.Have == 0:
		text = fmt.Sprintf("Pawl is not installed in the schema %s; to install it: %s install", schema, command)
	case err.Have < err.Want:
		text = fmt.Sprintf("the schema %s is at version %d, older than this pawl's %d; to upgrade it: %s migrate",
			schema, err.Have, err.Want, command)
	default:
		text = fmt.Sprintf("the schema %s is at version %d, newer than this pawl's %d: use a newer pawl",
			schema, err.Have, err.Want)
	}
	return rewordedError{err, text}
}

// rewordedError is an error with another text.
type rewordedError struct {
	error
	text string
}

func (e rewordedError) Error() string { return e.text }
func (e rewordedError) Unwrap() error { return e.error }
