package main

import (
	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/cmd/pawl/internal/pgqrs"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

// adminCommand holds the names that pgqrs has for commands that are elsewhere.
func adminCommand(p *program.Program) *cobra.Command {
	command := &cobra.Command{Use: "admin", Short: "Other names of install, verify and stats", Hidden: true}
	for _, sub := range []*cobra.Command{installCommand(p), verifyCommand(p), statsCommand(p), pgqrs.AdminReclaim(p)} {
		sub.GroupID = ""
		command.AddCommand(sub)
	}
	return command
}
