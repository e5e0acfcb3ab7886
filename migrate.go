package pawl

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl/internal/migrate"
)

// MigrateOptions are for Migrate.
type MigrateOptions struct {
	To     int       // Schema version. If zero, this binary's.
	DryRun io.Writer // If not nil, what would be run is written there, for psql, and nothing is changed.

	// Roles makes the roles of docs/roles.md, where they are missing, and gives them their rights; functions are then not everybody's
	// any more. It takes a role that may create roles, or that they are there. Once they are installed, every Migrate sees to it
	// that they have what they need.
	Roles bool
}

// Migrate brings the schema to this binary's version, making it where there is none, and puts back every function. Several at once wait
// for each other. A schema newer than the binary is an error, *SchemaError, and left alone.
//
// It may run beside a fleet of this version or the one before (docs/upgrades.md): it is one transaction, but for indexes that are
// built concurrently, and tries for its locks for 100 ms at a time, every second until ctx ends. Killed, it is continued by the next.
func (c *Client) Migrate(ctx context.Context, opts ...MigrateOptions) error {
	if err := c.requirePool("Migrate"); err != nil {
		return err
	}
	var o MigrateOptions
	if len(opts) > 0 {
		o = opts[0]
	}
	return c.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		after := []string{fmt.Sprintf("select pawl.make_partitions(%d);", daysAhead), fmt.Sprintf("select pawl.grant_roles(%t);", o.Roles)}
		err := c.source.Up(ctx, conn.Conn(), c.config.Schema, migrate.Options{To: o.To, Dry: o.DryRun, After: after, Blocked: func(by string) {
			c.config.Logger.Warn("pawl: migrate did not get its locks within 100 ms, it tries again", "oldest", by)
		}})
		if version, ok := errors.AsType[*migrate.VersionError](err); ok {
			return &SchemaError{Have: version.Have, Want: version.Want}
		}
		if err != nil {
			return fmt.Errorf("pawl: migrate: %w", err)
		}
		return nil
	})
}

// Uninstall drops the schema and all that is in it, jobs included. Where others have tables, views or extensions in it, it is refused.
func (c *Client) Uninstall(ctx context.Context) error {
	if err := c.requirePool("Uninstall"); err != nil {
		return err
	}
	return c.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		if err := c.source.Down(ctx, conn.Conn(), c.config.Schema); err != nil {
			return fmt.Errorf("pawl: uninstall: %w", err)
		}
		return nil
	})
}

// checkSchema is a *SchemaError if the database's schema is not this binary's. Newer is fine: migrations only add.
func (c *Client) checkSchema(ctx context.Context) error {
	return c.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		have, err := c.source.Have(ctx, conn.Conn(), c.config.Schema)
		if err == nil && have < c.source.Version() {
			err = &SchemaError{Have: have, Want: c.source.Version()}
		}
		return err
	})
}

// Ready is nil if the database answers, takes writes, and has a schema this binary can work with: its own version or a newer one.
// Else the error says what is wrong; of the schema it is a *SchemaError. It takes a connection of the pool and waits for one until ctx ends.
func (c *Client) Ready(ctx context.Context) error {
	if err := c.requirePool("Ready"); err != nil {
		return err
	}
	var readOnly bool
	err := c.row(ctx, "select current_setting('transaction_read_only')::boolean", nil, &readOnly)
	switch {
	case err == nil && readOnly:
		return errors.New("pawl: the database is read-only: a standby, or default_transaction_read_only is on")
	case err == nil:
		err = c.checkSchema(ctx)
	}
	if _, ok := errors.AsType[*SchemaError](err); ok || err == nil {
		return err
	}
	return fmt.Errorf("pawl: the database cannot be used: %w", err)
}
