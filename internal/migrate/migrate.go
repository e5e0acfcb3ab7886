// Package migrate brings a schema to a version: numbered files of tables and indexes, each applied once in a transaction of
// its own, and functions that are replaced as a whole afterwards.
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

	"github.com/jackc/pgx/v5"
)

// A Step is one migration file.
type Step struct {
	Version int
	Name    string
	SQL     string
}

// A Source is what a binary knows of a schema.
type Source struct {
	Prefix    string // The schema's name as the files write it, with the dot: "pawl.".
	Steps     []Step
	Functions []string
}

// Load reads migration/NNNN_name.sql and function/*.sql. The steps must be numbered 1, 2, 3, …
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
		s.Steps = append(s.Steps, Step{version, title, string(text)})
	}
	names, err = fs.Glob(files, "function/*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		s.Functions = append(s.Functions, string(text))
	}
	return s, nil
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
	var exists bool
	err := conn.QueryRow(ctx, "select to_regclass($1) is not null", once, pgx.Identifier{schema, "migration"}.Sanitize()).Scan(&exists)
	if err != nil || !exists {
		return 0, err
	}
	var version int
	err = conn.QueryRow(ctx, s.Into(schema, "select coalesce(max(version), 0) from "+s.Prefix+"migration"), once).Scan(&version)
	return version, err
}

// Up brings the schema to version `to` (0: the newest known). Two at once wait for each other. A schema newer than
// the source is left alone: *VersionError. With dry, the SQL is written there and nothing is changed.
func (s *Source) Up(ctx context.Context, conn *pgx.Conn, schema string, to int, dry io.Writer) (err error) {
	if to == 0 {
		to = s.Version()
	}
	if to < 0 || to > s.Version() {
		return fmt.Errorf("migrate to version %d: this binary knows 1 to %d", to, s.Version())
	}
	if dry != nil {
		have, err := s.Have(ctx, conn, schema)
		if err != nil {
			return err
		}
		return s.write(dry, schema, have, to)
	}
	for {
		more, err := s.step(ctx, conn, schema, to)
		if err != nil || !more {
			return err
		}
	}
}

func (s *Source) write(w io.Writer, schema string, have, to int) error {
	var errs []error
	for _, step := range s.Steps[min(have, to):to] {
		_, err := fmt.Fprintf(w, "-- version %d: %s\n%s\n", step.Version, step.Name, s.Into(schema, step.SQL))
		errs = append(errs, err)
	}
	if to == s.Version() && have <= to {
		for _, text := range s.Functions {
			_, err := fmt.Fprintf(w, "%s\n", s.Into(schema, text))
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// step applies the next version, or the functions when all versions are there, in a transaction under a lock that
// serialises migrators of this schema. The lock is taken in a statement before what it guards is read.
func (s *Source) step(ctx context.Context, conn *pgx.Conn, schema string, to int) (more bool, err error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
	if err != nil {
		return false, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock(hashtextextended($1, 0))", once, "migrate "+schema); err != nil {
		return false, err
	}
	have, err := s.Have(ctx, tx.Conn(), schema)
	if err != nil {
		return false, err
	}
	if have > s.Version() {
		return false, &VersionError{Have: have, Want: s.Version()}
	}
	if have < to {
		next := s.Steps[have]
		if have == 0 {
			// Who may not create schemas may still be given one.
			var exists bool
			if err := tx.QueryRow(ctx, "select exists (select from pg_namespace where nspname = $1)", once, schema).Scan(&exists); err != nil {
				return false, err
			}
			if !exists {
				if _, err := tx.Exec(ctx, "create schema "+pgx.Identifier{schema}.Sanitize()); err != nil {
					return false, err
				}
			}
			if _, err := tx.Exec(ctx, s.Into(schema, "create table "+s.Prefix+
				"migration (version integer primary key, name text not null, applied_at timestamptz not null default now())")); err != nil {
				return false, err
			}
		}
		if _, err := tx.Exec(ctx, s.Into(schema, next.SQL)); err != nil {
			return false, fmt.Errorf("migration %d (%s): %w", next.Version, next.Name, err)
		}
		if _, err := tx.Exec(ctx, s.Into(schema, "insert into "+s.Prefix+"migration (version, name) values ($1, $2)"), once, next.Version, next.Name); err != nil {
			return false, err
		}
		return true, tx.Commit(ctx)
	}
	if have == s.Version() {
		// They call each other, in whatever order they come.
		if _, err := tx.Exec(ctx, "set local check_function_bodies = off"); err != nil {
			return false, err
		}
		for _, text := range s.Functions {
			if _, err := tx.Exec(ctx, s.Into(schema, text)); err != nil {
				return false, fmt.Errorf("function: %w\n%s", err, text)
			}
		}
	}
	return false, tx.Commit(ctx)
}

// Down drops the schema and all that is in it.
func (s *Source) Down(ctx context.Context, conn *pgx.Conn, schema string) error {
	_, err := conn.Exec(ctx, "drop schema if exists "+pgx.Identifier{schema}.Sanitize()+" cascade")
	return err
}
