package pawl_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	migrator "github.com/pawlhq/pawl/internal/migrate"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/sql"
)

// TestADryRunPrintsWhatMigrateRuns checks that the script of a dry run does what Migrate does: on an empty database,
// from each kept version, and in a schema with another name.
func TestADryRunPrintsWhatMigrateRuns(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]*migrator.Source{"this": nil, "next": nextRelease(t)} {
		for _, from := range append([]int{0}, frozenVersions(t)...) {
			for _, schema := range []string{"pawl", "Other$1"} {
				if schema != "pawl" && from > 0 {
					continue // Kept under its own name.
				}
				t.Run(fmt.Sprintf("%s from %d in %s", name, from, schema), func(t *testing.T) {
					t.Parallel()
					var dumps []string
					for _, printed := range []bool{false, true} {
						url := pgtest.Empty(t)
						if from > 0 {
							url = keptSchema(t, from)
						}
						pool := pgtest.Pool(t, url)
						run := func(dry *strings.Builder) error {
							if source == nil {
								client, err := pawl.New(pool, pawl.Config{Schema: schema})
								must(t, err)
								if dry != nil {
									return client.WriteMigration(t.Context(), dry, 0)
								}
								return client.Migrate(t.Context())
							}
							return pool.AcquireFunc(t.Context(), func(conn *pgxpool.Conn) error {
								options := migrator.Options{}
								if dry != nil {
									options.Dry = dry
								}
								return source.Up(t.Context(), conn.Conn(), schema, options)
							})
						}
						if printed {
							var text strings.Builder
							before := value[int](t, pool, "select count(*) from pg_class")
							must(t, run(&text))
							if after := value[int](t, pool, "select count(*) from pg_class"); after != before {
								t.Error("the dry run changed the database")
							}
							must(t, pool.AcquireFunc(t.Context(), func(conn *pgxpool.Conn) error {
								runScript(t, conn.Conn(), text.String())
								return nil
							}))
						} else {
							must(t, run(nil))
						}
						dumps = append(dumps, describeSchema(t, pool, schema))
					}
					if len(dumps[0]) < 50_000 {
						t.Fatalf("a schema of %d bytes: the test shows nothing", len(dumps[0]))
					}
					if dumps[0] != dumps[1] {
						t.Errorf("run: \n%s\nprinted:\n%s", dumps[0], dumps[1])
					}
				})
			}
		}
	}
}

// TestUpgradedIsAsInstalled checks that an upgrade from each kept version makes the same schema as a new installation.
func TestUpgradedIsAsInstalled(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]*migrator.Source{"this": nil, "next": nextRelease(t)} {
		fresh := pgtest.Pool(t, pgtest.Database(t))
		for _, version := range frozenVersions(t) {
			pool := pgtest.Pool(t, keptSchema(t, version))
			client, err := pawl.New(pool, pawl.Config{})
			must(t, err)
			must(t, client.Migrate(t.Context()))
			if source != nil {
				migrateTo(t, pool.Config().ConnString(), source)
				migrateTo(t, fresh.Config().ConnString(), source)
			}
			if got, want := describeSchema(t, pool, "pawl"), describeSchema(t, fresh, "pawl"); got != want {
				t.Errorf("%s: upgraded from %d:\n%s\ninstalled:\n%s", name, version, got, want)
			}
		}
	}
}

