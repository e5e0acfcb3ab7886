package main

import (
	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

func installCommand(p *program.Program) *cobra.Command {
	var roles bool
	command := &cobra.Command{
		Use:   "install",
		Short: "Create the schema, or upgrade it",
		Long: `Install creates the schema with its tables and functions, or upgrades it to the version of this
binary. It changes nothing if the schema is up to date. With --roles it also creates the roles pawl_producer,
pawl_worker, pawl_reader and pawl_admin, which you grant to logins. For another schema, their names begin with
its name. After that, only these roles and the owner have access.`,
		Args:    cobra.NoArgs,
		GroupID: groupSetup,
		RunE:    func(command *cobra.Command, _ []string) error { return migrateTo(command, p, 0, roles) },
	}
	command.Flags().BoolVar(&roles, "roles", false, "create roles for producers, workers, readers and admins")
	return command
}
