package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/selection"
)

// uninstalled is the row that uninstall prints.
type uninstalled struct {
	Schema string `json:"schema"`
	Live   int64  `json:"live_jobs"`
	Dead   int64  `json:"dead_jobs"`
}

func uninstallCommand(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "uninstall",
		Short: "Drop the schema and everything in it, including all jobs",
		Long: `Uninstall drops the schema with all jobs, live and finished. First it shows their numbers and asks
for confirmation. It refuses to drop a schema that contains tables, views or extensions of others. The roles of
pawl install --roles stay, because other databases of the server may use them.`,
		Args:    cobra.NoArgs,
		GroupID: groupSetup,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx := command.Context()
			client, err := p.Open(ctx)
			if err != nil {
				return err
			}
			row := uninstalled{Schema: p.Settings.Schema}
			content, err := schemaContent(ctx, client, &row)
			if err != nil {
				return err
			}
			if err := p.Confirm(ctx, "drop schema %s and everything in it: %s", row.Schema, content); err != nil {
				return err
			}
			if err := client.Uninstall(ctx); err != nil {
				return err
			}
			return p.Print(row)
		},
	}
}

// schemaContent counts the jobs. It cannot count the jobs of a schema with another version.
func schemaContent(ctx context.Context, client *pawl.Client, row *uninstalled) (string, error) {
	stats, err := client.Stats(ctx)
	if mismatch, ok := errors.AsType[*pawl.SchemaError](err); ok && mismatch.Have > 0 {
		return "jobs of another version of Pawl, which this version cannot count", nil
	}
	if err != nil {
		return "", err
	}
	row.Dead = stats.Dead
	if row.Live, err = client.Count(ctx, pawl.Filter{All: true, States: selection.Live}); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, %s and about %s", output.Count(row.Live, "live job"), output.Count(row.Dead, "dead job"),
		output.Count(stats.Archived, "archived job")), nil
}
