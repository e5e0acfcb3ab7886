package pawl

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/internal/migrate"
	"github.com/pawlhq/pawl/internal/pg"
	"github.com/pawlhq/pawl/sql"
)

// Finding is something that Verify, Repair or Doctor found. docs/doctor.md lists what there may be.
type Finding struct {
	Check    string // Which check found it: "ticket-missing", "xmin".
	Problem  string // What is the matter: with whom, how many, since when.
	Remedy   string // What to do: a statement or a command to type where there is one.
	Fatal    bool   // Jobs do not run, or may be lost, until this is mended.
	Repaired bool   // Repair mended it, and has looked again.
}

// flaw is a Finding of Verify, and how to mend it.
type violation struct {
	Finding
	about      string                                                   // With Check it tells flaws apart.
	structural bool                                                     // It is mended at once or not at all.
	mend       func(context.Context, *Client) (changed bool, err error) // nil: there is nothing that is safe.
}

const (
	shownExamples   = 5               // Jobs a finding names.
	mendAtOnce      = 5000            // Jobs in one transaction of Repair.
	mendInRound     = 500_000         // Jobs of one check that Repair remembers.
	confirmed       = 10_000          // Suspects that are remembered for the second look.
	lockPatience    = "10s"           // How long Verify waits for a table that somebody has locked.
	maintenanceTime = 3 * time.Second // A tender has come by after that.
)

// Verify finds what is broken: tables, columns, indexes, functions and partitions that are missing or not as this binary makes them, and
// rows that break an invariant: that every live job has exactly one of a ticket and a place in a lease, that nothing is left of jobs that
// are gone. It changes nothing and is right beside a queue at work. What is missing is a finding too, not an error.
//
// It reads all live jobs, all tickets and the ids of the archive in one statement, in the server's work_mem and temporary files: some
// seconds for each million, in which nothing that dies can be vacuumed. Permits and leases that belong to nobody, which tenders clear away,
// are looked at twice, three seconds apart. On a client made by With it sees what that transaction sees.
func (c *Client) Verify(ctx context.Context) ([]Finding, error) {
	flaws, err := c.violations(ctx, shownExamples)
	if err != nil {
		return nil, fmt.Errorf("pawl: verify: %w", err)
	}
	return findings(flaws), nil
}

func findings(flaws []violation) []Finding {
	var list []Finding
	for _, f := range flaws {
		list = append(list, f.Finding)
	}
	return list
}

// flaws are what Verify finds; of each check up to `most` rows are remembered for mending.
func (c *Client) violations(ctx context.Context, most int) (flaws []violation, err error) {
	var suspects map[string]*suspect
	err = c.reading(ctx, lockPatience, func(c *Client) error {
		var whole bool
		if flaws, whole, err = c.structure(ctx); err != nil || !whole {
			return err
		}
		partitions, err := c.partitions(ctx)
		if err != nil {
			return err
		}
		flaws = append(flaws, partitions...)
		suspects, err = c.suspects(ctx, most)
		return err
	})
	if sqlState(err) == "55P03" {
		return append(flaws, violation{Finding: Finding{Check: "lock", Problem: "a table is locked by somebody: " + lockPatience + " were not enough to look at it",
			Remedy: "`pawl doctor` says by whom", Fatal: true}}), nil
	}
	if err != nil {
		return nil, err
	}
	if err := c.confirm(ctx, suspects); err != nil {
		return nil, err
	}
	for _, fault := range violationKinds {
		s := suspects[fault.check]
		if s == nil || s.count == 0 {
			continue
		}
		f := violation{Finding: Finding{Check: fault.check, Remedy: c.into("%s", fault.remedy), Fatal: fault.fatal}}
		f.Problem = fmt.Sprintf("%d %s (%s)", s.count, fault.problem, s.examples())
		if fault.mend != "" {
			f.mend = func(ctx context.Context, c *Client) (bool, error) { return c.mend(ctx, fault.mend, s.rows) }
		}
		flaws = append(flaws, f)
	}
	return flaws, nil
}

