package pawl_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl/internal/pgtest"
)

// The tables of docs/roles.md have every function, table and sequence, and each login has exactly the rights they say:
// in the catalog, and when it tries.
func TestRolesAreAsDocumented(t *testing.T) {
	pgtest.NotHostile(t, "it compares text that quote_all_identifiers changes")
	t.Parallel()
	r := installRoles(t)
	page, err := os.ReadFile("docs/roles.md")
	must(t, err)
	told := map[string][]string{} // By function, the roles.
	row := regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (yes|) ?\\| (yes|) ?\\| (yes|) ?\\| (yes|) ?\\|$")
	for _, m := range row.FindAllStringSubmatch(string(page), -1) {
		told[m[1]] = nil
		for i, kind := range kinds {
			if m[2+i] == "yes" {
				told[m[1]] = append(told[m[1]], kind)
			}
		}
	}
	type function struct {
		Name, Signature, Call string
		Definer, Fixed, Pure  bool
	}
	rows, _ := r.pool.Query(t.Context(), `select p.proname::text, p.oid::regprocedure::text,
		format('select * from %s.%I(%s)', $1::text, p.proname, (select string_agg(case when p.provariadic <> 0 and u.ord =
			p.pronargs then 'variadic ' else '' end || 'null::' || format_type(u.oid, null), ', ' order by u.ord)
			from unnest(p.proargtypes) with ordinality as u (oid, ord))),
		p.prosecdef, coalesce('search_path=pg_catalog, pg_temp' = any (p.proconfig), false), p.provolatile = 'i'
		from pg_proc p where p.pronamespace = $1::text::regnamespace`, r.schema)
	functions, err := pgx.CollectRows(rows, pgx.RowToStructByPos[function])
	must(t, err)
	names := map[string]bool{}
	for _, f := range functions {
		names[f.Name] = true
		may, known := told[f.Name]
		if !known {
			t.Errorf("docs/roles.md does not say who may call %s; say it there and in sql/function/admin/grant_roles.sql",
				f.Name)
		}
		if f.Definer != f.Fixed || f.Definer != (len(may) > 1 && !f.Pure) {
			t.Errorf("%s: security definer %t, fixed search_path %t, for %v", f.Signature, f.Definer, f.Fixed, may)
		}
	}
	for name := range told {
		if !names[name] {
			t.Errorf("docs/roles.md has a function %s, and the schema has none", name)
		}
	}

	tables := values[string](t, r.pool, "select relname::text from pg_class where relnamespace = $1::text::regnamespace "+
		"and relkind in ('r', 'p') and not relispartition", r.schema)
	partitions := values[string](t, r.pool, "select relname::text from pg_class where relnamespace = "+
		"$1::text::regnamespace and relkind = 'r' and relispartition", r.schema)
	sequences := values[string](t, r.pool, "select relname::text from pg_class where relnamespace = "+
		"$1::text::regnamespace and relkind = 'S'", r.schema)
	if len(tables) < 15 || len(partitions) < 5 || len(sequences) < 3 {
		t.Fatalf("%d tables, %d partitions, %d sequences: the test shows nothing", len(tables), len(partitions),
			len(sequences))
	}
	rights := func(kind, table string) (list []string) {
		switch {
		case kind == "admin":
			return []string{"select", "insert", "update", "delete"}
		case kind == "reader", table == "migration" && kind != "nobody", table == "queue" && kind == "worker":
			return []string{"select"}
		}
		return nil
	}
	for _, kind := range append(slices.Clone(kinds), "nobody") {
		_, pool := r.as(kind)
		try := func(text string) (state string) {
			err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
				exec(t, tx, "set local statement_timeout = '2s'; set local lock_timeout = '1s'")
				_, err := tx.Exec(t.Context(), text)
				return errors.Join(err, errBoom) // Rolls everything back.
			})
			if denied, ok := errors.AsType[*pgconn.PgError](err); ok {
				return denied.Code
			}
			return ""
		}
		expect := func(allowed bool, text string) {
			t.Helper()
			if state := try(text); (state == "42501") == allowed {
				t.Errorf("%s: %s: allowed %t, and got SQLSTATE %q", kind, text, allowed, state)
			}
		}
		for _, f := range functions {
			allowed := slices.Contains(told[f.Name], kind)
			if has := value[bool](t, r.pool, "select has_function_privilege($1::text, $2::text, 'execute')", r.schema+"_user_"+
				kind, f.Signature); has != allowed {
				t.Errorf("%s: execute %s: %t", kind, f.Signature, has)
			}
			expect(allowed, f.Call)
		}
		relation := func(name string, list []string) {
			for _, right := range []string{"select", "insert", "update", "delete", "truncate", "references", "trigger"} {
				if has := value[bool](t, r.pool, "select has_table_privilege($1::text, $2::text, $3::text)", r.schema+"_user_"+kind,
					r.schema+"."+name, right); has != slices.Contains(list, right) {
					t.Errorf("%s: %s on %s: %t", kind, right, name, has)
				}
			}
			for _, right := range []string{"select", "insert", "update", "references"} {
				if has := value[bool](t, r.pool, "select has_any_column_privilege($1::text, $2::text, $3::text)", r.schema+"_user_"+
					kind, r.schema+"."+name, right); has != slices.Contains(list, right) {
					t.Errorf("%s: %s on a column of %s: %t", kind, right, name, has)
				}
			}
			column := value[string](t, r.pool, "select quote_ident(attname) from pg_attribute where attrelid = "+
				"$1::text::regclass and attnum > 0 and attgenerated = '' and attidentity = '' limit 1", r.schema+"."+name)
			on := r.schema + "." + name
			expect(slices.Contains(list, "select"), "select * from "+on+" limit 1")
			expect(slices.Contains(list, "insert"), fmt.Sprintf("insert into %s (%s) select %[2]s from %[1]s where false", on,
				column))
			expect(slices.Contains(list, "update"), fmt.Sprintf("update %s set %s = null where false", on, column))
			expect(slices.Contains(list, "delete"), "delete from "+on+" where false")
			expect(false, "truncate "+on)
			expect(false, "alter table "+on+" set (fillfactor = 90)")
			expect(false, "drop table "+on)
		}
		for _, name := range tables {
			relation(name, rights(kind, name))
		}
		for _, name := range partitions {
			relation(name, nil)
		}
		for _, name := range sequences {
			draws := kind == "admin" || name == "pos" && (kind == "producer" || kind == "worker")
			expect(draws, fmt.Sprintf("select nextval('%s.%s')", r.schema, name))
			expect(kind == "admin" || name == "pos" && kind == "reader",
				fmt.Sprintf("select last_value from %s.%s", r.schema, name))
			expect(false, fmt.Sprintf("select setval('%s.%s', 1)", r.schema, name))
		}
		expect(false, "create table "+r.schema+".mine (n int)")
		expect(false, "create function "+r.schema+".mine() returns int language sql as 'select 1'")
		expect(false, "drop schema "+r.schema+" cascade")
	}
}
