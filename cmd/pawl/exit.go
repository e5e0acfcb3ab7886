package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pawlhq/pawl"
	"github.com/spf13/cobra"
)

const (
	exitFailure     = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitProblems    = 4
	exitRefused     = 5
	exitUnreachable = 6
	exitSchema      = 7
	exitInterrupted = 130
)

func exitCodesTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Long: `Exit codes, the same for every command:

  0    done; a filter that meets nothing is no failure
  1    failed: standard error says why
  2    wrong use: a flag, an argument, a setting
  3    there is nothing of that id or name
  4    verify or doctor found something wrong
  5    not confirmed: the answer was no, or nobody could be asked and --yes was not given
  6    the database cannot be reached
  7    Pawl is not installed in the schema, or in a version this binary cannot use
  130  interrupted by SIGINT or SIGTERM; a worker that has drained ends with 0`,
	}
}

// usageError is a mistake in how pawl was called.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

type unreachableError struct{ error }

// Error is what was tried, each once: a server without TLS refuses it before it says what is the matter.
func (e unreachableError) Error() string {
	lines := strings.Split(e.error.Error(), "\n")
	said := []string{}
	for i, line := range lines {
		if refused := strings.HasSuffix(line, "server refused TLS connection"); !slices.Contains(said, line) && !(refused && i < len(lines)-1) {
			said = append(said, line)
		}
	}
	return "cannot reach the database: " + strings.Join(said, "\n")
}

func (e unreachableError) Unwrap() error { return e.error }

// schemaError says what to type against a schema that is not this binary's.
func (p *program) schemaError(err *pawl.SchemaError) error {
	schema, way := p.settled.Schema, "pawl"
	if p.settled.origin["schema"] == "--schema" {
		way += " --schema " + schema
	}
	switch {
	case err.Have == 0:
		return fmt.Errorf("%w in the schema %s; to install it: %s install", told{err, "Pawl is not installed"}, schema, way)
	case err.Have < err.Want:
		return fmt.Errorf("%w; to bring it up to date: %s migrate", told{err, fmt.Sprintf("the schema %s is at version %d, older than this pawl's %d", schema, err.Have, err.Want)}, way)
	}
	return told{err, fmt.Sprintf("the schema %s is at version %d, newer than this pawl's %d: a newer pawl is needed", schema, err.Have, err.Want)}
}

// told is an error in other words.
type told struct {
	error
	words string
}

func (e told) Error() string { return e.words }
func (e told) Unwrap() error { return e.error }

// plain is an error for who typed the command: without the names of packages and the numbers of PostgreSQL's errors that are Pawl's own words.
func plain(err error) string {
	text := err.Error()
	if said, ok := errors.AsType[*pgconn.PgError](err); ok && strings.HasPrefix(said.Message, "pawl: ") {
		text = strings.Replace(text, said.Error(), said.Message, 1)
	}
	if errors.Is(err, context.Canceled) {
		text = strings.ReplaceAll(text, context.Canceled.Error(), "interrupted")
	}
	text = strings.ReplaceAll(strings.TrimPrefix(text, "pawl: "), "\npawl: ", "\n")
	return strings.ReplaceAll(text, ": pawl: ", ": ")
}

var (
	errProblems = errors.New("problems were found")
	errRefused  = errors.New("not confirmed, nothing was changed")
)

func exitCode(err error) int {
	is := func(target error) bool { return errors.Is(err, target) }
	switch {
	case err == nil:
		return 0
	case as[usageError](err):
		return exitUsage
	case is(errRefused):
		return exitRefused
	case is(errProblems):
		return exitProblems
	case is(pawl.ErrNotFound):
		return exitNotFound
	case as[*pawl.SchemaError](err):
		return exitSchema
	case as[unreachableError](err) || as[*pgconn.ConnectError](err):
		return exitUnreachable
	case is(context.Canceled):
		return exitInterrupted
	}
	return exitFailure
}

func as[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}
