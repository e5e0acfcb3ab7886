package inspect

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/internal/migrate"
	"github.com/pawlhq/pawl/sql"
)

// unknownVersion is the version of a schema whose table of migrations is missing or unreadable.
const unknownVersion = -1

// A comparison says how an installed schema differs from what this binary makes.
type comparison struct {
	differences []migrate.Difference
	version     int      // 0 if there is no schema.
	unreadable  []string // Tables and sequences that this role may not read.
}

// compare reads the catalog and compares it with what this binary makes.
func (in *Installation) compare(ctx context.Context, tx Runner) (c comparison, err error) {
	err = tx.Query(ctx, sql.Query("unreadable"), []any{in.Schema}, func(row Row) error {
		var name string
		err := row.Scan(&name)
		c.unreadable = append(c.unreadable, name)
		return err
	})
	if err != nil {
		return c, err
	}
	var objects []migrate.Object
	err = tx.Query(ctx, sql.Query("catalog"), []any{in.Schema}, func(row Row) error {
		o, err := migrate.ScanObject(row)
		objects = append(objects, o)
		return err
	})
	if err != nil {
		return c, err
	}
	isTable := func(o migrate.Object) bool { return o.Kind == "table" }
	isMigrations := func(o migrate.Object) bool { return isTable(o) && o.Name == "migration" }
	c.version = unknownVersion
	if !slices.ContainsFunc(objects, isTable) {
		c.version = 0
	} else if slices.ContainsFunc(objects, isMigrations) && !slices.Contains(c.unreadable, "migration") {
		err = queryRow(ctx, tx, "select coalesce(max(m.version), 0) from pawl.migration m", nil, &c.version)
	}
	c.differences = in.Source.Compare(objects, in.Schema, c.version > in.Source.Version())
	return c, err
}

// structure describes how the schema differs from what this binary makes. It reports whether the schema is complete
// enough to look at the rows.
func (in *Installation) structure(ctx context.Context, tx Runner, c comparison) (
	faults []fault, complete bool, err error,
) {
	switch {
	case c.version == 0:
		return []fault{{Finding: in.missingSchema()}}, false, nil
	case c.version < in.Source.Version() && c.version != unknownVersion:
		return []fault{{Finding: in.olderSchema(c.version)}}, false, nil
	}
	complete = true
	var functions []string
	for _, d := range c.differences {
		f := fault{object: d.Name, structural: true, Finding: Finding{Check: d.Kind, Fatal: true}}
		switch d.Kind {
		case "table":
			describeTable(&f, d)
			complete = false
		case "column":
			in.describeColumn(&f, d)
			complete = complete && d.Have != ""
		case "index":
			in.describeIndex(&f, d)
		case "sequence":
			in.describeSequence(&f, d)
		case "function":
			state := "differs"
			if d.Have == "" {
				state = "missing"
			}
			functions = append(functions, fmt.Sprintf("%s (%s)", d.Name, state))
			continue
		default:
			continue // Doctor examines the settings of tables.
		}
		faults = append(faults, f)
	}
	if len(functions) > 0 {
		faults = append(faults, in.differentFunctions(functions))
	}
	if len(c.unreadable) > 0 {
		f, err := in.unreadableTables(ctx, tx, c.unreadable)
		if err != nil {
			return nil, false, err
		}
		faults = append(faults, f)
		complete = false
	}
	if !complete {
		faults = append(faults, fault{Finding: Finding{
			Check:   "unseen",
			Problem: "the rows were not checked, because not all tables can be read",
			Remedy:  "fix the findings above, then run pawl verify again",
		}})
	}
	return faults, complete, nil
}

func (in *Installation) missingSchema() Finding {
	return Finding{
		Check:   "schema",
		Problem: fmt.Sprintf("this database has no schema %s with Pawl's tables", in.Schema),
		Remedy:  "pawl install",
		Fatal:   true,
	}
}

func (in *Installation) olderSchema(version int) Finding {
	return Finding{
		Check:   "schema",
		Problem: fmt.Sprintf("the schema is at version %d, older than this binary's %d", version, in.Source.Version()),
		Remedy:  "pawl migrate",
		Fatal:   true,
	}
}

