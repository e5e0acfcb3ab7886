package localpg

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// makeFolders makes the server's folders and files and gives them to the owner.
func (s *Server) makeFolders(config Config, owner *owner) (err error) {
	if config.Dir == "" {
		if s.dir, err = s.temporary(owner, temporaryRoots(config.Durable)); err != nil {
			return err
		}
	} else {
		if s.dir, err = filepath.Abs(config.Dir); err != nil {
			return err
		}
		if err := os.MkdirAll(s.dir, 0o755); err != nil {
			return fmt.Errorf("make the folder for PostgreSQL: %w", err)
		}
		if err := owner.reach(s.dir); err != nil {
			return fmt.Errorf("use %s for PostgreSQL: %w; give another folder, or run as an ordinary user", s.dir, err)
		}
	}
	s.socket = s.dir
	if config.Dir != "" || len(s.dir) > maxSocketDir {
		if s.socket, err = s.temporary(owner, []string{os.TempDir(), "/tmp"}); err != nil {
			return err
		}
	}

	_, err = os.Stat(filepath.Join(s.dir, "data", "PG_VERSION"))
	s.existing = err == nil
	settings, err := s.settings(config)
	if err != nil {
		return err
	}
	if !s.existing {
		if err := os.Mkdir(filepath.Join(s.dir, "data"), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("make PostgreSQL's data folder: %w", err)
		}
		if err := owner.take(filepath.Join(s.dir, "data")); err != nil {
			return fmt.Errorf("give PostgreSQL's data folder to its user: %w", err)
		}
	}
	// The log may belong to an earlier server in the same folder. That server may
	// still run, so the log is appended to.
	for _, file := range []struct {
		path, content string
		mode          int
	}{
		{s.config(), settings, os.O_TRUNC},
		{filepath.Join(s.dir, "server.log"), "", os.O_APPEND},
	} {
		f, err := os.OpenFile(file.path, os.O_WRONLY|os.O_CREATE|file.mode, 0o600)
		if err == nil {
			_, err = f.WriteString(file.content)
			err = errors.Join(err, owner.take(file.path), f.Close())
		}
		if err != nil {
			return fmt.Errorf("write PostgreSQL's files: %w", err)
		}
	}
	return nil
}

// config returns the path of the server's configuration file.
func (s *Server) config() string { return filepath.Join(s.socket, "server.conf") }

// temporaryRoots lists the folders that temporary data may go into, best first.
func temporaryRoots(durable bool) []string {
	var roots []string
	if !durable {
		roots = append(roots, memoryFolder())
	}
	roots = append(roots, os.Getenv("TMPDIR"))
	if durable {
		roots = append(roots, "/var/tmp") // /tmp may be in memory
	}
	return append(roots, os.TempDir(), "/tmp")
}

// temporary makes a folder that only the owner may enter. It uses the first root
// in which this succeeds.
func (s *Server) temporary(owner *owner, roots []string) (string, error) {
	var failures []error
	for _, root := range roots {
		if !filepath.IsAbs(root) || len(root) > maxSocketDir-20 {
			continue
		}
		if err := owner.reach(root); err != nil {
			failures = append(failures, err)
			continue
		}
		dir, err := os.MkdirTemp(root, "pawl-pg-")
		if err != nil {
			failures = append(failures, err)
			continue
		}
		s.folders = append(s.folders, dir)
		if err := owner.take(dir); err != nil {
			return "", fmt.Errorf("give a temporary folder to PostgreSQL's user: %w", err)
		}
		return dir, nil
	}
	return "", fmt.Errorf(
		"no place for a temporary folder for PostgreSQL: %w; "+
			"set TMPDIR to a folder with a short name that everyone may enter",
		errors.Join(failures...),
	)
}

// settings returns the text of the server's configuration file.
func (s *Server) settings(config Config) (string, error) {
	settings := map[string]string{"max_connections": "200"}
	for _, name := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
		settings[name] = "off"
		if config.Durable {
			settings[name] = "on"
		}
	}
	if !config.Durable {
		settings["max_wal_size"] = "256MB" // memory costs more than checkpoints
	}
	for name, value := range config.Settings {
		name = strings.ToLower(name)
		if !settingName.MatchString(name) || strings.ContainsAny(value, "\n\r\x00") {
			return "", fmt.Errorf(
				"setting %q = %q cannot be written to PostgreSQL's configuration; give a setting's name and a value of one line",
				name,
				value,
			)
		}
		if slices.Contains(private, name) {
			return "", fmt.Errorf(
				"setting %s of a private PostgreSQL server cannot be changed; leave it out, or use a server of your own",
				name,
			)
		}
		settings[name] = value
	}
	settings["listen_addresses"] = ""
	settings["port"] = port
	settings["unix_socket_directories"] = s.socket
	settings["unix_socket_permissions"] = "0700"

	var b strings.Builder
	quote := strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace
	fmt.Fprintf(&b, "include '%s'\n", quote(filepath.Join(s.dir, "data", "postgresql.conf")))
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, quote(settings[name]))
	}
	return b.String(), nil
}
