// Package inspect compares an installed schema and its rows with what this binary makes, and looks for what slows or
// endangers the installation.
//
// Verify finds what is missing, different or broken. Repair runs Verify and repairs what is safe to repair. Doctor
// looks at settings, statistics and the heads of queues.
package inspect

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/internal/migrate"
)

// A Finding is a problem that Verify, Repair or Doctor found. docs/doctor.md lists all checks.
type Finding struct {
	Check    string
	Problem  string
	Remedy   string
	Fatal    bool
	Repaired bool
}

// A Row is the current row of a result.
type Row interface{ Scan(dest ...any) error }

// A Runner runs statements. In their texts the schema is called "pawl."; the Runner writes the installed name there.
type Runner interface {
	// Query runs a statement and calls each for every row. each may be nil.
	Query(ctx context.Context, text string, args []any, each func(Row) error) error
}

// An Installation is an installed schema, with the operations of its client that an inspection needs.
type Installation struct {
	Runner // Runs each statement on its own; in the caller's transaction if Begin is nil.

	Schema string          // Schema is the installed schema's name.
	Source *migrate.Source // Source makes the schema that the installed one is compared with.

	// Begin runs do in a transaction at isolation level read committed. It is nil if Runner is a transaction already;
	// then only Verify works.
	Begin func(ctx context.Context, mode pgx.TxAccessMode, do func(tx Runner) error) error

	// OutsideTx runs a statement that PostgreSQL refuses inside a transaction.
	OutsideTx func(ctx context.Context, text string) error

	Migrate        func(ctx context.Context) error              // Migrate replaces all functions.
	MakePartitions func(ctx context.Context) error              // MakePartitions makes the archive's partitions.
	RunFollowups   func(ctx context.Context) error              // RunFollowups runs all recorded follow-ups.
	CheckListen    func(ctx context.Context) ([]Finding, error) // CheckListen tries whether LISTEN works.
	IsTransient    func(err error) bool                         // IsTransient reports whether a retry may help.
	Now            func() time.Time                             // Now reads the clock of this machine.
}

// read runs do in a read-only transaction that waits at most lockTimeout for a lock. If the client is in the caller's
// transaction, do runs there.
func (in *Installation) read(ctx context.Context, lockTimeout string, do func(tx Runner) error) error {
	if in.Begin == nil {
		return describing(ctx, in.Runner, do)
	}
	return in.Begin(ctx, pgx.ReadOnly, func(tx Runner) error {
		settings := map[string]string{"lock_timeout": lockTimeout}
		maps.Copy(settings, planned)
		maps.Copy(settings, readable)
		if _, err := set(ctx, tx, settings); err != nil {
			return err
		}
		return do(tx)
	})
}

// statement formats SQL for the operator to type. It writes the installed schema's name in place of "pawl.".
func (in *Installation) statement(format string, args ...any) string {
	text := fmt.Sprintf(format, args...)
	if in.Schema != "pawl" {
		text = in.Source.Into(in.Schema, text)
	}
	return text
}

// queryRow runs a statement that returns one row.
func queryRow(ctx context.Context, run Runner, text string, args []any, dest ...any) error {
	found := false
	err := run.Query(ctx, text, args, func(row Row) error {
		found = true
		return row.Scan(dest...)
	})
	if err == nil && !found {
		err = pgx.ErrNoRows
	}
	return err
}

// lockTimedOut reports whether a statement did not get a lock in time.
func lockTimedOut(err error) bool {
	var state interface{ SQLState() string }
	return errors.As(err, &state) && state.SQLState() == "55P03"
}

// abridge joins names, and only counts those after the tenth.
func abridge(names []string) string {
	const shown = 10
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}

// interval formats a duration for PostgreSQL.
func interval(d time.Duration) string { return fmt.Sprintf("%d microseconds", d.Microseconds()) }
