// Package migrate brings a schema to a version: numbered files of tables and indexes, each applied once, and functions that are
// replaced as a whole after them.
//
// Steps that follow each other are one transaction, and the functions are replaced in the last: whoever calls them meanwhile meets the
// schema as it was or as it is to be, never half of it. A step that builds an index concurrently is a part of its own, outside a transaction.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A Step is one migration file.
type Step struct {
	Version int
	Name    string
	SQL     string
	Index   string // What it builds outside a transaction, as the files write it: "pawl.job_kind". Else empty.
}

func (s *Step) String() string { return fmt.Sprintf("migration %d (%s)", s.Version, s.Name) }

// A Source is what a binary knows of a schema.
type Source struct {
	Prefix    string // The schema's name as the files write it, with the dot: "pawl.".
	Steps     []Step
	Functions []string

	dump []Object // Of schema.sql, what all of it makes.
}

// outside is the first line of a step that runs outside a transaction. It is one statement, which builds an index concurrently.
const outside = "-- outside a transaction"

var (
	concurrently = regexp.MustCompile(`(?i)\bconcurrently\b`)
	comment      = regexp.MustCompile(`--.*`)
)

// Load reads migration/NNNN_name.sql, function/*/*.sql and, if there is one, schema.sql. The steps must be numbered 1, 2, 3, …
func Load(files fs.FS, prefix string) (*Source, error) {
	s := &Source{Prefix: prefix}
	names, err := fs.Glob(files, "migration/*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for i, name := range names {
		number, title, _ := strings.Cut(strings.TrimSuffix(path.Base(name), ".sql"), "_")
		version, err := strconv.Atoi(number)
		if err != nil || version != i+1 {
			return nil, fmt.Errorf("migrate: %s should be numbered %04d", name, i+1)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		step := Step{Version: version, Name: title, SQL: ended(text)}
		if step.Index, err = s.index(step.SQL); err != nil {
			return nil, fmt.Errorf("migrate: %s: %w", name, err)
		}
		s.Steps = append(s.Steps, step)
	}
	names, err = fs.Glob(files, "function/*/*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		s.Functions = append(s.Functions, ended(text))
	}
	if text, err := fs.ReadFile(files, "schema.sql"); err == nil {
		s.dump = parseDump(string(text))
	}
	return s, nil
}

// ended is a file's text with the semicolon that parts it from the next.
func ended(text []byte) string {
	s := strings.TrimRightFunc(string(text), unicode.IsSpace)
	if !strings.HasSuffix(s, ";") {
		s += ";"
	}
	return s + "\n"
}

// index is the name of the index that a step outside a transaction builds; "" for any other step.
func (s *Source) index(text string) (string, error) {
	code := strings.TrimSpace(comment.ReplaceAllString(text, ""))
	if first, _, _ := strings.Cut(text, "\n"); strings.TrimSpace(first) != outside {
		if concurrently.MatchString(code) {
			return "", fmt.Errorf("builds an index concurrently: make %q its first line", outside)
		}
		return "", nil
	}
	found := regexp.MustCompile(`(?i)^create\s+(?:unique\s+)?index\s+concurrently\s+(\w+)\s+on\s+` + regexp.QuoteMeta(s.Prefix) + `\w+[^;]*;?$`).FindStringSubmatch(code)
	if found == nil {
		return "", fmt.Errorf("is %q: want one statement, create index concurrently NAME on %sTABLE …;", outside, s.Prefix)
	}
	return s.Prefix + found[1], nil
}

// Version is the newest version the source knows.
func (s *Source) Version() int { return len(s.Steps) }

// VersionError says that a schema is not at the version a binary needs.
type VersionError struct{ Have, Want int }

func (e *VersionError) Error() string {
	return fmt.Sprintf("the schema is at version %d, this binary wants %d", e.Have, e.Want)
}

// once is how statements with parameters or results are sent: in one round trip, with nothing prepared by name, which would be on
// another server connection than its next use where a transaction pooler is in between.
const once = pgx.QueryExecModeExec

var validName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$]{0,62}$`)

// CheckName says whether a schema's name is one this package can use.
func CheckName(schema string) error {
	if !validName.MatchString(schema) {
		return fmt.Errorf("schema name %q: want 1 to 63 letters, digits, _ or $, and no digit or $ first", schema)
	}
	return nil
}

// Into rewrites SQL for a schema of another name.
func (s *Source) Into(schema, text string) string {
	return strings.ReplaceAll(text, s.Prefix, pgx.Identifier{schema}.Sanitize()+".")
}

// Have is the schema's version; 0 where there is none.
func (s *Source) Have(ctx context.Context, conn *pgx.Conn, schema string) (int, error) {
	// Exec and no other mode: no prepared statement, so a transaction pooler may be in between.
	var exists bool
	err := conn.QueryRow(ctx, "select to_regclass($1) is not null", once, pgx.Identifier{schema, "migration"}.Sanitize()).Scan(&exists)
	if err != nil || !exists {
		return 0, err
	}
	var version int
	err = conn.QueryRow(ctx, s.Into(schema, "select coalesce(max(version), 0) from "+s.Prefix+"migration"), once).Scan(&version)
	return version, err
}

// Options are for Up.
type Options struct {
	To    int       // The version to bring it to. If zero, the newest known.
	Dry   io.Writer // If not nil, what would be run is written there, and nothing is changed.
	After []string  // SQL as in the files, run in the transaction of the functions, after them.
	// Blocked, if not nil, is told after each attempt that did not get its locks in time, with what is known of who has them.
	Blocked func(by string)
}

const (
	lockTimeout = 100 * time.Millisecond // Who comes after a statement that waits for a strong lock waits too.
	blockedWait = time.Second            // Between two attempts at the same locks.
	turnWait    = 50 * time.Millisecond  // Between two looks whether another migrator is done.
)

// Up brings the schema to a version and, when that is the newest, replaces the functions. Several at once go one after the other. A
// schema newer than the source is left alone: *VersionError.
//
// No lock is waited for longer than 100 ms; then what was begun is rolled back and tried again every second, until ctx ends. What is
// built outside a transaction waits as long as it takes and holds nobody up. A run that was killed is continued by the next.
func (s *Source) Up(ctx context.Context, conn *pgx.Conn, schema string, o Options) error {
	if o.To == 0 {
		o.To = s.Version()
	}
	if o.To < 0 || o.To > s.Version() {
		return fmt.Errorf("migrate to version %d: this binary knows 1 to %d", o.To, s.Version())
	}
	if o.Dry != nil {
		return s.write(ctx, conn, schema, o)
	}
	for {
		done, err := s.step(ctx, conn, schema, o)
		wait := turnWait
		switch {
		case done:
			return nil
		case err == nil:
			continue
		case errors.Is(err, errTurn):
		case isLocked(err):
			wait = blockedWait
			if o.Blocked != nil {
				o.Blocked(s.holder(ctx, conn, schema))
			}
		default:
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(ctx.Err(), err)
		}
	}
}

// A part is what is done at once: a transaction, with the building of an index before it or not.
type part struct {
	statements []statement
	build      *Step
	until      int  // The version after it.
	last       bool // Nothing comes after it.
}

// A statement is SQL, of one command or more, and what to call it in an error.
type statement struct{ of, text string }

// next is the part that brings the schema on from version have; whole: the schema itself is there.
func (s *Source) next(schema string, have int, whole bool, o Options) part {
	if have < o.To && s.Steps[have].Index != "" {
		step := &s.Steps[have]
		return part{statements: []statement{s.record(schema, step)}, build: step, until: have + 1, last: have+1 == o.To && o.To < s.Version()}
	}
	p := part{until: have}
	add := func(of, text string) { p.statements = append(p.statements, statement{of, s.Into(schema, text)}) }
	if !whole {
		add("the schema", "create schema "+pgx.Identifier{schema}.Sanitize()+";")
	}
	if have == 0 {
		add("the schema", "create table "+s.Prefix+"migration (version integer primary key, name text not null, applied_at timestamptz not null default now());")
	}
	for ; p.until < o.To && s.Steps[p.until].Index == ""; p.until++ {
		step := &s.Steps[p.until]
		add(step.String(), step.SQL)
		p.statements = append(p.statements, s.record(schema, step))
	}
	if p.until == s.Version() {
		// They call each other, in whatever order they come.
		add("functions", "set local check_function_bodies = off;")
		add("functions", strings.Join(s.Functions, "\n"))
		for _, text := range o.After {
			add("after the functions", text)
		}
	}
	p.last = p.until >= o.To
	return p
}

// record is the statement that says that a step was applied.
func (s *Source) record(schema string, step *Step) statement {
	return statement{step.String(), s.Into(schema, fmt.Sprintf("insert into %smigration (version, name) values (%d, '%s');",
		s.Prefix, step.Version, strings.ReplaceAll(step.Name, "'", "''")))}
}

// lock is the expression that takes the lock of a schema's migrators, which lasts as long as the transaction.
func lock(function, schema string) string {
	return fmt.Sprintf("select %s(hashtextextended('migrate %s', 0));", function, schema)
}

const begin = "begin isolation level read committed;"

var limits = fmt.Sprintf("set local lock_timeout = '%dms';", lockTimeout.Milliseconds())

// write is Up's dry run: a script for psql that does the same.
func (s *Source) write(ctx context.Context, conn *pgx.Conn, schema string, o Options) error {
	have, whole, err := s.look(ctx, conn, schema)
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "-- The schema %s from version %d to %d. For psql -v ON_ERROR_STOP=1; after \"lock timeout\" print it anew, and run that.\n", schema, have, max(have, o.To))
	for {
		p := s.next(schema, have, whole, o)
		if p.build != nil {
			texts, err := s.building(ctx, conn, schema, p.build)
			if err != nil {
				return err
			}
			for _, text := range texts {
				b.WriteString("\n" + strings.TrimSpace(text) + "\n")
			}
		}
		b.WriteString("\n" + begin + "\n" + lock("pg_advisory_xact_lock", schema) + "\n" + limits + "\n")
		for _, each := range p.statements {
			b.WriteString(strings.TrimRight(each.text, "\n") + "\n")
		}
		b.WriteString("commit;\n")
		if p.last {
			break
		}
		have, whole = p.until, true
	}
	_, err = io.WriteString(o.Dry, b.String())
	return err
}

// look is where the schema is; a *VersionError if it is newer than the source.
func (s *Source) look(ctx context.Context, conn *pgx.Conn, schema string) (have int, whole bool, err error) {
	if have, err = s.Have(ctx, conn, schema); err != nil {
		return 0, false, err
	}
	if have > s.Version() {
		return have, true, &VersionError{Have: have, Want: s.Version()}
	}
	// Who may not create schemas may still be given one.
	err = conn.QueryRow(ctx, "select exists (select from pg_namespace where nspname = $1)", once, schema).Scan(&whole)
	return have, whole, err
}

// errTurn: another migrator is at work.
var errTurn = errors.New("another migrator is at work")

// step does the next part, under a lock that serialises migrators of this schema. The lock is taken in a statement before what it guards
// is read. It is tried, not waited for: who waits has a snapshot, and for that an index built concurrently would wait.
func (s *Source) step(ctx context.Context, conn *pgx.Conn, schema string, o Options) (done bool, err error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
	if err != nil {
		return false, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	var ours bool
	if err := tx.QueryRow(ctx, lock("pg_try_advisory_xact_lock", schema), once).Scan(&ours); err != nil {
		return false, err
	}
	if !ours {
		return false, errTurn
	}
	have, whole, err := s.look(ctx, conn, schema)
	if err != nil {
		return false, err
	}
	p := s.next(schema, have, whole, o)
	if p.build != nil {
		if err := s.build(ctx, tx, schema, p.build); err != nil {
			return false, fmt.Errorf("%v: %w", p.build, err)
		}
	}
	if _, err := tx.Exec(ctx, limits); err != nil {
		return false, err
	}
	for _, each := range p.statements {
		if _, err := tx.Exec(ctx, each.text); err != nil {
			return false, each.explain(err)
		}
	}
	return p.last, tx.Commit(ctx)
}

// explain says where in a statement the server found a mistake, and what else it said of it.
func (t statement) explain(err error) error {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return fmt.Errorf("%s: %w", t.of, err)
	}
	more := ""
	if n := int(refused.Position); n > 0 && n <= utf8.RuneCountInString(t.text) {
		before := string([]rune(t.text)[:n-1])
		line, _, _ := strings.Cut(t.text[strings.LastIndexByte(before, '\n')+1:], "\n")
		more = fmt.Sprintf(", at %q", strings.TrimSpace(line))
	}
	for _, said := range []string{refused.Detail, refused.Hint} {
		if said != "" {
			more += ", " + said
		}
	}
	return fmt.Errorf("%s%s: %w", t.of, more, err)
}

// build makes a step's index on a connection of its own, while tx keeps other migrators away: it has no snapshot, so the build does not
// wait for it.
func (s *Source) build(ctx context.Context, tx pgx.Tx, schema string, step *Step) error {
	// It may take hours, in which this transaction does nothing.
	if _, err := tx.Exec(ctx, "set local idle_in_transaction_session_timeout = 0"); err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, tx.Conn().Config())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	texts, err := s.building(ctx, conn, schema, step)
	if err != nil {
		return err
	}
	for _, text := range texts {
		if _, err := conn.Exec(ctx, text, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
	}
	return nil
}

// building is what there is to run for a step's index: nothing if it is there, and first of all away with what is left of a build that
// was broken off.
func (s *Source) building(ctx context.Context, conn *pgx.Conn, schema string, step *Step) ([]string, error) {
	name := s.Into(schema, step.Index)
	var valid bool
	err := conn.QueryRow(ctx, "select i.indisvalid from pg_index i where i.indexrelid = to_regclass($1)", once, name).Scan(&valid)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return []string{s.Into(schema, step.SQL)}, nil
	case err != nil:
		return nil, err
	case valid:
		return nil, nil
	}
	return []string{"drop index concurrently " + name + ";", s.Into(schema, step.SQL)}, nil
}

// isLocked says whether others' locks were in the way.
func isLocked(err error) bool {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (refused.Code == "55P03" || refused.Code == "40P01")
}

// holder is who has had a lock on the schema's tables for longest, as far as this role may see.
func (s *Source) holder(ctx context.Context, conn *pgx.Conn, schema string) string {
	var by string
	err := conn.QueryRow(ctx, `select format('process %s, user %s, whose transaction has been open for %s s', a.pid, a.usename, extract(epoch from clock_timestamp() - a.xact_start)::integer)
		from pg_locks l
		join pg_class c on c.oid = l.relation
		join pg_namespace n on n.oid = c.relnamespace
		join pg_stat_activity a on a.pid = l.pid
		where n.nspname = $1 and l.granted and l.pid <> pg_backend_pid() and l.database = (select oid from pg_database where datname = current_database())
		order by a.xact_start limit 1`, once, schema).Scan(&by)
	if err != nil {
		return "somebody who is gone by now"
	}
	return by
}

// Down drops the schema and all that is in it. It is refused while there are tables, views or extensions that are not the source's: the
// schema may be one that was there before, public perhaps. What a later version has made is not told from those.
func (s *Source) Down(ctx context.Context, conn *pgx.Conn, schema string) error {
	have, err := s.Have(ctx, conn, schema)
	if err != nil {
		return err
	}
	if len(s.dump) > 0 && have <= s.Version() {
		strange, err := s.strange(ctx, conn, schema)
		if err != nil {
			return err
		}
		if n := len(strange); n > 0 {
			if n > 3 {
				strange = append(strange[:3:3], fmt.Sprintf("and %d more", n-3))
			}
			return fmt.Errorf("the schema %s has what was not made with it: %s; move or drop that first", schema, strings.Join(strange, ", "))
		}
	}
	_, err = conn.Exec(ctx, "drop schema if exists "+pgx.Identifier{schema}.Sanitize()+" cascade")
	return err
}

// strange are a schema's tables, views and extensions that are not the source's.
func (s *Source) strange(ctx context.Context, conn *pgx.Conn, schema string) (names []string, err error) {
	rows, err := conn.Query(ctx, `select c.relname::text from pg_class c
		where c.relnamespace = (select n.oid from pg_namespace n where n.nspname = $1) and c.relkind = any ('{r,p,v,m,f}') and not c.relispartition
		union all
		select 'extension ' || e.extname from pg_extension e where e.extnamespace = (select n.oid from pg_namespace n where n.nspname = $1)
		order by 1`, once, schema)
	if err != nil {
		return nil, err
	}
	names, err = pgx.CollectRows(rows, pgx.RowTo[string])
	return slices.DeleteFunc(names, func(name string) bool {
		return slices.ContainsFunc(s.dump, func(o Object) bool { return o.Kind == "table" && o.Name == name })
	}), err
}
