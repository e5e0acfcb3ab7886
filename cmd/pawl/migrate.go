package main

import (
	"errors"
	"fmt"
	"math"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/spf13/cobra"
)

// installed is the row that install and migrate print.
type installed struct {
	Schema  string `json:"schema"`
	Version int    `json:"version"`
}

func migrateCommand(p *program.Program) *cobra.Command {
	var options pawl.MigrateOptions
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
		RunE: func(command *cobra.Command, _ []string) (err error) {
			if dry {
				if options.DryRun, err = p.Output(); err != nil {
					return err
				}
			}
			return migrateTo(command, p, options)
		},
	}
	command.Flags().Var(&flagvalue.Number{To: &options.To, Least: 1, Most: math.MaxInt32}, "to",
		"version to migrate to; if not given, the version of this binary")
	command.Flags().BoolVar(&dry, "dry-run", false, "print the SQL and change nothing")
	return command
}

func migrateTo(command *cobra.Command, p *program.Program, options pawl.MigrateOptions) error {
	client, err := p.Open(command.Context())
	if err != nil {
		return err
	}
	if err := client.Migrate(command.Context(), options); err != nil || options.DryRun != nil {
		return err
	}
	row := installed{Schema: p.Settings.Schema}
	err = client.Ready(command.Context())
	if older, ok := errors.AsType[*pawl.SchemaError](err); ok && options.To > 0 {
		row.Version = older.Have
	} else if err != nil {
		return err
	} else if stats, err := client.Stats(command.Context()); err != nil {
		return err
	} else {
		row.Version = stats.Schema
	}
	if options.To > 0 && options.To < row.Version {
		return fmt.Errorf("the schema %s is already at version %d and cannot go back: nothing was changed",
			row.Schema, row.Version)
	}
	return p.Print(row)
}
