package pawl_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	migrator "github.com/pawlhq/pawl/internal/migrate"
	"github.com/pawlhq/pawl/internal/pgtest"
	pawlsql "github.com/pawlhq/pawl/sql"
)

// callAll calls every method of a client. It returns the errors by role and method, under the least role that may call
// it.
func callAll(ctx context.Context, c *pawl.Client, id pawl.ID) map[string]map[string]error {
	_, get := c.Get(ctx, id)
	_, list := c.List(ctx, pawl.Filter{})
	_, count := c.Count(ctx, pawl.Filter{})
	_, stats := c.Stats(ctx)
	_, channels := c.Channels(ctx, "default")
	_, queues := c.Queues(ctx)
	_, workers := c.Workers(ctx)
	_, crons := c.Crons(ctx)
	findings, verify := c.Verify(ctx)
	if slices.ContainsFunc(findings, func(f pawl.Finding) bool { return f.Check == "privilege" }) {
		verify = &pgconn.PgError{Code: "42501"} // Verify reports it instead of failing.
	}
	_, batch := c.GetBatch(ctx, 1)
	_, claim := c.Claim(ctx, "nothing here", 1, 0)
	_, cancel := c.Cancel(ctx, id)
	_, retry := c.Retry(ctx, id)
	_, update := c.Update(ctx, id, pawl.JobUpdate{Delay: time.Hour})
	_, remove := c.Delete(ctx, id)
	_, purge := c.PurgeQueue(ctx, "default")
	_, forget := c.PurgeWorkers(ctx, time.Hour)
	_, release := c.ReleaseWorker(ctx, 1)
	_, insert := c.Insert(ctx, pawl.JobSpec{Args: Note{1}, Queue: "verbs", Delay: time.Hour})
	_, many := c.InsertMany(ctx, []pawl.JobSpec{{Args: Note{1}, Queue: "verbs", Delay: time.Hour,
		Unique: pawl.Unique{Key: "verbs"}}})
	return map[string]map[string]error{
		"producer": {"Insert": insert, "InsertMany": many, "Commit": c.CommitReserved(ctx, id),
			"Abort": c.AbortReserved(ctx, id)},
		"worker": {"Claim": claim},
		"reader": {"Get": get, "List": list, "Count": count, "Stats": stats, "Channels": channels, "Queues": queues,
			"Workers": workers, "Crons": crons,
			"Verify": verify, "Batch": batch},
		"admin": {"Cancel": cancel, "Retry": retry, "Update": update, "Delete": remove, "PurgeQueue": purge,
			"PurgeWorkers": forget, "ReleaseWorker": release,
			"PutQueue": c.PutQueue(ctx, pawl.Queue{Name: "default"}), "PauseQueue": c.PauseQueue(ctx, "default"),
			"DeleteQueue": c.DeleteQueue(ctx, "default"),
			"PutCron":     c.PutCron(ctx, hourly("hourly")), "PauseCron": c.PauseCron(ctx, "hourly"),
			"DeleteCron":    c.DeleteCron(ctx, "hourly"),
			"SuspendWorker": c.SuspendWorker(ctx, 1), "ResumeChannel": c.ResumeChannel(ctx, "default", "")},
		"owner": {"Migrate": c.Migrate(ctx), "Uninstall": c.Uninstall(ctx)},
	}
}

// A role may call exactly the methods that docs/roles.md gives it.
func TestRolesAndVerbs(t *testing.T) {
	t.Parallel()
	r := installRoles(t)
	can := map[string][]string{"producer": {"producer"}, "worker": {"producer", "worker"}, "reader": {"reader"},
		"admin": {"producer", "worker", "reader", "admin"}}
	for _, kind := range append(slices.Clone(kinds), "nobody") {
		result, err := r.client.Insert(t.Context(), Note{1})
		must(t, err)
		client, _ := r.as(kind)
		for who, said := range callAll(t.Context(), client, result.ID) {
			for verb, err := range said {
				denied, _ := errors.AsType[*pgconn.PgError](err)
				switch allowed := slices.Contains(can[kind], who); {
				case allowed && denied != nil && denied.Code == "42501":
					t.Errorf("%s: %s: %v", kind, verb, err)
				case !allowed:
					wantRefused(t, kind+": "+verb, err)
				}
			}
		}
	}
	if _, err := r.client.Stats(t.Context()); err != nil {
		t.Errorf("what is left: %v", err)
	}
}

// A second CreateRoles or Migrate changes no rights. Migrate grants none before the first CreateRoles.
func TestCreateRolesTwiceOrNever(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	const granted = "select count(*) from pg_proc p where p.pronamespace = $1::text::regnamespace and (p.proacl is not " +
		"null or p.prosecdef)"
	for range 2 {
		must(t, r.client.Migrate(t.Context()))
		if n := value[int](t, r.pool, granted, r.schema) + value[int](t, r.pool,
			"select count(*) from pg_roles where starts_with(rolname, $1)", r.schema); n != 0 {
			t.Errorf("%d functions and roles changed, although it was not asked for", n)
		}
	}
	must(t, r.client.CreateRoles(t.Context()))
	once := describeSchema(t, r.pool, r.schema)
	for name, again := range map[string]func(context.Context) error{"CreateRoles": r.client.CreateRoles,
		"Migrate": r.client.Migrate} {
		must(t, again(t.Context()))
		if describeSchema(t, r.pool, r.schema) != once {
			t.Errorf("a second %s changed something", name)
		}
	}
	// CreateRoles does the same after a migration by script.
	other := pgtest.Empty(t)
	var printed strings.Builder
	client, err := pawl.New(pgtest.Pool(t, other), pawl.Config{Schema: r.schema})
	must(t, err)
	must(t, client.WriteMigration(t.Context(), &printed, 0))
	if _, ok := errors.AsType[*pawl.SchemaError](client.CreateRoles(t.Context())); !ok {
		t.Error("CreateRoles without a schema did not return a SchemaError")
	}
	runScript(t, connectTo(t, other), printed.String())
	must(t, client.CreateRoles(t.Context()))
	if describeSchema(t, pgtest.Pool(t, other), r.schema) != once {
		t.Error("after a migration by script CreateRoles granted something else")
	}
	// Grants to Pawl's roles by hand are undone; grants to other roles stay.
	exec(t, r.pool, r.in(fmt.Sprintf(`grant select on pawl.job to %[1]s_producer;
		revoke all on function pawl.insert(text, jsonb, jsonb) from %[1]s_producer;
		grant execute on all functions in schema %[1]s to public; create role %[1]s_other;
		grant select on pawl.dead to %[1]s_other`, r.schema)))
	must(t, r.client.Migrate(t.Context()))
	// It was there, or this would say so.
	exec(t, r.pool, r.in(fmt.Sprintf("revoke select on pawl.dead from %s_other", r.schema)))
	if describeSchema(t, r.pool, r.schema) != once {
		t.Error("what was changed by hand stayed")
	}
}

