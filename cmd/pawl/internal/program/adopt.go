package program

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
)

// nameFirst matches commands whose first argument is a name, which must not be empty: it may be an unset variable.
var nameFirst = regexp.MustCompile(`^\[?(QUEUE|NAME)\b`)

// Adopt makes the commands below a command part of this program. The program learns which command runs, and reports
// wrong arguments and unknown subcommands in its own words.
func (p *Program) Adopt(command *cobra.Command) {
	for _, sub := range command.Commands() {
		p.Adopt(sub)
	}
	if check := command.Args; check != nil {
		command.Args = func(command *cobra.Command, args []string) error { return checkArgs(command, args, check) }
	}
	if run := command.RunE; run != nil {
		command.RunE = func(command *cobra.Command, args []string) error {
			p.command, p.started = command, true
			return run(command, args)
		}
	} else if command.HasParent() && command.HasSubCommands() {
		command.RunE = unknownSubcommand
	}
}

func checkArgs(command *cobra.Command, args []string, check cobra.PositionalArgs) error {
	if first := strings.Fields(command.Use + " . ")[1]; len(args) > 0 && args[0] == "" && nameFirst.MatchString(first) {
		return fmt.Errorf("%s is empty", strings.Trim(first, "[.]"))
	}
	err := check(command, args)
	if err == nil || !strings.Contains(err.Error(), "arg(s)") && !strings.HasPrefix(err.Error(), "unknown command") {
		return err // Cobra's message about a number of arguments is replaced.
	}
	form, _, _ := strings.Cut(command.UseLine(), " [flags]")
	return fmt.Errorf("%s given; want: %s", output.Count(int64(len(args)), "argument"), form)
}

func unknownSubcommand(command *cobra.Command, args []string) error {
	if len(args) == 0 {
		return command.Help()
	}
	command.SuggestionsMinimumDistance = 2
	hint := ""
	if near := command.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return fmt.Errorf("unknown command %q for %q%s", args[0], command.CommandPath(), hint)
}
