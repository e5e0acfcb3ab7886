// Package migrate brings a schema to a version. Numbered files make tables and indexes, and each is applied once.
// Functions are replaced after them, all at once.
//
// Consecutive steps are one transaction, and the last transaction replaces the functions. Other sessions see the
// old schema or the new one, never a mixture. A step that builds an index concurrently runs by itself, outside a
// transaction.
package migrate

import (
	"cmp"
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

	"github.com/pawlhq/pawl/internal/pg"
)

// A Step is one migration file.
type Step struct {
	Version int
	Name    string
	SQL     string
	Index   string // Index is the index that the step builds outside a transaction, such as "pawl.job_kind"; or "".
}

func (s *Step) String() string { return fmt.Sprintf("migration %d (%s)", s.Version, s.Name) }

// A Source is the schema that a binary knows.
type Source struct {
	Prefix    string // Prefix is the schema's name in the files, with the dot: "pawl.".
	Steps     []Step
	Functions []string

	dump []Object // The objects of schema.sql.
}

// outside is the first line of a step that runs outside a transaction. The step is one statement, which builds an
// index concurrently.
const outside = "-- outside a transaction"

var (
	concurrently = regexp.MustCompile(`(?i)\bconcurrently\b`)
	comment      = regexp.MustCompile(`--.*`)
)

// Load reads migration/NNNN_name.sql, function/*/*.sql and, if there is one, schema.sql. The steps must be numbered
// 1, 2, 3, …
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
		step := Step{Version: version, Name: title, SQL: terminated(text)}
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
		s.Functions = append(s.Functions, terminated(text))
	}
	if text, err := fs.ReadFile(files, "schema.sql"); err == nil {
		s.dump = parseDump(string(text))
	}
	return s, nil
}

// terminated returns the text of a file with a semicolon at its end.
func terminated(text []byte) string {
	s := strings.TrimRightFunc(string(text), unicode.IsSpace)
	if !strings.HasSuffix(s, ";") {
		s += ";"
	}
	return s + "\n"
}

// index returns the name of the index that a step builds outside a transaction, or "" for any other step.
func (s *Source) index(text string) (string, error) {
	code := strings.TrimSpace(comment.ReplaceAllString(text, ""))
	if first, _, _ := strings.Cut(text, "\n"); strings.TrimSpace(first) != outside {
		if concurrently.MatchString(code) {
			return "", fmt.Errorf("builds an index concurrently: make %q its first line", outside)
		}
		return "", nil
	}
	build := `(?i)^create\s+(?:unique\s+)?index\s+concurrently\s+(\w+)\s+on\s+` +
		regexp.QuoteMeta(s.Prefix) + `\w+[^;]*;?$`
	found := regexp.MustCompile(build).FindStringSubmatch(code)
	if found == nil {
		return "", fmt.Errorf("is %q: want one statement, create index concurrently NAME on %sTABLE …;", outside, s.Prefix)
	}
	return s.Prefix + found[1], nil
}

// Version returns the newest version that the source knows.
func (s *Source) Version() int { return len(s.Steps) }

// VersionError says that a schema is not at the version a binary needs.
type VersionError struct{ Have, Want int }

func (e *VersionError) Error() string {
	return fmt.Sprintf("the schema is at version %d, this binary wants %d", e.Have, e.Want)
}

// once is the mode for statements with parameters or results: one round trip, and nothing prepared by name. Behind
// a transaction pooler, the next use of a prepared statement could be on another server connection.
const once = pgx.QueryExecModeExec

