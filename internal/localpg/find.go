package localpg

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// EnvBin is the environment variable that names the folder with PostgreSQL's
// server programs.
const EnvBin = "PAWL_PG_BIN"

// ErrNotFound is returned, wrapped, when this computer has no PostgreSQL
// server programs in any of the places looked at.
var ErrNotFound = errors.New("no PostgreSQL server programs (initdb and postgres) found")

// installed are the folders packages install into, as patterns. Within a
// pattern the newest version comes first.
var installed = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/opt/homebrew/opt/postgresql*/bin",
	"/usr/local/opt/postgresql*/bin",
	"/usr/local/pgsql/bin",
}

// Find returns the folder that holds initdb and postgres, symbolic links
// resolved. It takes binDir if that is not empty, then the folder $PAWL_PG_BIN
// names; if the one taken lacks a program, that is an error. Otherwise it looks
// along $PATH, asks pg_config, and looks where packages install, newest version
// first. If there is none, the error wraps [ErrNotFound] and says where it
// looked and how to get PostgreSQL.
func Find(binDir string) (string, error) {
	if binDir != "" {
		return named(binDir, "the folder given")
	}
	if env := os.Getenv(EnvBin); env != "" {
		return named(env, EnvBin)
	}
	for _, dir := range candidates() {
		if found, err := programs(dir); err == nil {
			return found, nil
		}
	}
	return "", fmt.Errorf(`%w: looked along PATH, asked pg_config, and looked in %s. Install PostgreSQL with one of
  apt-get install postgresql
  dnf install postgresql-server
  apk add postgresql
  brew install postgresql
or set %s to the folder that has initdb and postgres, or give a server of your own with --dsn`,
		ErrNotFound, strings.Join(installed, ", "), EnvBin)
}

func named(dir, origin string) (string, error) {
	found, err := programs(dir)
	if err != nil {
		return "", fmt.Errorf(
			"%s, %s, is not PostgreSQL's program folder: %w; name the folder that has initdb and postgres",
			origin,
			dir,
			err,
		)
	}
	return found, nil
}

// candidates lists the folders to look in, best first.
func candidates() []string {
	var dirs []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if filepath.IsAbs(dir) {
			dirs = append(dirs, dir)
		}
	}
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	for _, pattern := range installed {
		matches, _ := filepath.Glob(pattern) // the patterns are well formed
		newestFirst(matches)
		dirs = append(dirs, matches...)
	}
	return dirs
}

// programs returns the real folder of dir's initdb if postgres is beside it.
func programs(dir string) (string, error) {
	initdb, err := filepath.EvalSymlinks(filepath.Join(dir, "initdb"))
	if err != nil {
		return "", err
	}
	if initdb, err = filepath.Abs(initdb); err != nil {
		return "", err
	}
	real := filepath.Dir(initdb)
	for _, name := range []string{"initdb", "postgres"} {
		info, err := os.Stat(filepath.Join(real, name))
		if err != nil {
			return "", err
		}
		if info.IsDir() || info.Mode()&0o111 == 0 {
			return "", fmt.Errorf("%s is not a program", filepath.Join(real, name))
		}
	}
	return real, nil
}

var number = regexp.MustCompile(`\d+`)

// newestFirst sorts paths by the numbers in them, as numbers, largest first.
func newestFirst(paths []string) {
	version := func(path string) []int {
		var v []int
		for _, digits := range number.FindAllString(path, -1) {
			n, _ := strconv.Atoi(digits) // one too large counts as the largest
			v = append(v, n)
		}
		return v
	}
	slices.SortStableFunc(paths, func(a, b string) int {
		return cmp.Or(slices.Compare(version(b), version(a)), cmp.Compare(a, b))
	})
}
