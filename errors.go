package pawl

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Sentinels, found by errors.Is through any wrapping.
var (
	// ErrLeaseLost: the job is no longer held by who answers for it: its lease expired or was released, or the job is
	// finished. Nothing was changed. In a transaction with effects it means roll back. It is also a cause: see Handle.
	ErrLeaseLost = errors.New("pawl: lease lost: the job is not held by this claim any more, nothing was changed")
	// ErrNotFound: there is nothing of this id or name.
	ErrNotFound = errors.New("pawl: not found")

	// ErrRunning: a running job cannot be changed. Nothing was.
	ErrRunning = errors.New("pawl: the job is running")
	// ErrExpired: a reservation's time had passed, or it was committed or aborted before. Nothing was changed.
	ErrExpired = errors.New("pawl: not reserved any more")
	// ErrQueueInUse: a queue with live jobs, or with workers that named it, is not deleted.
	ErrQueueInUse = errors.New("pawl: the queue is in use: it has live jobs, or workers that run it by name")

	// ErrCancelled, ErrTimeout and ErrShutdown are causes: why a handler's context ended (context.Cause).
	ErrCancelled = errors.New("pawl: job cancelled")
	ErrTimeout   = errors.New("pawl: handler timed out")
	ErrShutdown  = errors.New("pawl: runner is shutting down")
)

// InvalidError says that a job was refused before the database saw it.
type InvalidError struct {
	Index  int    // Of the job in InsertMany; 0 in Insert.
	Field  string // Of JobSpec.
	Reason string // What is wrong and what would be right.
}

func (e *InvalidError) Error() string {
	return fmt.Sprintf("pawl: job %d: %s: %s", e.Index, e.Field, e.Reason)
}

// RateError says that an insert was over Config.InsertRate. Nothing was inserted.
type RateError struct {
	RetryAfter time.Duration // Then the same insert goes, unless others go before it.
}

func (e *RateError) Error() string {
	return fmt.Sprintf("pawl: insert: over the rate, nothing was inserted: try again in %v (Config.InsertRate)", e.RetryAfter)
}

// PanicError is a handler's panic as an error.
type PanicError struct {
	Value any
	Stack string
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap gives the value of panic(err).
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// SchemaError says that the database's schema is not the one this binary needs.
type SchemaError struct{ Have, Want int }

func (e *SchemaError) Error() string {
	switch {
	case e.Have == 0:
		return "pawl: the schema is not installed: call Client.Migrate or run `pawl install`"
	case e.Have < e.Want:
		return fmt.Sprintf("pawl: the schema is at version %d, older than this binary's %d: call Client.Migrate or run `pawl migrate`", e.Have, e.Want)
	default:
		return fmt.Sprintf("pawl: the schema is at version %d, newer than this binary's %d: upgrade the binary", e.Have, e.Want)
	}
}

// Errors says which of several jobs failed, and why. errors.Is and errors.As see into it.
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

func (e JobErrors) Unwrap() []error { return slices.Collect(maps.Values(e)) }
