package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pawlhq/pawl"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

const (
	configEnv         = "PAWL_CONFIG"
	defaultConfigFile = "pawl.yaml"
)

// settings are what flags, environment, file and defaults say together, field by field.
type settings struct {
	DSN               string
	Schema            string
	ListenDSN         string
	Listen            string
	MaxConnections    int
	ConnectionTimeout time.Duration
	Lease             time.Duration // Zero: the queue's.
	BatchSize         int
	MaxAttempts       int // Zero: the queue's.
	Heartbeat         time.Duration
	PollInterval      time.Duration
	InsertRate        pawl.Rate
	Validation        argsBounds
	LogDest           string
	LogLevel          slog.Level
	Format            string

	text   map[string]string // As it was said, by name.
	origin map[string]string // Where.
}

// argsBounds are the settings validation.*: see the fields of pawl.Config.
type argsBounds struct {
	ArgsBytes, StringBytes, Depth int
	Forbidden, Required           []string
}

// setting is one of them. Its name is its key in the file, where a dot is a level; upper case after PAWL_, with _ for dots, in the
// environment; with - for _ and dots as a flag, where a command has it as one.
type setting struct {
	name     string
	short    string // The flag's letter.
	usage    string
	standard string   // What it is if nobody says anything.
	allowed  []string // If not nil, nothing else is.
	list     bool     // Several values: in the file a sequence, else with commas.
	secret   bool     // May have a password.
	also     string   // Another variable, which the setting's own goes before.
	set      func(s *settings, values []string) error
}

func (s *setting) env() string {
	return "PAWL_" + strings.ToUpper(strings.ReplaceAll(s.name, ".", "_"))
}
func (s *setting) flag() string {
	return strings.NewReplacer("_", "-", ".", "-").Replace(s.name)
}