// reading does something that only reads, and that gives up on a table somebody has locked.
func (c *Client) reading(ctx context.Context, patience string, do func(*Client) error) error {
	if c.db != nil {
		return do(c)
	}
	if c.pool == nil {
		return c.requirePool("Verify")
	}
	return pgx.BeginTxFunc(ctx, c.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		in := c.With(tx)
		err := in.query(ctx, "select set_config('lock_timeout', $1::text, true), set_config('enable_nestloop', 'off', true), set_config('jit', 'off', true)",
			[]any{patience}, nil)
		if err != nil {
			return err
		}
		return do(in)
	})
}

// structure compares the schema with what this binary makes. whole says whether the rows can be looked at.
func (c *Client) structure(ctx context.Context) (flaws []violation, whole bool, err error) {
	differences, version, closed, err := c.compare(ctx)
	if err != nil {
		return nil, false, err
	}
	switch {
	case version == 0:
		return []violation{{Finding: c.absent()}}, false, nil
	case version < c.source.Version() && version != unknownVersion:
		return []violation{{Finding: c.older(version)}}, false, nil
	}
	whole = true
	var functions []string
	for _, d := range differences {
		f := violation{about: d.Name, structural: true}
		f.Check, f.Fatal = d.Kind, true
		switch d.Kind {
		case "table":
			whole = false
			f.Problem = fmt.Sprintf("table %s is missing", d.Name)
			f.Remedy = "restore it from a backup, with the other tables: its rows belong to theirs"
			if d.Have != "" {
				f.Problem = fmt.Sprintf("table %s is not as this binary makes it: %s, not %s", d.Name, d.Have, d.Want)
			}
		case "column":
			table, _, _ := strings.Cut(d.Name, ".")
			f.Problem, f.Remedy = fmt.Sprintf("column %s is missing", d.Name), c.into("alter table pawl.%s add column %s", table, d.Want)
			if d.Have != "" {
				f.Problem = fmt.Sprintf("column %s is %q, not %q", d.Name, d.Have, d.Want)
				f.Remedy = "find out who changed it; this binary cannot be trusted with it"
			} else {
				whole = false
			}
		case "index":
			unique := strings.Contains(d.Want, " UNIQUE ")
			f.Fatal = unique
			f.Problem, f.Remedy = fmt.Sprintf("index %s is missing: what it is for reads the whole table", d.Name), c.into("%s", concurrently(d.Want))
			if unique {
				f.Problem = fmt.Sprintf("index %s is missing: statements fail, or let in twice what may be there once", d.Name)
			}
			f.mend = func(ctx context.Context, c *Client) (bool, error) { return true, c.makeIndex(ctx, d) }
			switch d.Have {
			case "":
			case d.Want:
				f.Problem = fmt.Sprintf("index %s is not valid: it was never built to the end, costs as much as a good one, and is not used", d.Name)
				f.Remedy = c.into("reindex index concurrently pawl.%s", d.Name)
			default:
				f.Problem = fmt.Sprintf("index %s is %q, not %q", d.Name, d.Have, d.Want)
				f.Remedy = c.into("drop index concurrently pawl.%s; %s", d.Name, concurrently(d.Want))
				f.mend = nil
			}
		case "sequence":
			f.Problem, f.Remedy = fmt.Sprintf("sequence %s is missing", d.Name), "restore it from a backup, with the tables"
			if d.Have != "" {
				f.Problem = fmt.Sprintf("sequence %s is %q, not %q: positions drawn out of order make jobs wait that are passed by", d.Name, d.Have, d.Want)
				f.Remedy = c.into("alter sequence pawl.%s cache 1", d.Name)
				f.mend = func(ctx context.Context, c *Client) (bool, error) {
					return true, c.query(ctx, c.into("alter sequence pawl.%s cache 1", d.Name), nil, nil)
				}
			}
		case "function":
			name := d.Name + " (differs)"
			if d.Have == "" {
				name = d.Name + " (missing)"
			}
			functions = append(functions, name)
			continue
		default:
			continue // A setting is Doctor's.
		}
		flaws = append(flaws, f)
	}
	if len(functions) > 0 {
		slices.Sort(functions)
		flaws = append(flaws, violation{
			structural: true,
			Finding: Finding{Check: "function", Problem: fmt.Sprintf("%d functions are not as this binary makes them: %s", len(functions), some(functions)),
				Remedy: "pawl migrate", Fatal: true},
			mend: func(ctx context.Context, c *Client) (bool, error) { return true, c.Migrate(ctx) },
		})
	}
	if len(closed) > 0 {
		var role string
		if err := c.row(ctx, "select current_user::text", nil, &role); err != nil {
			return nil, false, err
		}
		schema := pgx.Identifier{c.config.Schema}.Sanitize()
		flaws = append(flaws, violation{Finding: Finding{Check: "privilege", Problem: fmt.Sprintf("role %s may not read %s", role, some(closed)),
			Remedy: fmt.Sprintf("grant usage on schema %[1]s to %[2]s; grant select on all tables in schema %[1]s to %[2]s; grant select on sequence %[1]s.pos to %[2]s",
				schema, pgx.Identifier{role}.Sanitize())}})
		whole = false
	}
	if !whole {
		flaws = append(flaws, violation{Finding: Finding{Check: "unseen", Problem: "what is in the tables was not looked at, because not all of them can be read",
			Remedy: "see to the findings above, then verify again"}})
	}
	return flaws, whole, nil
}

