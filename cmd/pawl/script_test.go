package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pawl": main, "sharer": sharer})
}

func migrate(ctx context.Context, url string) error {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	client, err := pawl.New(pool, pawl.Config{})
	if err != nil {
		return err
	}
	return client.Migrate(ctx)
}

// TestScripts runs testdata/script/*.txtar. Each script has a migrated database of its own, $PAWL_DSN, and these
// commands in addition to those of testscript:
//
//	pawl ARGS…          runs this program; ! pawl if it must fail
//	exits CODE ARGS…    runs pawl and checks its exit code
//	sql STATEMENT       prints the rows of a statement, with | between columns
//	until QUERY         waits until the only value of a query is true
//	bare                sets $PAWL_DSN to another database, without Pawl
//	load SOURCE         loads the database of another queue, from pawlimport's testdata, into $PAWL_DSN
//	keep NAME REGEXP    sets a variable to the match of the group in standard output
func TestScripts(t *testing.T) {
	pgtest.Ensure(migrate)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			t := env.T().(testing.TB)
			env.Values["t"] = t
			env.Setenv("PAWL_DSN", pgtest.Database(t))
			env.Setenv("GORACE", "atexit_sleep_ms=0") // Otherwise each command with -race ends a second later.
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": scriptExits, "sql": scriptSQL, "until": scriptUntil, "bare": scriptBare, "load": scriptLoad,
			"keep": scriptKeep,
		},
		RequireExplicitExec: false,
		RequireUniqueNames:  true,
	})
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: exits CODE ARGS…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	have := 0
	if err := ts.Exec("pawl", args[1:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("pawl: %v", err)
		}
		have = exit.ExitCode()
	}
	if have != want {
		ts.Fatalf("pawl %s: exit code %d, want %d", strings.Join(args[1:], " "), have, want)
	}
}

func scriptSQL(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sql STATEMENT")
	}
	for _, row := range scriptRows(ts, args[0]) {
		for i, value := range row {
			if i > 0 {
				fmt.Fprint(ts.Stdout(), "|")
			}
			fmt.Fprint(ts.Stdout(), value)
		}
		fmt.Fprintln(ts.Stdout())
	}
}

func scriptUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: until QUERY")
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		rows := scriptRows(ts, args[0])
		if len(rows) == 1 && rows[0][0] == true {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("still not true: %s: %v", args[0], rows)
		}
	}
}

func scriptBare(ts *testscript.TestScript, neg bool, args []string) {
	ts.Setenv("PAWL_DSN", pgtest.Empty(ts.Value("t").(testing.TB)))
}

func scriptLoad(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: load SOURCE")
	}
	ctx := ts.Value("t").(testing.TB).Context()
	text, err := os.ReadFile("../../pawlimport/testdata/" + args[0] + ".sql")
	ts.Check(err)
	conn, err := pgx.Connect(ctx, ts.Getenv("PAWL_DSN"))
	ts.Check(err)
	defer conn.Close(ctx)
	_, err = conn.PgConn().Exec(ctx, "set check_function_bodies = off;"+string(text)).ReadAll()
	ts.Check(err)
}

func scriptKeep(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: keep NAME REGEXP")
	}
	found := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) != 2 {
		ts.Fatalf("no group of %q in standard output", args[1])
	}
	ts.Setenv(args[0], found[1])
}

func scriptRows(ts *testscript.TestScript, statement string) [][]any {
	ctx := ts.Value("t").(testing.TB).Context()
	conn, err := pgx.Connect(ctx, ts.Getenv("PAWL_DSN"))
	ts.Check(err)
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, statement, pgx.QueryExecModeCacheDescribe) // A pooler may be in between.
	ts.Check(err)
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) ([]any, error) { return row.Values() })
	ts.Check(err)
	return list
}
