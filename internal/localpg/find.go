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

// ErrNotFound is wrapped by the error of [Find] if it finds no PostgreSQL
// server programs on this computer.
var ErrNotFound = errors.New("no PostgreSQL server programs (initdb and postgres) found")

// installed lists the folders that packages install into, as patterns. Find
// tries the newest version that a pattern matches first.
var installed = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/opt/homebrew/opt/postgresql*/bin",
	"/usr/local/opt/postgresql*/bin",
	"/usr/local/pgsql/bin",
}

// Find returns the folder that contains initdb and postgres, with symbolic links
// resolved. It uses binDir if that is not empty, and otherwise the folder that
// $PAWL_PG_BIN names. If the named folder lacks a program, Find returns an error.
// If neither names a folder, Find searches $PATH, asks pg_config, and searches
// the folders that packages install into, newest version first. If it finds no
// programs, its error wraps [ErrNotFound] and tells how to install PostgreSQL.
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
			n, _ := strconv.Atoi(digits) // a number that is too large becomes the largest int
			v = append(v, n)
		}
		return v
	}
	slices.SortStableFunc(paths, func(a, b string) int {
		return cmp.Or(slices.Compare(version(b), version(a)), cmp.Compare(a, b))
	})
}