// TestStatementsOfKeptVersionsResolve checks that each statement of a kept version has the same parameters and columns
// after the upgrade.
func TestStatementsOfKeptVersionsResolve(t *testing.T) {
	pgtest.NotHostile(t, "it compares text that quote_all_identifiers changes")
	t.Parallel()
	for _, version := range frozenVersions(t) {
		now, next := keptSchema(t, version), keptSchema(t, version)
		pool := pgtest.Pool(t, now)
		client, err := pawl.New(pool, pawl.Config{})
		must(t, err)
		must(t, client.Migrate(t.Context()))
		migrateTo(t, next, nextRelease(t))
		for name, url := range map[string]string{"this": now, "next": next} {
			conn, err := pgx.Connect(t.Context(), url)
			must(t, err)
			defer conn.Close(context.WithoutCancel(t.Context()))
			texts := frozenStatements(t, version)
			// The binary attaches, detaches and drops this partition; make_partitions creates it.
			exec(t, conn, "create table pawl.archive_20200229 (like pawl.archive_chunk including defaults including indexes)")
			for _, s := range texts {
				if s.isOrder() {
					if _, err := conn.Exec(t.Context(), s.text, pgx.QueryExecModeSimpleProtocol); err != nil {
						t.Errorf("%s schema, a binary of version %d sends\n\t%s\n%v", name, version, s.text, err)
					}
					continue
				}
				got, err := describeStatement(t, conn, s.text)
				if err != nil || !slices.Equal(got.takes, s.takes) || !slices.Equal(got.gives, s.gives) {
					t.Errorf("%s schema, a binary of version %d sends\n%v\nand now it is\n%v\n%v", name, version, s, got, err)
				}
			}
		}
	}
}

// calls returns all ways to call the functions of a database, by position and by name.
func calls(t testing.TB, conn *pgx.Conn) (texts []string) {
	t.Helper()
	type function struct {
		Name     string
		Types    []string
		Names    []string
		Defaults int
		Variadic bool
	}
	rows, _ := conn.Query(t.Context(), `select p.proname::text,
		array(select format_type(u.oid, null) from unnest(p.proargtypes) with ordinality as u (oid, ord) order by u.ord),
		p.proargnames[1:p.pronargs], p.pronargdefaults::integer, p.provariadic <> 0
		from pg_proc p where p.pronamespace = 'pawl'::regnamespace order by 1, 2`)
	functions, err := pgx.CollectRows(rows, pgx.RowToStructByPos[function])
	must(t, err)
	for _, f := range functions {
		for n := len(f.Types) - f.Defaults; n <= len(f.Types); n++ {
			var positions, names []string
			for i, as := range f.Types[:n] {
				last := f.Variadic && i == len(f.Types)-1
				one := fmt.Sprintf("$%d::%s", i+1, as)
				if last {
					one = "variadic " + one
				}
				positions = append(positions, one)
				if i < len(f.Names) && f.Names[i] != "" && !last {
					names = append(names, fmt.Sprintf(`"%s" => $%d::%s`, f.Names[i], i+1, as))
				}
			}
			texts = append(texts, fmt.Sprintf("select * from pawl.%s(%s)", f.Name, strings.Join(positions, ", ")))
			if n > 0 && len(names) == n {
				texts = append(texts, fmt.Sprintf("select * from pawl.%s(%s)", f.Name, strings.Join(names, ", ")))
			}
		}
	}
	return texts
}

// TestCallsOfKeptVersionsResolve checks the same for each way to call a function, because triggers, psql and other
// languages call them, too.
func TestCallsOfKeptVersionsResolve(t *testing.T) {
	pgtest.NotHostile(t, "it compares text that quote_all_identifiers changes")
	t.Parallel()
	for _, version := range frozenVersions(t) {
		was := connectTo(t, keptSchema(t, version))
		now, next := keptSchema(t, version), keptSchema(t, version)
		client, err := pawl.New(pgtest.Pool(t, now), pawl.Config{})
		must(t, err)
		must(t, client.Migrate(t.Context()))
		migrateTo(t, next, nextRelease(t))
		texts := calls(t, was)
		if len(texts) < 150 {
			t.Fatalf("only %d calls were found", len(texts))
		}
		for name, url := range map[string]string{"this": now, "next": next} {
			is := connectTo(t, url)
			for _, text := range texts {
				want, err := describeStatement(t, was, text)
				must(t, err)
				got, err := describeStatement(t, is, text)
				if err != nil || !slices.Equal(got.gives, want.gives) {
					t.Errorf("%s schema: of version %d\n\t%s\ngives %v, and now %v (%v): an old call must keep its meaning: "+
						"add a parameter with a default at the end, or another function",
						name, version, text, want.gives, got.gives, err)
				}
			}
		}
	}
}