var allSettings = []*setting{
	{name: "dsn", short: "d", secret: true, also: "DATABASE_URL", usage: "the database: a URL or key=value words, as psql takes them; if empty, what PGHOST, PGDATABASE and so on say",
		set: func(s *settings, v []string) (err error) { s.DSN, err = checkDSN(v); return err }},
	{name: "schema", short: "s", standard: "pawl", usage: "where Pawl's tables and functions are",
		set: func(s *settings, v []string) (err error) { s.Schema, err = checkSchema(v); return err }},
	{name: "listen_dsn", secret: true, usage: "a direct way to the database for LISTEN, where dsn leads through a pooler",
		set: func(s *settings, v []string) (err error) { s.ListenDSN, err = checkDSN(v); return err }},
	{name: "listen", standard: "127.0.0.1:8484", usage: "where HTTP is served: address:port, or :port for all addresses",
		set: func(s *settings, v []string) (err error) { s.Listen, err = checkAddress(v); return err }},
	{name: "max_connections", standard: "16", usage: "most connections of the command's pool; a worker has up to 9 of its own beside it",
		set: func(s *settings, v []string) (err error) { s.MaxConnections, err = number(v, 1, 10_000); return err }},
	{name: "connection_timeout", standard: "30s", usage: "how long a connection may take to be made",
		set: func(s *settings, v []string) (err error) {
			s.ConnectionTimeout, err = duration(v, time.Millisecond)
			return err
		}},
	{name: "lease", standard: "0s", usage: "how long a job that was read stays with its reader; 0: as the queue says, else 30s",
		set: func(s *settings, v []string) (err error) { s.Lease, err = duration(v, 0); return err }},
	{name: "batch_size", standard: "100", usage: "most jobs one statement of a command takes, inserts or lists",
		set: func(s *settings, v []string) (err error) { s.BatchSize, err = number(v, 1, 10_000); return err }},
	{name: "max_attempts", standard: "0", usage: "of inserted jobs that say nothing themselves; 0: as the queue says, else 20",
		set: func(s *settings, v []string) (err error) { s.MaxAttempts, err = number(v, 0, 32_767); return err }},
	{name: "heartbeat", standard: "3s", usage: "of a worker; it is taken for dead after three",
		set: func(s *settings, v []string) (err error) {
			s.Heartbeat, err = duration(v, 100*time.Millisecond)
			return err
		}},
	{name: "poll_interval", standard: "1s", usage: "longest time a worker does not look for jobs",
		set: func(s *settings, v []string) (err error) {
			s.PollInterval, err = duration(v, time.Millisecond)
			return err
		}},
	{name: "insert_rate", standard: "none", usage: "jobs this process may insert, such as 1000/s or 5/10m",
		set: func(s *settings, v []string) error { return (*rateValue)(&s.InsertRate).Set(v[0]) }},
	{name: "insert_burst", standard: "0", usage: "of them at once after a rest; 0: as many as the rate's number",
		set: func(s *settings, v []string) (err error) { s.InsertRate.Burst, err = number(v, 0, 1<<30); return err }},
	{name: "validation.args_bytes", standard: "1048576", usage: "most bytes of a job's args as JSON, and of its data",
		set: func(s *settings, v []string) (err error) {
			s.Validation.ArgsBytes, err = number(v, 1, 1<<30)
			return err
		}},
	{name: "validation.string_bytes", standard: "0", usage: "of the longest string in args; 0: unchecked",
		set: func(s *settings, v []string) (err error) {
			s.Validation.StringBytes, err = number(v, 0, 1<<30)
			return err
		}},
	{name: "validation.depth", standard: "0", usage: "most objects and arrays inside each other in args; 0: unchecked",
		set: func(s *settings, v []string) (err error) { s.Validation.Depth, err = number(v, 0, 1<<30); return err }},
	{name: "validation.forbidden", list: true, usage: "keys no object in args may have",
		set: func(s *settings, v []string) error { s.Validation.Forbidden = v; return nil }},
	{name: "validation.required", list: true, usage: "keys args must have",
		set: func(s *settings, v []string) error { s.Validation.Required = v; return nil }},
	{name: "log_dest", standard: "stderr", usage: "where the log goes: stderr, stdout or a file to append to",
		set: func(s *settings, v []string) error { s.LogDest = v[0]; return nil }},
	{name: "log_level", standard: "info", allowed: []string{"debug", "info", "warn", "error"}, usage: "what is logged",
		set: func(s *settings, v []string) error { return s.LogLevel.UnmarshalText([]byte(v[0])) }},
	{name: "format", standard: "table", allowed: formats, usage: "of the answer",
		set: func(s *settings, v []string) error { s.Format = v[0]; return nil }},
}

func number(values []string, least, most int) (int, error) {
	n, err := strconv.Atoi(values[0])
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%q: want a whole number from %d to %d", values[0], least, most)
	}
	return n, nil
}

func duration(values []string, least time.Duration) (time.Duration, error) {
	d, err := parseDuration(values[0])
	if err == nil && d < least {
		err = fmt.Errorf("%q: want at least %s", values[0], formatDuration(least))
	}
	return d, err
}

func checkDSN(values []string) (string, error) {
	if _, err := pgxpool.ParseConfig(values[0]); err != nil {
		if why := errors.Unwrap(err); why != nil { // err itself may have the password in it.
			return "", fmt.Errorf("%q is not a database: %w", hidden(values[0]), why)
		}
		return "", fmt.Errorf("%q is not a database: want postgres://user@host:port/database, or key=value words", hidden(values[0]))
	}
	return values[0], nil
}

func checkAddress(values []string) (string, error) {
	if _, _, err := net.SplitHostPort(values[0]); err != nil {
		return "", fmt.Errorf("%q: want address:port, such as 127.0.0.1:8484 or :8484", values[0])
	}
	return values[0], nil
}

func checkSchema(values []string) (string, error) {
	if values[0] == "" {
		return "", errors.New("the schema's name is empty") // An unset variable of a script's must not mean the default.
	}
	_, err := pawl.New(nil, pawl.Config{Schema: values[0]})
	if err != nil {
		return "", errors.New(strings.TrimPrefix(err.Error(), "pawl: Config.Schema: "))
	}
	return values[0], nil
}

