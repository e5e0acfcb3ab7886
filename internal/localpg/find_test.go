package localpg

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// install makes a folder that looks like PostgreSQL's program folder.
func install(t *testing.T, dir string, names ...string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	return real
}

// bare makes the search see only what root holds.
func bare(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	t.Setenv(EnvBin, "")
	t.Setenv("PATH", filepath.Join(root, "path"))
	old := installed
	t.Cleanup(func() { installed = old })
	installed = []string{filepath.Join(root, "lib/*/bin")}
	return root
}

func TestFindOrder(t *testing.T) {
	root := bare(t)
	check := func(binDir, want string) {
		t.Helper()
		got, err := Find(binDir)
		if err != nil || got != want {
			t.Errorf("Find(%q) = %q, %v, want %q", binDir, got, err, want)
		}
	}
	install(t, filepath.Join(root, "lib/9.6/bin"), "initdb", "postgres")
	newest := install(t, filepath.Join(root, "lib/17/bin"), "initdb", "postgres")
	install(t, filepath.Join(root, "lib/18/bin"), "initdb") // incomplete
	check("", newest)

	asked := install(t, filepath.Join(root, "asked"), "initdb", "postgres")
	install(t, filepath.Join(root, "path"))
	script := "#!/bin/sh\necho '" + asked + "'\n"
	if err := os.WriteFile(filepath.Join(root, "path", "pg_config"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	check("", asked)

	onPath := install(t, filepath.Join(root, "real"), "initdb", "postgres")
	if err := os.Symlink(filepath.Join(onPath, "initdb"), filepath.Join(root, "path", "initdb")); err != nil {
		t.Fatal(err)
	}
	check("", onPath)

	env := install(t, filepath.Join(root, "env"), "initdb", "postgres")
	t.Setenv(EnvBin, env)
	check("", env)
	check(newest, newest)
}

func TestFindNothing(t *testing.T) {
	root := bare(t)
	_, err := Find("")
	if !errors.Is(err, ErrNotFound) {
		t.Fatalf("Find found nothing and returned %v, want ErrNotFound", err)
	}
	for _, text := range []string{"PATH", "pg_config", installed[0], "apt-get install postgresql", "dnf install", "apk add", "brew install", EnvBin, "--dsn"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error does not mention %q: %v", text, err)
		}
	}

	if _, err := Find(root); err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), root) {
		t.Errorf("Find of a folder without programs returned %v, want an error that names it", err)
	}
	t.Setenv(EnvBin, filepath.Join(root, "wrong"))
	if _, err := Find(""); err == nil || !strings.Contains(err.Error(), EnvBin) {
		t.Errorf("Find with a wrong %s returned %v, want an error that names it", EnvBin, err)
	}
}

func TestNewestFirst(t *testing.T) {
	got := []string{"/l/9.6/bin", "/l/10/bin", "/l/postgresql@9/bin", "/l/9.10/bin", "/l/17/bin", "/l/postgresql/bin"}
	newestFirst(got)
	want := []string{"/l/17/bin", "/l/10/bin", "/l/9.10/bin", "/l/9.6/bin", "/l/postgresql@9/bin", "/l/postgresql/bin"}
	if !slices.Equal(got, want) {
		t.Errorf("newestFirst gave %v, want %v", got, want)
	}
}