// TestNewFunctionsNeedAMigration checks that the schema of a released version has every function. A binary that
// calls a function that is missing fails, and the version of the schema cannot tell it why.
func TestNewFunctionsNeedAMigration(t *testing.T) {
	t.Parallel()
	source, err := migrator.Load(sql.Files, "pawl.")
	must(t, err)
	kept := frozenVersions(t)
	last := kept[len(kept)-1]
	if source.Version() > last {
		return
	}
	was := calls(t, connectTo(t, keptSchema(t, last)))
	for _, text := range calls(t, connectTo(t, pgtest.Database(t))) {
		if !slices.Contains(was, text) {
			t.Errorf("%s is not in the schema of version %d as it was released: add a migration, even if only a comment",
				text, last)
		}
	}
}

// TestMigrationsKeepTheRules checks the migrations after the first kept version, and those that stand for the next
// ones: they only add, and lock no busy table for long. docs/upgrades.md has the rules, also those that a test
// cannot check.
func TestMigrationsKeepTheRules(t *testing.T) {
	t.Parallel()
	for _, step := range nextRelease(t).Steps[frozenVersions(t)[0]:] {
		for _, why := range brokenRules(step.SQL) {
			t.Errorf("%v: %s", &step, why)
		}
	}
	for text, rule := range map[string]string{
		"alter table pawl.job drop column data":                                "removes",
		"alter table pawl.job rename column data to payload":                   "removes",
		"truncate pawl.dead":                                                   "removes",
		"alter table pawl.job alter column attempt type integer":               "rewrites",
		"alter table pawl.job alter max_attempts set not null":                 "rewrites",
		"update pawl.job set priority = 0":                                     "changes rows",
		"create table pawl.region (name text); insert into pawl.region values": "changes rows",
		"alter table pawl.job add column region text not null":                 "does not write",
		"alter table pawl.job add constraint some check (attempt >= 0)":        "may refuse",
		"create or replace function pawl.region() returns text language sql":   "files of their own",
		"create index job_kind on pawl.job (kind)":                             "concurrently",
	} {
		if broken := strings.Join(brokenRules(text), "; "); !strings.Contains(broken, rule) {
			t.Errorf("%s: found %q, want %q", text, broken, rule)
		}
	}
}

// migrationRules are what a migration must not contain, and why.
var migrationRules = []struct {
	broken *regexp.Regexp
	why    string
}{
	{regexp.MustCompile(`(?i)\b(drop|rename|truncate)\b`),
		"removes what the previous binary may use; the old signature of a function is dropped in the function's file"},
	{regexp.MustCompile(`(?i)\balter\s+(column\s+)?\w+\s+(type|set\s+not\s+null|set\s+data)\b`),
		"rewrites or reads a table under its strongest lock"},
	{regexp.MustCompile(`(?i)^\s*(update|delete|insert|merge|copy)\b`),
		"changes rows: a maintenance task can do that in small steps"},
	{regexp.MustCompile(`(?i)\badd\s+(column\s+)?(if\s+not\s+exists\s+)?\w+\s+[^,]*not\s+null(?:[^,]*default)?`),
		"adds a column that the previous binary does not write: it must be nullable or have a default"},
	{regexp.MustCompile(`(?i)\b(foreign\s+key|references|check\s*\(|add\s+constraint|create\s+trigger)\b`),
		"may refuse what the previous binary writes, or reads the table to check it"},
	{regexp.MustCompile(`(?i)\bcreate\s+(or\s+replace\s+)?function\b`),
		"contains a function: functions are files of their own"},
}

var (
	tableMade   = regexp.MustCompile(`(?i)create\s+table\s+pawl\.(\w+)`)
	indexMade   = regexp.MustCompile(`(?i)create\s+(?:unique\s+)?index\s+(concurrently\s+)?\w+\s+on\s+pawl\.(\w+)`)
	sqlComments = regexp.MustCompile(`--.*`)
)

