package pawl

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl/internal/migrate"
	"github.com/pawlhq/pawl/internal/pg"
)

// Migrate brings the schema to this binary's version. It creates the schema if there is none, and it replaces every
// function. If several processes call Migrate at once, they run one after the other. If the schema is newer than the
// binary, Migrate changes nothing and returns a [*SchemaError].
//
// Migrate may run while workers of this version and of the version before run jobs (docs/upgrades.md). It is one
// transaction, except for indexes that are built concurrently. It waits at most 100 milliseconds for a lock and tries
// again every second until ctx ends. If it is killed, the next Migrate continues.
func (c *Client) Migrate(ctx context.Context) error {
	return c.migrate(ctx, "Migrate", migrate.Options{}, false)
}

// MigrateTo is like [Client.Migrate] for an older version than this binary's, from 1. It creates that version's
// tables and indexes; functions are only replaced by a Migrate to the newest version. It never goes back: if the
// schema is at a higher version already, MigrateTo changes nothing.
func (c *Client) MigrateTo(ctx context.Context, version int) error {
	if version < 1 {
		return fmt.Errorf("pawl: migrate to version %d: want 1 to %d", version, c.source.Version())
	}
	return c.migrate(ctx, "MigrateTo", migrate.Options{To: version}, false)
}

// WriteMigration writes to w the SQL that [Client.MigrateTo] would run, as a script for psql, and changes nothing. If
// version is 0, it stands for this binary's version. The script fits the schema in the state that it has during the
// call.
func (c *Client) WriteMigration(ctx context.Context, w io.Writer, version int) error {
	return c.migrate(ctx, "WriteMigration", migrate.Options{To: version, Dry: w}, false)
}

// CreateRoles creates the roles of docs/roles.md unless they exist, and grants them their rights. From then on other
// roles cannot call Pawl's functions. Each later Migrate keeps the grants up to date.
//
// The calling role must own the schema, and must be allowed to create roles unless they exist. CreateRoles returns a
// [*SchemaError] if the schema is not at this binary's version: call Migrate first.
func (c *Client) CreateRoles(ctx context.Context) error {
	if err := c.requirePool("CreateRoles"); err != nil {
		return err
	}
	if err := c.checkSchema(ctx); err != nil {
		return err
	}
	return c.migrate(ctx, "CreateRoles", migrate.Options{}, true)
}

// migrate migrates the schema. In the same transaction it makes the archive's partitions and updates the roles'
// grants.
func (c *Client) migrate(ctx context.Context, verb string, o migrate.Options, createRoles bool) error {
	if err := c.requirePool(verb); err != nil {
		return err
	}
	o.After = []string{
		fmt.Sprintf("select pawl.make_partitions(%d);", daysAhead),
		fmt.Sprintf("select pawl.grant_roles(%t);", createRoles),
	}
	o.Blocked = func(by string) {
		c.config.Logger.Warn("pawl: migrate did not get its locks within 100 ms; it tries again", "oldest", by)
	}
	return c.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		if err := pg.CheckEncoding(conn.Conn()); err != nil {
			return fmt.Errorf("pawl: migrate schema %s: %w", c.config.Schema, err)
		}
		err := c.source.Up(ctx, conn.Conn(), c.config.Schema, o)
		if version, ok := errors.AsType[*migrate.VersionError](err); ok {
			return &SchemaError{Have: version.Have, Want: version.Want}
		}
		if err != nil {
			return fmt.Errorf("pawl: migrate schema %s: %w", c.config.Schema, err)
		}
		return nil
	})
}

// Uninstall drops the schema with everything in it, including all jobs. It returns an error and drops nothing if the
// schema has tables, views or extensions that are not Pawl's.
func (c *Client) Uninstall(ctx context.Context) error {
	if err := c.requirePool("Uninstall"); err != nil {
		return err
	}
	return c.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		if err := c.source.Down(ctx, conn.Conn(), c.config.Schema); err != nil {
			return fmt.Errorf("pawl: uninstall schema %s: %w", c.config.Schema, err)
		}
		return nil
	})
}

// checkSchema returns a *SchemaError if the schema is older than this binary. A newer one is fine: migrations only add.
func (c *Client) checkSchema(ctx context.Context) error {
	return c.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		if err := pg.CheckEncoding(conn.Conn()); err != nil {
			return fmt.Errorf("pawl: check schema: %w", err)
		}
		have, err := c.source.Have(ctx, conn.Conn(), c.config.Schema)
		if err == nil && have < c.source.Version() {
			err = &SchemaError{Have: have, Want: c.source.Version()}
		}
		return err
	})
}

// Ready returns nil if the client can use the database: it responds, accepts writes, and its schema has this binary's
// version or a newer one. If the schema is missing or too old, the error is a [*SchemaError]. Ready waits for a
// connection of the pool until ctx ends.
//
// Ready also returns an error if the claims, the heartbeats, the results or the maintenance of one of the client's
// runners have failed for 5 seconds.
func (c *Client) Ready(ctx context.Context) error {
	if err := c.requirePool("Ready"); err != nil {
		return err
	}
	var readOnly bool
	err := c.row(ctx, "select current_setting('transaction_read_only')::boolean", nil, &readOnly)
	switch {
	case err == nil && readOnly:
		return errors.New("pawl: check database: it is read-only: " +
			"connect to the primary, and turn default_transaction_read_only off")
	case err == nil:
		err = c.checkSchema(ctx)
	}
	if err == nil {
		if state := c.outages.state(); state != "" {
			return errors.New("pawl: check runners: " + state)
		}
	}
	if _, ok := errors.AsType[*SchemaError](err); ok || err == nil {
		return err
	}
	return fmt.Errorf("pawl: check database: it cannot be used: %w", err)
}
