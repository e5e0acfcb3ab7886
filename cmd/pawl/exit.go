package main

import (
	"context"
	"errors"

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

func (e unreachableError) Error() string { return "cannot reach the database: " + e.error.Error() }
func (e unreachableError) Unwrap() error { return e.error }

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