// apply says a setting, in one text, at a place.
func (s *settings) apply(setting *setting, values []string, place string) error {
	if setting.allowed != nil && !slices.Contains(setting.allowed, values[0]) {
		return fmt.Errorf("%s: %q: want one of %s", place, values[0], strings.Join(setting.allowed, ", "))
	}
	if err := setting.set(s, values); err != nil {
		return fmt.Errorf("%s: %w", place, err)
	}
	s.text[setting.name], s.origin[setting.name] = strings.Join(values, ","), place
	return nil
}

func (s *setting) split(text string) []string {
	if !s.list {
		return []string{text}
	}
	values := strings.Split(text, ",")
	for i := range values {
		values[i] = strings.TrimSpace(values[i])
	}
	return values
}

// settings reads them when they are first asked for.
func (p *program) settings() (*settings, error) {
	if p.settled != nil {
		return p.settled, nil
	}
	file, err := p.readConfig()
	if err != nil {
		return nil, usageError{err}
	}
	s := &settings{text: map[string]string{}, origin: map[string]string{}}
	for _, setting := range allSettings {
		if setting.standard != "" {
			if err := s.apply(setting, []string{setting.standard}, "default"); err != nil {
				return nil, err
			}
		} else {
			s.origin[setting.name] = "default"
		}
		if said, ok := file[setting.name]; ok {
			if err := s.apply(setting, said.values, said.place); err != nil {
				return nil, usageError{err}
			}
		}
		text, place := p.override(setting)
		if place == "" {
			continue
		}
		if err := s.apply(setting, setting.split(text), place); err != nil {
			return nil, usageError{err}
		}
	}
	if s.InsertRate.N == 0 && s.InsertRate.Burst > 0 {
		return nil, usageError{fmt.Errorf("%s: insert_burst is set and insert_rate is none", s.origin["insert_burst"])}
	}
	for _, key := range s.Validation.Required {
		if slices.Contains(s.Validation.Forbidden, key) {
			return nil, usageError{fmt.Errorf("%s: the key %q is required and forbidden (%s)", s.origin["validation.required"], key, s.origin["validation.forbidden"])}
		}
	}
	p.settled = s
	return s, nil
}

// inSettings is a text of the library's with the name of the setting for that of the field of Config that findings speak of.
func inSettings(text string) string {
	return strings.ReplaceAll(text, "Config.ListenURL", "listen_dsn")
}

// override is what the flag or else the environment says, and which of them. An empty variable says nothing.
func (p *program) override(s *setting) (text, place string) {
	if p.command != nil {
		if flag := p.command.Flag(s.flag()); flag != nil && flag.Changed {
			if value, ok := flag.Value.(*settingValue); ok {
				return value.text, "--" + flag.Name
			}
		}
	}
	for _, name := range []string{s.env(), s.also} {
		if text := os.Getenv(name); text != "" {
			return text, name
		}
	}
	return "", ""
}

// settingFlags gives a command flags for settings. What a flag says is checked as it is parsed, and wins.
func (p *program) settingFlags(command *cobra.Command, flags *pflag.FlagSet, names ...string) {
	for _, name := range names {
		i := slices.IndexFunc(allSettings, func(s *setting) bool { return s.name == name })
		s := allSettings[i]
		usage := s.usage
		if s.allowed != nil {
			usage += ": " + strings.Join(s.allowed, ", ")
		}
		flags.VarP(&settingValue{setting: s, text: s.standard}, s.flag(), s.short, usage)
		if s.allowed != nil {
			command.RegisterFlagCompletionFunc(s.flag(), cobra.FixedCompletions(s.allowed, cobra.ShellCompDirectiveNoFileComp))
		}
	}
}

type settingValue struct {
	setting *setting
	text    string
}

func (v *settingValue) Set(text string) error {
	scratch := &settings{text: map[string]string{}, origin: map[string]string{}}
	v.text = text
	err := scratch.apply(v.setting, v.setting.split(text), "")
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), ": "))
	}
	return nil
}

func (v *settingValue) String() string { return v.text }

func (v *settingValue) Type() string {
	if v.setting != nil && v.setting.allowed != nil {
		return "word"
	}
	if v.setting != nil {
		if _, err := strconv.Atoi(v.setting.standard); err == nil {
			return "number"
		}
	}
	return "string"
}

