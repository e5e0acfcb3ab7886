// Package exit maps errors to the exit codes and the messages that a shell user sees.
package exit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl"
)

// Exit codes, the same for every command.
const (
	CodeFailure     = 1
	CodeUsage       = 2
	CodeNotFound    = 3
	CodeViolations  = 4
	CodeRefused     = 5
	CodeUnreachable = 6
	CodeSchema      = 7
	CodeInterrupted = 130
)

var (
	// ErrViolations reports that verify or doctor found something wrong.
	ErrViolations = errors.New("problems were found")
	// ErrRefused reports that the user did not confirm a command.
	ErrRefused = errors.New("not confirmed, nothing was changed")
)

// UsageError is a mistake in how pawl was called.
type UsageError struct{ err error }

func (e UsageError) Error() string { return e.err.Error() }
func (e UsageError) Unwrap() error { return e.err }

// Usage marks an error as a mistake in how pawl was called.
func Usage(err error) error { return UsageError{err} }

// Usagef returns a UsageError.
func Usagef(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// UnreachableError is a failure to connect to the database.
type UnreachableError struct{ err error }

// Unreachable marks an error as a failure to connect to the database.
func Unreachable(err error) error { return UnreachableError{err} }

// Error lists each failed attempt to connect once. It leaves out a refusal of TLS if an attempt without TLS followed.
func (e UnreachableError) Error() string {
	lines := strings.Split(e.err.Error(), "\n")
	attempts := []string{}
	for i, line := range lines {
		tlsRefused := strings.HasSuffix(line, "server refused TLS connection") && i < len(lines)-1
		if !tlsRefused && !slices.Contains(attempts, line) {
			attempts = append(attempts, line)
		}
	}
	return "cannot reach the database: " + strings.Join(attempts, "\n")
}

func (e UnreachableError) Unwrap() error { return e.err }

// Message returns an error's text for the person who typed the command. It drops package prefixes, and the SQLSTATE of
// errors that Pawl's own SQL functions raise.
func Message(err error) string {
	text := err.Error()
	if raised, ok := errors.AsType[*pgconn.PgError](err); ok && strings.HasPrefix(raised.Message, "pawl: ") {
		text = strings.Replace(text, raised.Error(), raised.Message, 1)
	}
	if errors.Is(err, context.Canceled) {
		text = strings.ReplaceAll(text, context.Canceled.Error(), "interrupted")
	}
	text = strings.ReplaceAll(strings.TrimPrefix(text, "pawl: "), "\npawl: ", "\n")
	return strings.ReplaceAll(text, ": pawl: ", ": ")
}

// Code returns the exit code for an error.
func Code(err error) int {
	is := func(target error) bool { return errors.Is(err, target) }
	switch {
	case err == nil:
		return 0
	case as[UsageError](err):
		return CodeUsage
	case is(ErrRefused):
		return CodeRefused
	case is(ErrViolations):
		return CodeViolations
	case is(pawl.ErrNotFound):
		return CodeNotFound
	case as[*pawl.SchemaError](err):
		return CodeSchema
	case as[UnreachableError](err) || as[*pgconn.ConnectError](err):
		return CodeUnreachable
	case is(context.Canceled):
		return CodeInterrupted
	}
	return CodeFailure
}

func as[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}
