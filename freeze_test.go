package pawl_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

var freeze = flag.String("freeze", "",
	"write testdata/upgrade of this version from the file that the tests wrote for $"+pgtest.EnvRecord+
		": see `make freeze`")

// TestFreeze writes the schema of this version, as Migrate makes it, and the statements of this binary, as its
// tests sent them. See docs/upgrades.md for when to run it.
func TestFreeze(t *testing.T) {
	if *freeze == "" {
		t.Skip("run `make freeze`")
	}
	pool := pgtest.Pool(t, pgtest.Empty(t), func(c *pgxpool.Config) { c.MaxConns = 2 })
	client, err := pawl.New(pool, pawl.Config{})
	must(t, err)
	var schema strings.Builder
	must(t, client.WriteMigration(t.Context(), &schema, 0))
	must(t, client.Migrate(t.Context()))
	stats, err := client.Stats(t.Context())
	must(t, err)
	dir := frozenFolder(stats.Schema)
	must(t, os.MkdirAll(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "schema.sql"), []byte(schema.String()), 0o644))
	commit, err := osexec.Command("git", "rev-parse", "HEAD").Output()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "commit"), commit, 0o644))

	raw, err := os.Open(*freeze)
	must(t, err)
	defer raw.Close()
	conn, err := pool.Acquire(t.Context())
	must(t, err)
	defer conn.Release()
	texts := map[string]bool{}
	lines := bufio.NewScanner(raw)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var r pgtest.Recorded
		must(t, json.Unmarshal(lines.Bytes(), &r))
		if text := thisBinarys(r); text != "" {
			texts[text] = true
		}
	}
	must(t, lines.Err())
	rank := func(text string) int {
		return slices.IndexFunc(orders, func(verb string) bool { return strings.HasPrefix(text, verb) })
	}
	var b strings.Builder
	fmt.Fprintf(&b, "-- The statements of a binary of schema %d. $1, $2, … are parameters; the archive's day is 29 "+
		"February 2020.\n"+
		"-- Made by `make freeze`.\n", stats.Schema)
	for _, text := range slices.SortedFunc(maps.Keys(texts), func(x, y string) int {
		return cmp.Or(cmp.Compare(rank(x), rank(y)), cmp.Compare(x, y))
	}) {
		s, err := describeStatement(t, conn.Conn(), text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		b.WriteString("\n" + s.String())
	}
	must(t, os.WriteFile(filepath.Join(dir, "statements.sql"), []byte(b.String()), 0o644))

	// A statement that the sources have and that no test made them send would be missing.
	sent := blanks.ReplaceAllString(b.String(), " ")
	var sources []string
	for _, pattern := range []string{"*.go", "internal/pg/*.go", "internal/lanes/*.go", "internal/inspect/*.go"} {
		found, err := filepath.Glob(pattern)
		must(t, err)
		sources = append(sources, found...)
	}
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), source, nil, 0)
		must(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			if pair, ok := n.(*ast.KeyValueExpr); ok {
				if name, ok := pair.Key.(*ast.Ident); ok && strings.EqualFold(name.Name, "remedy") {
					return false // An operator types it.
				}
			}
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(literal.Value)
			must(t, err)
			text = strings.TrimSpace(blanks.ReplaceAllString(text, " "))
			if strings.Contains(text, "pawl.") && !strings.Contains(text, "%") && !strings.Contains(sent, text) {
				t.Errorf("%s: no test sent: %s", source, text)
			}
			return true
		})
	}
}

var (
	realms    = regexp.MustCompile(`"(pawl|realm_\w+)"\.`)
	days      = regexp.MustCompile(`archive_\d{8}`)
	dayBounds = regexp.MustCompile(`\('\d{4}-\d\d-\d\d 00:00:00\+00'\) to \('\d{4}-\d\d-\d\d 00:00:00\+00'\)`)
	blanks    = regexp.MustCompile(`\s+`)
)

// thisBinarys returns a recorded statement as it is kept, or "" if the library did not send it or it does not use
// the schema. The library sets a mode for each of its statements, tests do not.
func thisBinarys(r pgtest.Recorded) string {
	text := realms.ReplaceAllString(r.SQL, "pawl.")
	switch {
	case len(r.Columns) > 0:
		text = fmt.Sprintf("copy %s (%s) from stdin", strings.ReplaceAll(text, `"`, ""), strings.Join(r.Columns, ", "))
	case strings.HasPrefix(text, "listen "):
		text = r.SQL
	case r.Mode == "":
		return ""
	}
	text = blanks.ReplaceAllString(text, " ")
	text = days.ReplaceAllString(text, "archive_20200229")
	text = dayBounds.ReplaceAllString(text, "('2020-02-29 00:00:00+00') to ('2020-03-01 00:00:00+00')")
	if !strings.Contains(text, "pawl.") && !strings.HasPrefix(text, `listen """pawl"`) {
		return ""
	}
	return strings.TrimSpace(text)
}

// TestFleetProgramCompiles builds the program that stands for this binary once its version is kept. Packages in
// testdata are not built with the others.
func TestFleetProgramCompiles(t *testing.T) {
	t.Parallel()
	build := osexec.CommandContext(t.Context(), "go", "build", "-o", os.DevNull, "./testdata/upgrade/fleet")
	if out, err := build.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