// Migrate grants rights on tables and functions that a later version adds.
func TestMigrateGrantsRightsOnWhatIsNew(t *testing.T) {
	t.Parallel()
	r := installRoles(t)
	next := nextRelease(t)
	must(t, r.pool.AcquireFunc(t.Context(), func(conn *pgxpool.Conn) error {
		return next.Up(t.Context(), conn.Conn(), r.schema,
			migrator.Options{After: []string{"select pawl.grant_roles(false);"}})
	}))
	const (
		heartbeat = "'$.heartbeat(bigint, integer, bigint[], integer[], text[], text, text)', 'execute')"
		functions = "from pg_proc where proname = 'heartbeat' and pronamespace = '$'::regnamespace "
	)
	for what, want := range map[string]bool{
		"select has_table_privilege('$_reader', '$.region', 'select')":                           true,
		"select has_table_privilege('$_worker', '$.region', 'select')":                           false,
		"select has_table_privilege('$_admin', '$.region', 'delete')":                            true,
		"select has_function_privilege('$_worker', " + heartbeat:                                 true,
		"select has_function_privilege('$_reader', " + heartbeat:                                 false,
		"select has_function_privilege('$_user_nobody', " + heartbeat:                            false,
		"select prosecdef " + functions + "and pronargs = 7":                                     true,
		"select count(*) = 1 " + functions + "and pronargs > 1":                                  true,
		"select has_function_privilege('$_producer', '$.insert(text, jsonb, jsonb)', 'execute')": true,
	} {
		if got := value[bool](t, r.pool, strings.ReplaceAll(what, "$", r.schema)); got != want {
			t.Errorf("%s: %t", what, got)
		}
	}
}

// A role without createrole can call CreateRoles if the roles exist.
func TestCreateRolesWithoutCreaterole(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	exec(t, r.pool, fmt.Sprintf("create role %s_user_owner login", r.schema))
	exec(t, r.pool, fmt.Sprintf("grant create on database %s to %s_user_owner", r.pool.Config().ConnConfig.Database,
		r.schema))
	client, _ := r.as("owner")
	must(t, client.Migrate(t.Context()))
	before := describeSchema(t, r.pool, r.schema)
	wantRefused(t, "CreateRoles", client.CreateRoles(t.Context()))
	if describeSchema(t, r.pool, r.schema) != before {
		t.Error("CreateRoles failed and changed something")
	}
	for _, kind := range kinds {
		exec(t, r.pool, fmt.Sprintf("create role %s_%s", r.schema, kind))
	}
	must(t, client.CreateRoles(t.Context()))
	exec(t, r.pool, fmt.Sprintf("create role %s_user_producer login; grant %[1]s_producer to %[1]s_user_producer",
		r.schema))
	producer, _ := r.as("producer")
	insert(t, producer, Note{1})
	must(t, client.Uninstall(t.Context()))
	must(t, client.Migrate(t.Context()))
	_, err := producer.Insert(t.Context(), Note{1})
	wantRefused(t, "a producer of an installation before", err)
}

// Role names fit into 63 bytes and differ for schemas with names of any length.
func TestRoleNames(t *testing.T) {
	t.Parallel()
	conn := connectTo(t, pgtest.Empty(t))
	source, err := migrator.Load(pawlsql.Files, "pawl.")
	must(t, err)
	text, err := pawlsql.Files.ReadFile("function/admin/role_name.sql")
	must(t, err)
	seen := map[string]string{}
	for _, schema := range []string{"pawl", "Pawl", "select", "x$1", strings.Repeat("x", 54), strings.Repeat("x", 55),
		strings.Repeat("x", 62), strings.Repeat("x", 63), strings.Repeat("x", 62) + "y"} {
		exec(t, conn, "create schema "+pgx.Identifier{schema}.Sanitize())
		exec(t, conn, source.Into(schema, "create table pawl.job (id int)"))
		exec(t, conn, source.Into(schema, string(text)))
		for _, kind := range kinds {
			name := value[string](t, conn, source.Into(schema, "select pawl.role_name($1)"), kind)
			if len(name) > 63 || !strings.HasSuffix(name, "_"+kind) || !strings.HasPrefix(name, schema[:min(len(schema), 45)]) {
				t.Errorf("%s of %s is %s", kind, schema, name)
			}
			if other, twice := seen[name]; twice {
				t.Errorf("%s is of %s and of %s", name, schema, other)
			}
			seen[name] = schema
		}
	}
	if seen["pawl_producer"] != "pawl" {
		t.Error("pawl's producer is not pawl_producer")
	}
}
