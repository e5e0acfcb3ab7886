package pawl

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Errors that errors.Is finds, however they are wrapped.
var (
	// ErrLeaseLost is returned if a worker's lease of a job has expired or was released, or the job has finished. The
	// result was discarded, and nothing was changed. A transaction with the job's effects should roll back. It is
	// also the cause of a handler's context: see Handle.
	ErrLeaseLost = errors.New("pawl: lease lost: the job is not held by this claim any more, nothing was changed")
	// ErrNotFound is returned if nothing has this id or name.
	ErrNotFound = errors.New("pawl: not found")

	// ErrRunning is returned if a running job was to be changed. Nothing was changed.
	ErrRunning = errors.New("pawl: the job is running")
	// ErrExpired is returned if a reservation has expired, or was committed or aborted before. Nothing was changed.
	ErrExpired = errors.New("pawl: not reserved any more")
	// ErrQueueInUse is returned if a queue is not deleted, because it has live jobs or workers that run it by name.
	ErrQueueInUse = errors.New("pawl: the queue is in use: it has live jobs, or workers that run it by name")

	// ErrCancelled, ErrTimeout and ErrShutdown are causes of a handler's context: see context.Cause.
	ErrCancelled = errors.New("pawl: job cancelled")
	ErrTimeout   = errors.New("pawl: handler timed out")
	ErrShutdown  = errors.New("pawl: runner is shutting down")
)

// InvalidError says that a job was refused before the database saw it.
type InvalidError struct {
	Index  int    // Index is the job's place in the argument of InsertMany. It is 0 for Insert.
	Field  string // Field is the name of a field of JobSpec.
	Reason string // Reason says what is wrong and what is right.
}

func (e *InvalidError) Error() string {
	return fmt.Sprintf("pawl: job %d: %s: %s", e.Index, e.Field, e.Reason)
}

// RateError says that an insert exceeded Config.InsertRate. Nothing was inserted.
type RateError struct {
	RetryAfter time.Duration // RetryAfter is when the same insert succeeds, unless others come before it.
}

func (e *RateError) Error() string {
	return fmt.Sprintf("pawl: insert: over the rate, nothing was inserted: try again in %v (Config.InsertRate)",
		e.RetryAfter)
}

// PanicError is a handler's panic as an error.
type PanicError struct {
	Value any
	Stack string
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the value of a panic if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// SchemaError says that the schema of the database has another version than this binary needs.
type SchemaError struct{ Have, Want int }

func (e *SchemaError) Error() string {
	switch {
	case e.Have == 0:
		return "pawl: the schema is not installed: call Client.Migrate or run `pawl install`"
	case e.Have < e.Want:
		return fmt.Sprintf("pawl: the schema is at version %d, older than this binary's %d:"+
			" call Client.Migrate or run `pawl migrate`", e.Have, e.Want)
	default:
		return fmt.Sprintf("pawl: the schema is at version %d, newer than this binary's %d: upgrade the binary",
			e.Have, e.Want)
	}
}

// JobErrors are the errors of several jobs. errors.Is and errors.As look into each.
type JobErrors map[ID]error

func (e JobErrors) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pawl: %d jobs failed", len(e))
	for i, id := range slices.Sorted(maps.Keys(e)) {
		if i == 3 {
			b.WriteString("; …")
			break
		}
		fmt.Fprintf(&b, "; job %d: %v", id, e[id])
	}
	return b.String()
}

// Unwrap returns the errors.
func (e JobErrors) Unwrap() []error { return slices.Collect(maps.Values(e)) }
