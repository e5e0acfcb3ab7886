package main

import (
	"errors"
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

// installed is the row that install and migrate print.
type installed struct {
	Schema  string `json:"schema"`
	Version int    `json:"version"`
}

func migrateCommand(p *program.Program) *cobra.Command {
	var to int
	var dry bool
	command := &cobra.Command{
		Use:   "migrate",
		Short: "Upgrade the schema to a version",
		Long: `Migrate upgrades the schema to the version of this binary, or to the older version of --to. Like
install, it creates the schema if it does not exist. Workers of this version and of the previous one may run
jobs during a migration. A schema cannot go back to an older version.

With --dry-run, migrate prints the SQL that it would run, for psql.`,
		Example: `  pawl migrate
  pawl migrate --dry-run | psql -v ON_ERROR_STOP=1 "$DATABASE_URL"`,
		Args:    cobra.NoArgs,
		GroupID: groupSetup,
		RunE: func(command *cobra.Command, _ []string) error {
			if !dry {
				return migrateTo(command, p, to, false)
			}
			out, err := p.Output()
			if err != nil {
				return err
			}
			client, err := p.Open(command.Context())
			if err != nil {
				return err
			}
			return client.WriteMigration(command.Context(), out, to)
		},
	}
	command.Flags().Var(&flagvalue.Number{To: &to, Least: 1, Most: math.MaxInt32}, "to",
		"version to migrate to; if not given, the version of this binary")
	command.Flags().BoolVar(&dry, "dry-run", false, "print the SQL and change nothing")
	return command
}

// migrateTo migrates to a version, 0 for the version of this binary, and creates the roles if roles is true.
func migrateTo(command *cobra.Command, p *program.Program, to int, roles bool) error {
	client, err := p.Open(command.Context())
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
	row := installed{Schema: p.Settings.Schema}
	err = client.Ready(command.Context())
	if older, ok := errors.AsType[*pawl.SchemaError](err); ok && to > 0 {
		row.Version = older.Have
	} else if err != nil {
		return err
	} else if stats, err := client.Stats(command.Context()); err != nil {
		return err
	} else {
		row.Version = stats.Schema
	}
	if to > 0 && to < row.Version {
		return fmt.Errorf("the schema %s is already at version %d and cannot go back: nothing was changed",
			row.Schema, row.Version)
	}
	return p.Print(row)
}