// brokenRules returns what is wrong with the text of a migration.
func brokenRules(text string) (broken []string) {
	text = sqlComments.ReplaceAllString(text, "")
	for statement := range strings.SplitSeq(text, ";") {
		for _, rule := range migrationRules {
			for _, found := range rule.broken.FindAllString(statement, -1) {
				if !strings.Contains(strings.ToLower(found), "default") && !tableMade.MatchString(statement) {
					broken = append(broken, fmt.Sprintf("%q %s", strings.TrimSpace(found), rule.why))
				}
			}
		}
	}
	for _, m := range indexMade.FindAllStringSubmatch(text, -1) {
		if m[1] == "" && !strings.Contains(text, "create table pawl."+m[2]+" ") {
			broken = append(broken, fmt.Sprintf("builds an index on the existing table %s: "+
				"build it concurrently, in a migration of its own", m[2]))
		}
	}
	return broken
}

// TestAnOlderSchema checks that on an older schema this binary says what to do, and does nothing.
func TestAnOlderSchema(t *testing.T) {
	t.Parallel()
	source, err := migrator.Load(sql.Files, "pawl.")
	must(t, err)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(context.Context, *pawl.Job[Note]) error { return nil })
	for have := range source.Version() {
		pool := pgtest.Pool(t, pgtest.Empty(t))
		client, err := pawl.New(pool, pawl.Config{})
		must(t, err)
		if have > 0 {
			must(t, client.MigrateTo(t.Context(), have))
		}
		_, insert := client.Insert(t.Context(), Note{1})
		for verb, err := range map[string]error{"Run": client.Run(t.Context(), mux, pawl.RunnerConfig{}),
			"Maintain": client.Maintain(t.Context()), "Insert": insert} {
			wrong, ok := errors.AsType[*pawl.SchemaError](err)
			if !ok || wrong.Have != have || wrong.Want != source.Version() || !strings.Contains(err.Error(), "Client.Migrate") {
				t.Errorf("%s at version %d of %d: %v", verb, have, source.Version(), err)
			}
		}
	}
}

// TestANewerSchema checks that on a newer schema this binary works, and that Migrate refuses and says what to do.
func TestANewerSchema(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	next := nextRelease(t)
	migrateTo(t, url, next)
	client, pool := connect(t, url)
	err := client.Migrate(t.Context())
	wrong, ok := errors.AsType[*pawl.SchemaError](err)
	if !ok || wrong.Have != next.Version() || !strings.Contains(err.Error(), "upgrade the binary") {
		t.Errorf("migrate: %v", err)
	}
	var dry strings.Builder
	if err := client.WriteMigration(t.Context(), &dry, 0); !errors.As(err, &wrong) || dry.Len() > 0 {
		t.Errorf("a dry run: %v, and wrote %q", err, dry.String())
	}
	const extended = "select count(*) from pg_proc " +
		"where pronamespace = 'pawl'::regnamespace and proname = 'heartbeat' and pronargs = 7"
	if n := value[int](t, pool, extended); n != 1 {
		t.Error("the functions of the newer schema were replaced")
	}
	if stats, err := client.Stats(t.Context()); err != nil || stats.Schema != next.Version() {
		t.Errorf("stats: schema %d, want %d (%v)", stats.Schema, next.Version(), err)
	}
	ran := make(chan int, 3)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(ctx context.Context, job *pawl.Job[Note]) error { ran <- job.Args.N; return nil })
	stop := start(t, client, mux, pawl.RunnerConfig{})
	_, err = client.InsertMany(t.Context(), notes(3))
	must(t, err)
	got := map[int]bool{}
	for range 3 {
		got[<-ran] = true
	}
	must(t, stop())
	if want := []int{0, 1, 2}; !slices.Equal(slices.Sorted(maps.Keys(got)), want) {
		t.Errorf("ran %v", got)
	}
}
