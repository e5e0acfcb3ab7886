package main

import (
	"errors"
	"fmt"
	"math"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
	"github.com/spf13/cobra"
)

// installed is what install and migrate have done.
type installed struct {
	Schema  string `json:"schema"`
	Version int    `json:"version"`
}

func installCommand(p *program) *cobra.Command {
	var roles bool
	command := &cobra.Command{
		Use:   "install",
		Short: "Make the schema, or bring it up to date",
		Long: `Install makes the schema with its tables and functions, or brings it to this binary's version. Where all is there it changes nothing.
With --roles it makes the roles pawl_producer, pawl_worker, pawl_reader and pawl_admin too (or those of another schema's name), to be
granted to logins; from then on nobody else may do anything but the owner.`,
		Args:    cobra.NoArgs,
		GroupID: groupSetup,
		RunE:    func(command *cobra.Command, _ []string) error { return migrateTo(command, p, 0, roles) },
	}
	command.Flags().BoolVar(&roles, "roles", false, "make roles for producers, workers, readers and admins")
	return command
}

func migrateCommand(p *program) *cobra.Command {
	var to int
	var dry bool
	command := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the schema to a version",
		Long: `Migrate brings the schema to this binary's version, or with --to to one before it, making it where there is none; as install does. It may run
while jobs are done, by workers of this version and the one before. There is no way back to an older version.

With --dry-run it writes what it would run, for psql.`,
		Example: `  pawl migrate
  pawl migrate --dry-run | psql -v ON_ERROR_STOP=1 "$DATABASE_URL"`,
		Args:    cobra.NoArgs,
		GroupID: groupSetup,
		RunE: func(command *cobra.Command, _ []string) (err error) {
			if !dry {
				return migrateTo(command, p, to, false)
			}
			out, err := p.output()
			if err != nil {
				return err
			}
			client, err := p.open(command.Context())
			if err != nil {
				return err
			}
			return client.WriteMigration(command.Context(), out, to)
		},
	}
	command.Flags().Var(&numberValue{&to, 1, math.MaxInt32}, "to", "version to migrate to; if not given, this binary's")
	command.Flags().BoolVar(&dry, "dry-run", false, "write the SQL and change nothing")
	return command
}

// migrateTo migrates to a version, 0 for this binary's, and creates the roles if roles is set.
func migrateTo(command *cobra.Command, p *program, to int, roles bool) error {
	client, err := p.open(command.Context())
	if err != nil {
		return err
	}
	if to == 0 {
		err = client.Migrate(command.Context())
	} else {
		err = client.MigrateTo(command.Context(), to)
	}
	if err == nil && roles {
		err = client.CreateRoles(command.Context())
	}
	if err != nil {
		return err
	}
	done := installed{Schema: p.settled.Schema}
	err = client.Ready(command.Context())
	if behind, ok := errors.AsType[*pawl.SchemaError](err); ok && to > 0 {
		done.Version = behind.Have
	} else if err != nil {
		return err
	} else if stats, err := client.Stats(command.Context()); err != nil {
		return err
	} else {
		done.Version = stats.Schema
	}
	if to > 0 && to < done.Version {
		return fmt.Errorf("the schema %s is at version %d already, and there is no way back: nothing was changed", done.Schema, done.Version)
	}
	return p.print(done)
}

// uninstalled is what uninstall has dropped.
type uninstalled struct {
	Schema string `json:"schema"`
	Live   int64  `json:"live_jobs"`
	Dead   int64  `json:"dead_jobs"`
}

func uninstallCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "uninstall",
		Short: "Drop the schema and all that is in it, jobs included",
		Long: `Uninstall drops the schema with all jobs in it, live and finished, after it has said how many those are and asked. It is refused where others
have tables, views or extensions in the schema. The roles of pawl install --roles stay: other databases of the server may use them.`,
		Args:    cobra.NoArgs,
		GroupID: groupSetup,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx := command.Context()
			client, err := p.open(ctx)
			if err != nil {
				return err
			}
			dropped := uninstalled{Schema: p.settled.Schema}
			what := "jobs that an older or newer version wrote and this one cannot count"
			stats, err := client.Stats(ctx)
			if missing, ok := errors.AsType[*pawl.SchemaError](err); ok && missing.Have == 0 {
				return err
			} else if err == nil {
				dropped.Dead = stats.Dead
				dropped.Live, err = client.Count(ctx, pawl.Filter{All: true, States: []pawlstate.State{
					pawlstate.Reserved, pawlstate.Waiting, pawlstate.Scheduled, pawlstate.Ready, pawlstate.Running}})
				what = fmt.Sprintf("%s, %s and about %s", counted(dropped.Live, "live job"), counted(dropped.Dead, "dead one"), counted(stats.Archived, "archived one"))
			}
			if _, old := errors.AsType[*pawl.SchemaError](err); err != nil && !old {
				return err
			}
			if err := p.confirm(ctx, "drop schema %s and all that is in it: %s", dropped.Schema, what); err != nil {
				return err
			}
			if err := client.Uninstall(ctx); err != nil {
				return err
			}
			return p.print(dropped)
		},
	}
}