func (c *Client) absent() Finding {
	return Finding{Check: "schema", Problem: fmt.Sprintf("there is no schema %s with Pawl's tables in this database", c.config.Schema), Remedy: "pawl install", Fatal: true}
}

func (c *Client) older(version int) Finding {
	return Finding{Check: "schema", Problem: fmt.Sprintf("the schema is at version %d, older than this binary's %d", version, c.source.Version()),
		Remedy: "pawl migrate", Fatal: true}
}

// unknownVersion is that of a schema whose table of migrations is missing, or may not be read.
const unknownVersion = -1

// compare compares the schema with what this binary makes, and says its version, 0 where there is none, and which tables this role
// may not read.
func (c *Client) compare(ctx context.Context) (differences []migrate.Difference, version int, closed []string, err error) {
	err = c.on().Query(ctx, sql.Query("unreadable"), []any{c.config.Schema}, func(s scanner) error {
		var name string
		err := s.Scan(&name)
		closed = append(closed, name)
		return err
	})
	if err != nil {
		return nil, 0, nil, err
	}
	var objects []migrate.Object
	err = c.on().Query(ctx, sql.Query("catalog"), []any{c.config.Schema}, func(s scanner) error {
		o, err := migrate.ScanObject(s)
		objects = append(objects, o)
		return err
	})
	if err != nil {
		return nil, 0, nil, err
	}
	isTable := func(name string) func(o migrate.Object) bool {
		return func(o migrate.Object) bool { return o.Kind == "table" && (o.Name == name || name == "") }
	}
	version = unknownVersion
	if !slices.ContainsFunc(objects, isTable("")) {
		version = 0
	} else if slices.ContainsFunc(objects, isTable("migration")) && !slices.Contains(closed, "migration") {
		err = c.row(ctx, "select coalesce(max(m.version), 0) from pawl.migration m", nil, &version)
	}
	return c.source.Compare(objects, c.config.Schema, version > c.source.Version()), version, closed, err
}

// on is where the client's statements run.
func (c *Client) on() pg.DB {
	if c.db != nil {
		return c.db
	}
	return pg.Pgx{Querier: c.pool}
}

// into writes a statement about the client's schema.
func (c *Client) into(format string, args ...any) string {
	text := fmt.Sprintf(format, args...)
	if c.config.Schema != "pawl" {
		text = c.source.Into(c.config.Schema, text)
	}
	return text
}

