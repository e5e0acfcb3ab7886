package main

import "github.com/spf13/cobra"

func configurationTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "configuration",
		Short: "Where settings come from",
		Long: `Pawl looks for each setting in these places. The first place that has the setting wins:

  1. a flag, if the command has one: --max-connections 4
  2. the environment: PAWL_MAX_CONNECTIONS=4. For the dsn, DATABASE_URL comes after PAWL_DSN. Empty
     variables are ignored
  3. the file that --config names, else the file that PAWL_CONFIG names, else pawl.yaml in the working directory:
     max_connections: 4
  4. the default

A dot in a name is a level in the file (validation: {depth: 5}) and _ in the environment
(PAWL_VALIDATION_DEPTH). Lists are sequences in the file and are separated by commas elsewhere. If a value is
not valid, or a name in the file is not a setting, the command fails and names the place. pawl config show
prints every setting, its value and its source.

Passwords: as with psql, PGPASSWORD or a password file can hold the password instead of the dsn. All users of
the machine can see the flags of a process.`,
	}
}