var validName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$]{0,62}$`)

// CheckName returns an error if this package cannot use the name of a schema.
func CheckName(schema string) error {
	if !validName.MatchString(schema) {
		return fmt.Errorf("schema name %q: want 1 to 63 letters, digits, _ or $, and no digit or $ first", schema)
	}
	if strings.HasPrefix(schema, "pg_") || schema == "information_schema" {
		return fmt.Errorf("schema name %q: PostgreSQL keeps such names for itself: use another", schema)
	}
	return nil
}

// dollarQuote matches the quotes around a function's body and around longer strings.
var dollarQuote = regexp.MustCompile(`\$([a-z]*)\$`)

// Into returns SQL for a schema with another name. If the name could end a dollar-quoted string, Into gives those
// strings other quotes.
func (s *Source) Into(schema, text string) string {
	if strings.Contains(schema, "$") {
		tag := "_"
		for strings.Contains(schema, tag+"$") {
			tag += "_"
		}
		text = dollarQuote.ReplaceAllString(text, "$$${1}"+tag+"$$")
	}
	return strings.ReplaceAll(text, s.Prefix, pgx.Identifier{schema}.Sanitize()+".")
}

// Have returns the version of a schema; 0 if it does not exist.
func (s *Source) Have(ctx context.Context, conn *pgx.Conn, schema string) (int, error) {
	var exists bool
	table := pgx.Identifier{schema, "migration"}.Sanitize()
	err := conn.QueryRow(ctx, "select to_regclass($1) is not null", once, table).Scan(&exists)
	if err != nil || !exists {
		return 0, err
	}
	var version int
	err = conn.QueryRow(ctx, "select coalesce(max(version), 0) from "+table, once).Scan(&version)
	return version, err
}

// Options are for Up.
type Options struct {
	To    int       // To is the version to bring the schema to. It defaults to the newest known.
	Dry   io.Writer // Dry, if not nil, receives the SQL that would run, and nothing is changed.
	After []string  // After is SQL to run after the functions, in their transaction.
	// StrangerWait is how long Up waits for a session that has the lock of migrators and is none. It defaults to 10 s.
	StrangerWait time.Duration
	// Blocked, if not nil, is called after each attempt that did not get its locks in time, with what is known of
	// the session that has them.
	Blocked func(by string)
}

const (
	lockTimeout = 100 * time.Millisecond // Sessions that come after a waiting strong lock wait, too.
	blockedWait = time.Second            // Between two attempts to get the same locks.
	busyWait    = 50 * time.Millisecond  // Between two attempts while another migrator is at work.
)

// Up brings the schema to a version and, if that is the newest, replaces the functions. Several calls at once run
// one after the other. If the schema is newer than the source, Up returns a *VersionError and changes nothing.
//
// Up waits at most 100 ms for a lock. Then it rolls back and tries again every second, until ctx ends. An index
// that is built outside a transaction waits as long as it must, and blocks no other session. After a run that was
// killed, the next run continues.
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
	var busySince time.Time // Since then a session that is no migrator has the lock of migrators.
	for {
		done, err := s.step(ctx, conn, schema, o)
		wait := busyWait
		switch {
		case done:
			return nil
		case err == nil:
			continue
		case errors.Is(err, errBusy):
			holder := s.foreignHolder(ctx, conn, schema)
			switch {
			case holder == "":
				busySince = time.Time{}
			case busySince.IsZero():
				busySince = time.Now()
			case time.Since(busySince) > cmp.Or(o.StrangerWait, 10*time.Second):
				return fmt.Errorf("the lock of migrators is held by %s, which is no migrator: end that session", holder)
			}
		case isLocked(err):
			wait = blockedWait
			if o.Blocked != nil {
				o.Blocked(s.blocker(ctx, conn, schema))
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

// A part is done at once: one transaction, and perhaps an index that is built before it.
type part struct {
	statements []statement
	build      *Step
	until      int  // until is the version after this part.
	last       bool // last reports whether no part follows.
}

// A statement is SQL of one or more commands, and its name in errors.
type statement struct{ of, text string }

// next returns the part after version have. exists reports whether the schema exists.
func (s *Source) next(schema string, have int, exists bool, o Options) part {
	if have < o.To && s.Steps[have].Index != "" {
		step := &s.Steps[have]
		return part{
			statements: []statement{s.record(schema, step)}, build: step,
			until: have + 1, last: have+1 == o.To && o.To < s.Version(),
		}
	}
	p := part{until: have}
	add := func(of, text string) { p.statements = append(p.statements, statement{of, s.Into(schema, text)}) }
	if !exists {
		create := "create schema " + pgx.Identifier{schema}.Sanitize() + ";"
		p.statements = append(p.statements, statement{"the schema", create})
	}
	if have == 0 {
		add("the schema", "create table "+s.Prefix+"migration "+
			"(version integer primary key, name text not null, applied_at timestamptz not null default now());")
	}
	for ; p.until < o.To && s.Steps[p.until].Index == ""; p.until++ {
		step := &s.Steps[p.until]
		add(step.String(), step.SQL)
		p.statements = append(p.statements, s.record(schema, step))
	}
	if p.until == s.Version() {
		// Functions call each other, so they cannot be checked in the order of their files.
		add("functions", "set local check_function_bodies = off;")
		add("functions", strings.Join(s.Functions, "\n"))
		for _, text := range o.After {
			add("after the functions", text)
		}
	}
	p.last = p.until >= o.To
	return p
}

// record returns the statement that records that a step was applied.
func (s *Source) record(schema string, step *Step) statement {
	return statement{step.String(), s.Into(schema, fmt.Sprintf(
		"insert into %smigration (version, name) values (%d, '%s');",
		s.Prefix,
		step.Version,
		strings.ReplaceAll(step.Name, "'", "''"),
	))}
}

// write is the dry run of Up: it writes a script for psql that does the same.
func (s *Source) write(ctx context.Context, conn *pgx.Conn, schema string, o Options) error {
	have, exists, err := s.state(ctx, conn, schema)
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "-- The schema %s from version %d to %d, for psql -v ON_ERROR_STOP=1.\n"+
		"-- After \"lock timeout\" print it again and run that.\n", schema, have, max(have, o.To))
	for {
		p := s.next(schema, have, exists, o)
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
		have, exists = p.until, true
	}
	_, err = io.WriteString(o.Dry, b.String())
	return err
}

// state returns the schema's version and whether the schema exists. It returns a *VersionError if it is newer than
// the source.
func (s *Source) state(ctx context.Context, conn *pgx.Conn, schema string) (have int, exists bool, err error) {
	if have, err = s.Have(ctx, conn, schema); err != nil {
		return 0, false, err
	}
	if have > s.Version() {
		return have, true, &VersionError{Have: have, Want: s.Version()}
	}
	// A role that may not create schemas can use one that exists.
	err = conn.QueryRow(ctx, "select exists (select from pg_namespace where nspname = $1)", once, schema).Scan(&exists)
	return have, exists, err
}

// errBusy means that another migrator has the lock.
var errBusy = errors.New("another migrator is at work")

// step does the next part, under a lock that serialises migrators of this schema. The lock is taken in a statement
// before the version is read. step does not wait for it: a waiting statement has a snapshot, and a concurrent index
// build would wait for that snapshot to end.
func (s *Source) step(ctx context.Context, conn *pgx.Conn, schema string, o Options) (done bool, err error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
	if err != nil {
		return false, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if _, err := tx.Exec(ctx, "set local application_name = '"+name+"'"); err != nil {
		return false, err
	}
	var ours bool
	if err := tx.QueryRow(ctx, lock("pg_try_advisory_xact_lock", schema), once).Scan(&ours); err != nil {
		return false, err
	}
	if !ours {
		return false, errBusy
	}
	have, exists, err := s.state(ctx, conn, schema)
	if err != nil {
		return false, err
	}
	p := s.next(schema, have, exists, o)
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

// explain adds to an error of the server the line of the statement, the detail and the hint.
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

// build builds the index of a step on another connection, while tx has the lock of migrators. tx has no snapshot,
// so the build does not wait for it.
func (s *Source) build(ctx context.Context, tx pgx.Tx, schema string, step *Step) error {
	if _, err := tx.Exec(ctx, limits); err != nil { // The build may take hours, in which this transaction is idle.
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, tx.Conn().Config())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := pg.PinSession(ctx, conn); err != nil {
		return err
	}
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

// building returns the statements that build the index of a step: none if the index exists. If an interrupted build
// left an invalid index, the first statement drops it.
func (s *Source) building(ctx context.Context, conn *pgx.Conn, schema string, step *Step) ([]string, error) {
	name := s.Into(schema, step.Index)
	var valid bool
	const query = "select i.indisvalid from pg_index i where i.indexrelid = to_regclass($1)"
	err := conn.QueryRow(ctx, query, once, name).Scan(&valid)
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

// Down drops the schema with all its contents. It refuses if the schema has tables, views or extensions that the
// source did not make, because the schema may have existed before, for example public. If the schema is newer than
// the source, Down cannot tell and drops it.
func (s *Source) Down(ctx context.Context, conn *pgx.Conn, schema string) error {
	have, err := s.Have(ctx, conn, schema)
	if err != nil {
		return err
	}
	if len(s.dump) > 0 && have <= s.Version() {
		foreign, err := s.foreign(ctx, conn, schema)
		if err != nil {
			return err
		}
		if n := len(foreign); n > 0 {
			if n > 3 {
				foreign = append(foreign[:3:3], fmt.Sprintf("and %d more", n-3))
			}
			return fmt.Errorf("the schema %s has objects that Pawl did not create: %s; move or drop them first",
				schema, strings.Join(foreign, ", "))
		}
	}
	_, err = conn.Exec(ctx, "drop schema if exists "+pgx.Identifier{schema}.Sanitize()+" cascade")
	return err
}

// foreign returns the tables, views and extensions of a schema that the source did not make.
func (s *Source) foreign(ctx context.Context, conn *pgx.Conn, schema string) (names []string, err error) {
	rows, err := conn.Query(ctx, `select c.relname::text from pg_class c
		where c.relnamespace = (select n.oid from pg_namespace n where n.nspname = $1)
		  and c.relkind = any ('{r,p,v,m,f}') and not c.relispartition
		union all
		select 'extension ' || e.extname from pg_extension e
		where e.extnamespace = (select n.oid from pg_namespace n where n.nspname = $1)
		order by 1`, once, schema)
	if err != nil {
		return nil, err
	}
	names, err = pgx.CollectRows(rows, pgx.RowTo[string])
	return slices.DeleteFunc(names, func(name string) bool {
		return slices.ContainsFunc(s.dump, func(o Object) bool {
			return (o.Kind == "table" || o.Kind == "view") && o.Name == name
		})
	}), err
}