// partitions are the flaws of the archive's.
func (c *Client) partitions(ctx context.Context) (flaws []violation, err error) {
	err = c.query(ctx, sql.Query("partition"), nil, func(s scanner) error {
		var name string
		var date time.Time
		var now, there bool
		if err := s.Scan(&name, &date, &now, &there); err != nil {
			return err
		}
		day := date.Format(time.DateOnly)
		f := violation{about: name, structural: true, mend: func(ctx context.Context, c *Client) (bool, error) { return true, c.makePartitions(ctx) }}
		f.Finding = Finding{Check: "partition", Fatal: now, Remedy: "run a worker or `pawl serve`: it makes partitions a week ahead",
			Problem: fmt.Sprintf("the archive has no partition %s: jobs that end now are kept until %s", name, day)}
		if !now {
			f.Problem = fmt.Sprintf("the archive has no partition %s: jobs that end tomorrow are kept until %s, and nobody has made it in a week", name, day)
		}
		if there {
			attach := fmt.Sprintf("alter table pawl.archive attach partition pawl.%s for values from ('%s 00:00:00+00') to ('%s 00:00:00+00')",
				name, day, date.AddDate(0, 0, 1).Format(time.DateOnly))
			f.Problem, f.Remedy = fmt.Sprintf("the table %s is not attached to the archive, and jobs that end cannot be kept without it", name), c.into("%s", attach)
			f.mend = func(ctx context.Context, c *Client) (bool, error) { return true, c.query(ctx, attach, nil, nil) }
		}
		flaws = append(flaws, f)
		return nil
	})
	return flaws, err
}

// brokenRow is a row of broken.sql.
type brokenRow struct {
	id    int64
	lease string
}

// suspect is what broken.sql says of one check.
type suspect struct {
	count int
	rows  []brokenRow
}

func (s *suspect) examples() string {
	names := make([]string, 0, shownExamples)
	for _, row := range s.rows[:min(len(s.rows), shownExamples)] {
		if row.lease != "" {
			names = append(names, row.lease)
		} else {
			names = append(names, fmt.Sprint(row.id))
		}
	}
	text := strings.Join(names, ", ")
	if s.count > len(names) {
		return "such as " + text
	}
	return text
}

// suspects looks at the rows.
func (c *Client) suspects(ctx context.Context, most int) (map[string]*suspect, error) {
	suspects := map[string]*suspect{}
	err := c.query(ctx, sql.Body("admin/violations"), nil, func(s scanner) error {
		var what string
		var id *int64
		var lease *string
		if err := s.Scan(&what, &id, &lease); err != nil {
			return err
		}
		if suspects[what] == nil {
			suspects[what] = &suspect{}
		}
		one := suspects[what]
		one.count++
		if len(one.rows) < max(most, confirmed) {
			var row brokenRow
			if id != nil {
				row.id = *id
			}
			if lease != nil {
				row.lease = *lease
			}
			one.rows = append(one.rows, row)
		}
		return nil
	})
	return suspects, err
}

// confirm looks again at what may be so for a while, until a tender has come by: only what was there both times stays.
func (c *Client) confirm(ctx context.Context, suspects map[string]*suspect) error {
	var passing []string
	for _, fault := range violationKinds {
		if fault.passing && suspects[fault.check] != nil {
			passing = append(passing, fault.check)
		}
	}
	if len(passing) == 0 {
		return nil
	}
	if !sleep(ctx, maintenanceTime) {
		return ctx.Err()
	}
	var again map[string]*suspect
	err := c.reading(ctx, lockPatience, func(c *Client) (err error) {
		again, err = c.suspects(ctx, confirmed)
		return err
	})
	if err != nil {
		return err
	}
	for _, check := range passing {
		first, second := suspects[check], again[check]
		if second == nil {
			delete(suspects, check)
			continue
		}
		before := map[brokenRow]bool{}
		for _, row := range first.rows {
			before[row] = true
		}
		first.rows = slices.DeleteFunc(second.rows, func(row brokenRow) bool { return !before[row] })
		if first.count = min(first.count, second.count); first.count <= confirmed {
			first.count = len(first.rows)
		}
	}
	return nil
}

