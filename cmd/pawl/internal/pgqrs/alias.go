// Package pgqrs holds the commands that have the names and forms of pgqrs, for users who migrate from it. The help
// leaves them out.
package pgqrs

import (
	"strings"

	"github.com/spf13/cobra"
)

// Alias gives a command another name and hides it.
func Alias(command *cobra.Command, name string) *cobra.Command {
	_, arguments, _ := strings.Cut(command.Use, " ")
	command.Use = strings.TrimSpace(name + " " + arguments)
	command.Hidden = true
	return command
}
