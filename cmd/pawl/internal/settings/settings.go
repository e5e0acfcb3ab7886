// Package settings reads the settings of the pawl command from flags, the environment, a file and defaults.
package settings

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl"
)

// Settings holds the value of every setting.
type Settings struct {
	DSN               string
	Schema            string
	ListenDSN         string
	Listen            string
	MaxConnections    int
	ConnectionTimeout time.Duration
	Lease             time.Duration // Zero selects the queue's lease.
	BatchSize         int
	MaxAttempts       int // Zero selects the queue's value.
	Heartbeat         time.Duration
	PollInterval      time.Duration
	InsertRate        pawl.Rate
	Validation        Validation
	LogDest           string
	LogLevel          slog.Level
	Format            string

	text   map[string]string // By name: the value as it was given.
	origin map[string]string // By name: the flag, variable or line of a file that gave it.
}

// Validation holds the settings validation.*, which limit the args of jobs.
type Validation struct {
	ArgsBytes   int
	StringBytes int // Zero for no limit.
	Depth       int // Zero for no limit.
	Forbidden   []string
	Required    []string
}

// Load reads each setting from the first place that has it: a flag of the command, the environment, the file, the
// default. The command may be nil.
func Load(command *cobra.Command, configFile string) (*Settings, error) {
	file, err := readFile(configFile)
	if err != nil {
		return nil, err
	}
	s := &Settings{text: map[string]string{}, origin: map[string]string{}}
	for _, d := range definitions {
		s.origin[d.name] = "default"
		if d.standard != "" {
			if err := s.set(d, []string{d.standard}, "default"); err != nil {
				return nil, err
			}
		}
		if entry, ok := file[d.name]; ok {
			if err := s.set(d, entry.values, entry.place); err != nil {
				return nil, err
			}
		}
		if text, place := d.override(command); place != "" {
			if err := s.set(d, d.split(text), place); err != nil {
				return nil, err
			}
		}
	}
	if s.InsertRate.N == 0 && s.InsertRate.Burst > 0 {
		return nil, fmt.Errorf("%s: insert_burst is set and insert_rate is none", s.origin["insert_burst"])
	}
	for _, key := range s.Validation.Required {
		if slices.Contains(s.Validation.Forbidden, key) {
			return nil, fmt.Errorf("%s: the key %q is both required and forbidden (%s)",
				s.origin["validation.required"], key, s.origin["validation.forbidden"])
		}
	}
	return s, nil
}

// Origin returns the flag, the variable or the line of the file that gave a setting its value, or "default".
func (s *Settings) Origin(name string) string { return s.origin[name] }

// Value is a setting, its value without passwords, and its origin.
type Value struct {
	Setting     string `json:"setting"`
	Value       string `json:"value"`
	Source      string `json:"source"`
	Description string `json:"description" table:"-"`
}

// Values returns all settings.
func (s *Settings) Values() (list []Value) {
	for _, d := range definitions {
		text := s.text[d.name]
		if d.secret {
			text = hidePasswords(text)
		}
		list = append(list, Value{d.name, text, s.origin[d.name], d.usage})
	}
	return list
}

// ClientConfig returns the configuration of a client.
func (s *Settings) ClientConfig(log *slog.Logger) pawl.Config {
	return pawl.Config{
		Schema: s.Schema, ListenURL: s.ListenDSN, Logger: log, InsertRate: s.InsertRate,
		Defaults:     pawl.JobSpec{MaxAttempts: s.MaxAttempts},
		MaxArgsBytes: s.Validation.ArgsBytes, MaxStringBytes: s.Validation.StringBytes, MaxDepth: s.Validation.Depth,
		ForbiddenKeys: s.Validation.Forbidden, RequiredKeys: s.Validation.Required,
	}
}

// set parses the values that a place gives to a setting.
func (s *Settings) set(d *definition, values []string, place string) error {
	if d.allowed != nil && !slices.Contains(d.allowed, values[0]) {
		return fmt.Errorf("%s: %q: want one of %s", place, values[0], strings.Join(d.allowed, ", "))
	}
	if err := d.parse(s, values); err != nil {
		return fmt.Errorf("%s: %w", place, err)
	}
	s.text[d.name], s.origin[d.name] = strings.Join(values, ","), place
	return nil
}

// override returns the value of the flag or, without one, of the environment, and the name of either. It ignores empty
// variables.
func (d *definition) override(command *cobra.Command) (text, place string) {
	if command != nil {
		if flag := command.Flag(d.flag()); flag != nil && flag.Changed {
			if value, ok := flag.Value.(*flagValue); ok {
				return value.text, "--" + flag.Name
			}
		}
	}
	for _, name := range []string{d.variable(), d.fallback} {
		if text := os.Getenv(name); text != "" {
			return text, name
		}
	}
	return "", ""
}

// FieldsToNames replaces fields of pawl.Config in a message of the library by the names of the settings.
func FieldsToNames(text string) string {
	return strings.ReplaceAll(text, "Config.ListenURL", "listen_dsn")
}
