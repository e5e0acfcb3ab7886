package pawl

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Errors returned by this package. Compare them with [errors.Is], because they are usually wrapped.
var (
	// ErrLeaseLost is returned if the lease of a claimed job has expired or was released, or if the job has finished.
	// The result was discarded and nothing was changed. Roll back a transaction that has effects of the job.
	// ErrLeaseLost is also a cause of a handler's context: see Handle.
	ErrLeaseLost = errors.New("pawl: lease lost: the job does not belong to this claim any more; nothing was changed")
	// ErrNotFound is returned if there is no job, batch, queue, cron, channel or worker of the given id or name.
	ErrNotFound = errors.New("pawl: not found")

	// ErrRunning is returned by Update if the job is running. Nothing was changed.
	ErrRunning = errors.New("pawl: the job is running")
	// ErrExpired is returned if a reservation has expired, or was committed or aborted before. Nothing was changed.
	ErrExpired = errors.New("pawl: not reserved any more")
	// ErrQueueInUse is returned by DeleteQueue if the queue has live jobs or a live worker names it in its Queues.
	ErrQueueInUse = errors.New("pawl: the queue is in use: it has live jobs, or workers that run it by name")

	// ErrCancelled, ErrTimeout and ErrShutdown are causes of a handler's context: see context.Cause.
	ErrCancelled = errors.New("pawl: job cancelled")
	ErrTimeout   = errors.New("pawl: handler timed out")
	ErrShutdown  = errors.New("pawl: runner is shutting down")
)

// An InvalidError says that a job or an update was refused because a field is invalid.
type InvalidError struct {
	Index  int    // Index is the job's place in the argument of InsertMany. It is 0 for Insert.
	Field  string // Field is the name of a field of JobSpec.
	Reason string // Reason says why the value was refused and which values are valid.
}

func (e *InvalidError) Error() string {
	return fmt.Sprintf("pawl: job %d: %s: %s", e.Index, e.Field, e.Reason)
}

// A RateError says that an insert exceeded Config.InsertRate. Nothing was inserted.
type RateError struct {
	RetryAfter time.Duration // RetryAfter is how long to wait. Other inserts may use up the rate meanwhile.
}

func (e *RateError) Error() string {
	return fmt.Sprintf("pawl: insert: over the rate, nothing was inserted: try again in %v (Config.InsertRate)",
		e.RetryAfter)
}

// A PanicError is a panic of a handler or of other code that was passed to Pawl.
type PanicError struct {
	Value any    // Value is the value that was passed to panic.
	Stack string // Stack is the stack of the goroutine as text.
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns Value if it is an error, else nil.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// A SchemaError says that the database's schema does not have the version that this binary needs. Have is the version
// of the schema, or 0 if it is not installed. Want is this binary's version.
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

// JobErrors maps the ids of jobs to their errors. errors.Is and errors.As look at each of them.
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

// Unwrap returns the errors in no particular order.
func (e JobErrors) Unwrap() []error { return slices.Collect(maps.Values(e)) }

// truncate returns a text of at most so many bytes, and an ellipsis if it was longer. It replaces what PostgreSQL's
// type text refuses: zero bytes, and bytes that are not UTF-8.
func truncate(s string, most int) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + " …"
	}
	return s
}