// said is a setting in a file.
type said struct {
	values []string
	place  string // file:line
}

// readConfig reads the file of settings: --config, else PAWL_CONFIG, which must be there, else pawl.yaml, which may be.
func (p *program) readConfig() (map[string]said, error) {
	path, must := p.configFile, "--config"
	if path == "" {
		path, must = os.Getenv(configEnv), configEnv
	}
	if path == "" {
		path, must = defaultConfigFile, ""
	}
	file, err := os.Open(path)
	if must == "" && errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", must, err)
	}
	defer file.Close()
	decoder := yaml.NewDecoder(file)
	var document, second yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := decoder.Decode(&second); err == nil {
		return nil, fmt.Errorf("%s:%d: a second document begins; want one", path, second.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	all := map[string]said{}
	return all, readMapping(all, path, "", document.Content[0])
}

func readMapping(all map[string]said, path, prefix string, node *yaml.Node) error {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Tag == "!!null" {
		return nil
	}
	if node.Kind != yaml.MappingNode {
		return fmt.Errorf("%s:%d: want settings, a line each: name: value", path, node.Line)
	}
	seen := map[string]int{}
	for i := 0; i < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		name, place := prefix+key.Value, fmt.Sprintf("%s:%d", path, key.Line)
		if line, twice := seen[name]; twice {
			return fmt.Errorf("%s: %s is set twice, first in line %d", place, name, line)
		}
		seen[name] = key.Line
		if slices.ContainsFunc(allSettings, func(s *setting) bool { return strings.HasPrefix(s.name, name+".") }) {
			if err := readMapping(all, path, name+".", value); err != nil {
				return err
			}
			continue
		}
		found := slices.IndexFunc(allSettings, func(s *setting) bool { return s.name == name })
		if found < 0 {
			return fmt.Errorf("%s: there is no setting %q; see: pawl config show", place, name)
		}
		values, err := readValues(value, allSettings[found].list)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", place, name, err)
		}
		if values != nil {
			all[name] = said{values, place}
		}
	}
	return nil
}

// readValues is nil for null, which says nothing.
func readValues(node *yaml.Node, list bool) ([]string, error) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch {
	case node.Tag == "!!null":
		return nil, nil
	case node.Kind == yaml.ScalarNode:
		return []string{node.Value}, nil
	case node.Kind == yaml.SequenceNode && list:
		values := []string{}
		for _, item := range node.Content {
			one, err := readValues(item, false)
			if err != nil {
				return nil, err
			}
			values = append(values, one...)
		}
		return values, nil
	case list:
		return nil, errors.New("want a list")
	}
	return nil, errors.New("want a single value")
}

var passwordWord = regexp.MustCompile(`(?i)(password\s*=\s*)('(?:[^'\\]|\\.)*'?|[^\s&]*)`)

// hidden is a dsn without its passwords.
func hidden(dsn string) string {
	if u, err := url.Parse(dsn); err == nil && u.User != nil {
		if _, has := u.User.Password(); has {
			u.User = url.UserPassword(u.User.Username(), "xxxxx")
			dsn = u.String()
		}
	} else if i, j := strings.Index(dsn, "://"), strings.LastIndex(dsn, "@"); i >= 0 && j > i {
		dsn = dsn[:i+3] + "xxxxx" + dsn[j:] // A URL that does not parse.
	}
	return passwordWord.ReplaceAllString(dsn, "${1}xxxxx")
}

// strangers are variables that look like settings and are none. They are no error: a Kubernetes service named pawl makes some too.
func strangers() (names []string) {
	known := []string{configEnv, "PAWL_PG_BIN", "PAWL_TEST_DATABASE_URL"}
	for _, s := range allSettings {
		known = append(known, s.env())
	}
	for _, fact := range facts(&pawl.JobInfo{}) { // Those consume sets for its programs.
		name, _, _ := strings.Cut(fact, "=")
		known = append(known, name)
	}
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "PAWL_") && !slices.Contains(known, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