// some names a few of many.
func some(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

const (
	repairs = "pawl verify --repair"

	clears   = "select pawl.clear_leftovers($1::bigint[])"
	restores = "select pawl.restore_jobs($1::bigint[])"
	recounts = "select pawl.recount_batches($1::bigint[])"
	advances = "select pawl.advance_sequence() from (select $1::bigint[]) u"
	unclaims = `select count(pawl.unclaim(l.id)) from pawl.lease l
		where l.id = any ($1::text[]::uuid[])
		  and case when l.worker_id is null then l.expires_at is null
		           else not exists (select from pawl.worker w where w.id = l.worker_id) end`
)

// faults are what broken.sql may say, in the order they are mended in: what is in the way first.
var violationKinds = []struct {
	check, problem, remedy string
	fatal                  bool
	passing                bool   // It may be so for a while, until a tender has come by.
	mend                   string // Takes the ids or leases, and says how many it changed.
}{
	{check: "sequence-behind", problem: "id is in use beyond where the sequence of ids stands: inserts fail when they come to it",
		remedy: repairs, fatal: true, mend: advances},
	{check: "ticket-stray", problem: "tickets of jobs that are gone, or of former epochs", remedy: repairs + " takes them away; so does a claim", mend: clears},
	{check: "order-stray", problem: "turns in ordered channels of jobs that are gone: what comes after them does not start",
		remedy: repairs + " lets the channels go on", fatal: true, mend: clears},
	{check: "dependency-stray", problem: "jobs are gone that others wait for: these do not start, and are not cancelled",
		remedy: repairs + " does what should have followed: they count as deleted", fatal: true, mend: clears},
	{check: "key-stray", problem: "unique keys of jobs that are gone: inserts with them are duplicates of nothing", remedy: repairs + " frees them", fatal: true, mend: clears},
	{check: "permit-stray", problem: "permits of jobs whose lease is gone: they count against limits", passing: true, mend: clears,
		remedy: "run a worker or `pawl serve`, which takes them back; or " + repairs},
	{check: "lease-stray", problem: "leases of no worker and without an expiry: nobody rescues what they hold", passing: true, fatal: true, mend: unclaims,
		remedy: repairs + " gives their jobs back"},
	{check: "job-unmarked", problem: "jobs are constrained to others, and not marked so: nothing would follow from their end", remedy: repairs, fatal: true, mend: restores},
	{check: "order-missing", problem: "ordered jobs without a turn: they do not wait for those before them", remedy: repairs, fatal: true, mend: restores},
	{check: "key-missing", problem: "jobs without the unique key they were inserted with: another may be inserted beside them",
		remedy: repairs + "; where another has the key already, cancel one of the two: pawl job cancel ID", mend: restores},
	{check: "ticket-missing", problem: "live jobs with neither a ticket nor a lease: nobody will ever run them", remedy: repairs + " gives them a ticket", fatal: true, mend: restores},
	{check: "ticket-twice", problem: "live jobs with more than one ticket or lease: they may run twice at once",
		remedy: repairs + " leaves one of them", fatal: true, mend: restores},
	{check: "ticket-misplaced", problem: "live jobs whose ticket is not where their row says: cancel, update and retry do not find it",
		remedy: repairs + " makes it anew", fatal: true, mend: restores},
	{check: "ticket-out-of-order", problem: "ordered jobs that may run before others of their channel",
		remedy: repairs + " puts back those that do not run yet", mend: restores},
	{check: "ticket-blocked", problem: "jobs are blocked and wait for nothing: nobody will ever run them", remedy: repairs + " lets them go", fatal: true, mend: restores},
	{check: "batch-count", problem: "batches whose jobs do not add up: what is to follow them would come never, or too early",
		remedy: repairs + " counts what is gone as deleted", fatal: true, mend: recounts},
	{check: "job-twice", problem: "jobs are live and finished at once: they cannot end",
		remedy: "compare the two (select * from pawl.get(array[ID])); if the end is true, delete the live one: delete from pawl.job where id = ID", fatal: true},
}
