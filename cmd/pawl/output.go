package main

import "github.com/spf13/cobra"

func outputTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "output",
		Short: "How commands write their output: --format and --out",
		Long: `Output goes to standard output, or to the file of --out. Questions, progress, warnings and the log
go to standard error.

  --format table  for people. On a terminal, tables have a box and long texts are cut. Elsewhere, tables are plain
                  columns under a header. The form of tables may change
  --format json   a list is an array, [] if it is empty; a single row is an object. Fields keep their names; new
                  fields may appear
  --format csv    a header and one line per row
  --format yaml   the same structure as json

Times are RFC 3339 in UTC. Tables show durations in a form for people, such as 1.25s, 3m20s or 7d12h. The other
formats show them as numbers of seconds, and the name of the field ends in _seconds. A value that is unknown or
does not exist is empty in tables and csv, and null elsewhere. A text that was not given is "". Bytes are
base64. Lists and objects in a csv are JSON. Commands that run until they are stopped (tail, --watch) write one
line per row, in json one object per line.

Durations on the command line have the form 500ms, 90s, 1h30m or 7d. A number alone is seconds.`,
	}
}
