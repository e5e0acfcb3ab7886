package settings_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/settings"
)

// FuzzFile reads any text as a file of settings: either the error names the file, or a client takes the settings.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{
		"", "---\n", "schema: jobs\n", "dsn: postgres://u:secret@h/d\nschema: \"\"\n",
		"validation:\n  depth: 5\n  forbidden: [a, b]\n",
		"validation: {args_bytes: 209715201}\n", "insert_rate: 5/s\ninsert_burst: 3\n", "a: 1\na: 2\n",
		"- 1\n", "x: &x [*x]\n",
		"validation: &v {required: [a], forbidden: [a]}\n", "schema: !!null\n",
		"schema: [a]\n", "a: 1\n---\nb: 2\n", "? [a]\n: b\n",
		"heartbeat: 1s\npoll_interval: -1s\nlease: 99999999h\n", "<<: {schema: a}\n", "schema: pg_x\n", "schema: a$b$$c\n",
		"listen_dsn: \"host=/x port=0\"\n", "validation: {required: []}\n", "batch_size: 1e9\n", "\xff", "schema: \"\\0\"\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "pawl.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := settings.Load(nil, path)
		if err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Errorf("%q: the error names no file: %v", text, err)
			}
			return
		}
		if _, err := pawl.New(nil, s.ClientConfig(slog.Default())); err != nil {
			t.Errorf("%q: these settings make no client: %v", text, err)
		}
		for _, v := range s.Values() {
			if v.Source == "" {
				t.Errorf("%q: %s has no source", text, v.Setting)
			}
		}
	})
}
