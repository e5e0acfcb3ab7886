package pawl_test

import (
	"context"
	"database/sql"
	"log/slog"
	"runtime"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl"
)

// nilError has methods that panic, as those of a nil pointer do.
type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

type panickingError struct{}

func (panickingError) Error() string        { panic("Error") }
func (panickingError) Is(error) bool        { panic("Is") }
func (panickingError) As(any) bool          { panic("As") }
func (panickingError) Unwrap() error        { panic("Unwrap") }
func (panickingError) LogValue() slog.Value { panic("LogValue") }

// misbehaviours are what a callback may do instead of returning. Those of a callback that returns no error cannot
// return a wrong one.
var misbehaviours = map[string]func() error{
	"panics":                             func() error { panic("on purpose") },
	"panics with an error":               func() error { panic(panickingError{}) },
	"ends its goroutine":                 func() error { runtime.Goexit(); return nil },
	"returns a nil pointer as an error":  func() error { var e *nilError; return e },
	"returns an error that panics":       func() error { return panickingError{} },
	"returns an error that panics deep":  func() error { return pawl.RetryAfter(0, panickingError{}) },
	"returns an error of many that does": func() error { return pawl.JobErrors{1: panickingError{}} },
}

// wrongJob reports whether a callback is called for the job that is to suffer.
func wrongJob(job *pawl.JobInfo) bool { return strings.Contains(string(job.Args), "1") }

// badError is an error whose methods misbehave.
type badError struct{ bad func(context.Context) error }

func (e badError) Error() string { e.bad(nil); return "bad" }
func (e badError) Is(error) bool { e.bad(nil); return false }
func (e badError) As(any) bool   { e.bad(nil); return false }

type badHandler struct{ bad func(context.Context) error }

func (badHandler) Enabled(context.Context, slog.Level) bool          { return true }
func (h badHandler) Handle(ctx context.Context, _ slog.Record) error { return h.bad(nil) }
func (h badHandler) WithAttrs([]slog.Attr) slog.Handler              { return h }
func (h badHandler) WithGroup(string) slog.Handler                   { return h }

// A badCodec misbehaves when it encodes the insertedNote, or decodes the wrong job.
type badCodec struct{ encode, decode func(context.Context) error }

func (c badCodec) Encode(_ string, args []byte) ([]byte, error) {
	if c.encode != nil && strings.Contains(string(args), "77") {
		return args, c.encode(nil)
	}
	return args, nil
}

func (c badCodec) Decode(_ string, stored []byte) ([]byte, error) {
	if c.decode != nil && strings.Contains(string(stored), "1") {
		return stored, c.decode(nil)
	}
	return stored, nil
}

// badArgs misbehave when their kind is asked for, or when they are encoded or decoded.
type badArgs struct{ kind, marshal func(context.Context) error }

// badDecoding has what the badArgs of a test do when they are decoded, by their JSON.
var badDecoding sync.Map

func (a badArgs) Kind() string {
	if a.kind != nil {
		a.kind(nil)
	}
	return "bad"
}

func (a badArgs) MarshalJSON() ([]byte, error) {
	if a.marshal != nil {
		return nil, a.marshal(nil)
	}
	return []byte("{}"), nil
}

func (a *badArgs) UnmarshalJSON(b []byte) error {
	if bad, ok := badDecoding.Load(strings.TrimSpace(string(b))); ok {
		return bad.(func(context.Context) error)(nil)
	}
	return nil
}

type badWriter struct{ bad func(context.Context) error }

func (w badWriter) Write(b []byte) (int, error) { return 0, w.bad(nil) }

// badDB is a handle of pgx that misbehaves.
type badDB struct{ bad func(context.Context) error }

func (d badDB) Exec(ctx context.Context, _ string, _ ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, d.bad(ctx)
}
func (d badDB) Query(ctx context.Context, _ string, _ ...any) (pgx.Rows, error) {
	return nil, d.bad(ctx)
}
func (d badDB) QueryRow(ctx context.Context, _ string, _ ...any) pgx.Row     { d.bad(ctx); return nil }
func (d badDB) SendBatch(ctx context.Context, _ *pgx.Batch) pgx.BatchResults { d.bad(ctx); return nil }
func (d badDB) CopyFrom(ctx context.Context, _ pgx.Identifier, _ []string, _ pgx.CopyFromSource) (int64, error) {
	return 0, d.bad(ctx)
}

// badSQLDB is a handle of database/sql that misbehaves.
type badSQLDB struct{ bad func(context.Context) error }

func (d badSQLDB) ExecContext(ctx context.Context, _ string, _ ...any) (sql.Result, error) {
	return nil, d.bad(ctx)
}
func (d badSQLDB) QueryContext(ctx context.Context, _ string, _ ...any) (*sql.Rows, error) {
	return nil, d.bad(ctx)
}
