package settings

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/output"
)

// A definition describes a setting. A dot in its name is a level in the file, and _ in the environment.
type definition struct {
	name     string
	short    string // The flag's letter.
	usage    string
	standard string   // The default.
	allowed  []string // If not nil, all values that are valid.
	list     bool     // The setting has several values: a sequence in the file, separated by commas elsewhere.
	secret   bool     // The value may contain a password.
	fallback string   // A second variable, which is read if the setting's own is empty.
	parse    func(s *Settings, values []string) error
}

func (d *definition) variable() string {
	return "PAWL_" + strings.ToUpper(strings.ReplaceAll(d.name, ".", "_"))
}

func (d *definition) flag() string {
	return strings.NewReplacer("_", "-", ".", "-").Replace(d.name)
}

// split returns the values in the text of a flag or a variable.
func (d *definition) split(text string) []string {
	if !d.list {
		return []string{text}
	}
	values := strings.Split(text, ",")
	for i := range values {
		values[i] = strings.TrimSpace(values[i])
	}
	return values
}

func find(name string) *definition {
	i := slices.IndexFunc(definitions, func(d *definition) bool { return d.name == name })
	if i < 0 {
		return nil
	}
	return definitions[i]
}

var definitions = []*definition{
	{
		name: "dsn", short: "d", secret: true, fallback: "DATABASE_URL",
		usage: "the database: a URL or key=value words; if empty, PGHOST, PGDATABASE and the other variables of libpq apply",
		parse: func(s *Settings, v []string) (err error) { s.DSN, err = ParseDSN(v[0]); return err },
	},
	{
		name: "schema", short: "s", standard: "pawl",
		usage: "the schema of Pawl's tables and functions",
		parse: func(s *Settings, v []string) (err error) { s.Schema, err = parseSchema(v[0]); return err },
	},
	{
		name: "listen_dsn", secret: true,
		usage: "a direct connection to the database for LISTEN, if dsn goes through a pooler",
		parse: func(s *Settings, v []string) (err error) { s.ListenDSN, err = ParseDSN(v[0]); return err },
	},
	{
		name: "listen", standard: "127.0.0.1:8484",
		usage: "the address that serves HTTP: address:port, or :port for all addresses",
		parse: func(s *Settings, v []string) (err error) { s.Listen, err = parseAddress(v[0]); return err },
	},
	{
		name: "max_connections", standard: "16",
		usage: "maximum number of connections in the command's pool; a worker opens up to 9 more",
		parse: func(s *Settings, v []string) error { return parseNumber(&s.MaxConnections, v[0], 1, 10_000) },
	},
	{
		name: "connection_timeout", standard: "30s",
		usage: "maximum time to open a connection",
		parse: func(s *Settings, v []string) error {
			return parseDuration(&s.ConnectionTimeout, v[0], time.Millisecond)
		},
	},
	{
		name: "lease", standard: "0s",
		usage: "how long a reader keeps a message that it has read; 0: the queue's lease, else 30s",
		parse: func(s *Settings, v []string) error { return parseDuration(&s.Lease, v[0], 0) },
	},
	{
		name: "batch_size", standard: "100",
		usage: "maximum number of jobs that one statement claims, inserts or lists",
		parse: func(s *Settings, v []string) error { return parseNumber(&s.BatchSize, v[0], 1, 10_000) },
	},
	{
		name: "max_attempts", standard: "0",
		usage: "maximum attempts of inserted jobs that set none; 0: the queue's maximum, else 20",
		parse: func(s *Settings, v []string) error { return parseNumber(&s.MaxAttempts, v[0], 0, 32_767) },
	},
	{
		name: "heartbeat", standard: "3s",
		usage: "time between two heartbeats of a worker; three missed heartbeats make it count as dead",
		parse: func(s *Settings, v []string) error { return parseDuration(&s.Heartbeat, v[0], 100*time.Millisecond) },
	},
	{
		name: "poll_interval", standard: "1s",
		usage: "maximum time between two polls for jobs",
		parse: func(s *Settings, v []string) error { return parseDuration(&s.PollInterval, v[0], time.Millisecond) },
	},
	{
		name: "insert_rate", standard: "none",
		usage: "maximum rate at which this process inserts jobs, such as 1000/s or 5/10m",
		parse: func(s *Settings, v []string) error { return (*flagvalue.Rate)(&s.InsertRate).Set(v[0]) },
	},
	{
		name: "insert_burst", standard: "0",
		usage: "maximum number of jobs inserted at once after a pause; 0: the number in insert_rate",
		parse: func(s *Settings, v []string) error { return parseNumber(&s.InsertRate.Burst, v[0], 0, 1<<30) },
	},
	{
		name: "validation.args_bytes", standard: "1048576",
		usage: "maximum size of a job's args as JSON, and of its data, in bytes",
		parse: func(s *Settings, v []string) error { return parseNumber(&s.Validation.ArgsBytes, v[0], 1, 200<<20) },
	},
	{
		name: "validation.string_bytes", standard: "0",
		usage: "maximum size of a string in args, in bytes; 0: unchecked",
		parse: func(s *Settings, v []string) error { return parseNumber(&s.Validation.StringBytes, v[0], 0, 1<<30) },
	},
	{
		name: "validation.depth", standard: "0",
		usage: "maximum nesting of objects and arrays in args; 0: unchecked",
		parse: func(s *Settings, v []string) error { return parseNumber(&s.Validation.Depth, v[0], 0, 1<<30) },
	},
	{
		name: "validation.forbidden", list: true,
		usage: "keys that no object in args may have",
		parse: func(s *Settings, v []string) error { s.Validation.Forbidden = v; return nil },
	},
	{
		name: "validation.required", list: true,
		usage: "keys that args must have",
		parse: func(s *Settings, v []string) error { s.Validation.Required = v; return nil },
	},
	{
		name: "log_dest", standard: "stderr",
		usage: "where the log goes: stderr, stdout or a file to append to",
		parse: func(s *Settings, v []string) error { s.LogDest = v[0]; return nil },
	},
	{
		name: "log_level", standard: "info", allowed: []string{"debug", "info", "warn", "error"},
		usage: "lowest level that is logged",
		parse: func(s *Settings, v []string) error { return s.LogLevel.UnmarshalText([]byte(v[0])) },
	},
	{
		name: "format", standard: "table", allowed: output.Formats,
		usage: "format of the output",
		parse: func(s *Settings, v []string) error { s.Format = v[0]; return nil },
	},
}

func parseNumber(to *int, text string, least, most int) (err error) {
	*to, err = flagvalue.ParseNumber(text, least, most)
	return err
}

func parseDuration(to *time.Duration, text string, least time.Duration) (err error) {
	*to, err = flagvalue.ParseDuration(text)
	if err == nil && *to < least {
		err = fmt.Errorf("%q: want at least %s", text, flagvalue.FormatDuration(least))
	}
	return err
}
