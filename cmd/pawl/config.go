package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func configurationTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "configuration",
		Short: "Where settings come from",
		Long: `Each setting is looked for by itself, in this order; the first place that has it counts:

  1. a flag, where the command has one: --max-connections 4
  2. the environment: PAWL_MAX_CONNECTIONS=4; for the dsn also DATABASE_URL, after PAWL_DSN. An empty variable says nothing
  3. the file of --config, else of PAWL_CONFIG, else pawl.yaml in the working directory: max_connections: 4
  4. the default

A dot in a name is a level in the file (validation: {depth: 5}) and _ in the environment (PAWL_VALIDATION_DEPTH). Lists are
sequences in the file and have commas elsewhere. A value that cannot be, or a name in the file that is no setting, is an error
that names the place. pawl config show tells what holds and where it was said.

Passwords: the dsn may leave them to PGPASSWORD or a password file, as with psql; a flag can be seen by all users of the machine.`,
	}
}

func configCommand(p *program) *cobra.Command {
	command := &cobra.Command{Use: "config", Short: "Look at the settings", GroupID: groupSetup}
	command.AddCommand(configShowCommand(p))
	return command
}

type settingRow struct {
	Setting     string `json:"setting"`
	Value       string `json:"value"`
	Source      string `json:"source"`
	Description string `json:"description" table:"-"`
}

func configShowCommand(p *program) *cobra.Command {
	command := &cobra.Command{
		Use:   "show",
		Short: "Every setting, its value and where it was said",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			s, err := p.settings()
			if err != nil {
				return err
			}
			var list []settingRow
			for _, setting := range allSettings {
				value := s.text[setting.name]
				if setting.secret {
					value = hidden(value)
				}
				list = append(list, settingRow{setting.name, value, s.origin[setting.name], setting.usage})
			}
			for _, name := range strangers() {
				fmt.Fprintf(p.stderr, "note: %s is in the environment and is no setting\n", name)
			}
			return p.print(list)
		},
	}
	return command
}