func describeTable(f *fault, d migrate.Difference) {
	f.Problem = fmt.Sprintf("table %s is missing", d.Name)
	f.Remedy = "restore it from a backup together with the other tables: their rows refer to each other"
	if d.Have != "" {
		f.Problem = fmt.Sprintf("table %s ends with %q; this binary makes %q", d.Name, d.Have, d.Want)
	}
}

func (in *Installation) describeColumn(f *fault, d migrate.Difference) {
	if d.Have == "" {
		table, _, _ := strings.Cut(d.Name, ".")
		f.Problem = fmt.Sprintf("column %s is missing", d.Name)
		f.Remedy = in.statement("alter table pawl.%s add column %s", table, d.Want)
		return
	}
	f.Problem = fmt.Sprintf("column %s is %q; this binary makes %q", d.Name, d.Have, d.Want)
	f.Remedy = "change it back: this binary cannot work safely with the column as it is"
}

func (in *Installation) describeIndex(f *fault, d migrate.Difference) {
	f.Fatal = strings.Contains(d.Want, " UNIQUE ")
	f.repair = func(ctx context.Context) (bool, error) { return true, in.buildIndex(ctx, d) }
	switch {
	case d.Have == "" && f.Fatal:
		f.Problem = fmt.Sprintf("unique index %s is missing: statements fail, or duplicate rows are stored", d.Name)
		f.Remedy = in.statement("%s", concurrently(d.Want))
	case d.Have == "":
		f.Problem = fmt.Sprintf("index %s is missing: statements that use it read the whole table", d.Name)
		f.Remedy = in.statement("%s", concurrently(d.Want))
	case d.Have == d.Want:
		f.Problem = fmt.Sprintf("index %s is not valid: its build did not finish, so queries do not use it", d.Name)
		f.Remedy = in.statement("reindex index concurrently pawl.%s", d.Name)
	default:
		f.Problem = fmt.Sprintf("index %s is %q; this binary makes %q", d.Name, d.Have, d.Want)
		f.Remedy = in.statement("drop index concurrently pawl.%s; %s", d.Name, concurrently(d.Want))
		f.repair = nil
	}
}

func (in *Installation) describeSequence(f *fault, d migrate.Difference) {
	if d.Have == "" {
		f.Problem = fmt.Sprintf("sequence %s is missing", d.Name)
		f.Remedy = "restore it from a backup together with the tables"
		return
	}
	f.Problem = fmt.Sprintf("sequence %s is %q; this binary makes %q: sessions draw positions out of order, "+
		"and claims pass by jobs with a lower position", d.Name, d.Have, d.Want)
	f.Remedy = in.statement("alter sequence pawl.%s cache 1", d.Name)
	f.repair = func(ctx context.Context) (bool, error) {
		return true, in.Query(ctx, fmt.Sprintf("alter sequence pawl.%s cache 1", d.Name), nil, nil)
	}
}

func (in *Installation) differentFunctions(names []string) fault {
	slices.Sort(names)
	return fault{
		structural: true,
		Finding: Finding{
			Check:   "function",
			Problem: fmt.Sprintf("%d functions are missing or differ from this binary's: %s", len(names), abridge(names)),
			Remedy:  "pawl migrate",
			Fatal:   true,
		},
		repair: func(ctx context.Context) (bool, error) { return true, in.Migrate(ctx) },
	}
}

// unreadableTables says how the current role gets the right to read the tables.
func (in *Installation) unreadableTables(ctx context.Context, tx Runner, tables []string) (f fault, err error) {
	var role string
	if err := queryRow(ctx, tx, "select current_user::text", nil, &role); err != nil {
		return f, err
	}
	f.Check = "privilege"
	f.Problem = fmt.Sprintf("role %s may not read %s", role, abridge(tables))
	f.Remedy = fmt.Sprintf("grant usage on schema %[1]s to %[2]s; grant select on all tables in schema %[1]s to %[2]s; "+
		"grant select on sequence %[1]s.pos to %[2]s",
		pgx.Identifier{in.Schema}.Sanitize(), pgx.Identifier{role}.Sanitize())
	return f, nil
}
