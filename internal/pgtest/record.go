package pgtest

import (
	"context"
	"encoding/json"
	"os"
	"sync"

	"github.com/jackc/pgx/v5"
)

// EnvRecord is the environment variable with the path of a file to which each statement that a [Pool] sends is added
// once, as a line of JSON.
const EnvRecord = "PAWL_TEST_RECORD"

// A Recorded statement is one of the lines of the file of [EnvRecord].
type Recorded struct {
	SQL     string   // Of a COPY, the table.
	Mode    string   // As the caller said how to run it; "" if it did not.
	Columns []string // Of a COPY.
}

var recorded sync.Map // As JSON.

// record adds a statement to the file.
func record(r Recorded) {
	line, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	if _, known := recorded.LoadOrStore(string(line), true); known {
		return
	}
	f, err := os.OpenFile(os.Getenv(EnvRecord), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if _, err := f.Write(append(line, '\n')); err != nil {
		panic(err)
	}
}

// sentRecorder is a pgx tracer.
type sentRecorder struct{}

func (sentRecorder) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	r := Recorded{SQL: data.SQL}
	if len(data.Args) > 0 {
		if mode, ok := data.Args[0].(pgx.QueryExecMode); ok {
			r.Mode = mode.String()
		}
	}
	record(r)
	return ctx
}

func (sentRecorder) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (sentRecorder) TraceCopyFromStart(
	ctx context.Context,
	_ *pgx.Conn,
	data pgx.TraceCopyFromStartData,
) context.Context {
	record(Recorded{SQL: data.TableName.Sanitize(), Columns: data.ColumnNames})
	return ctx
}

func (sentRecorder) TraceCopyFromEnd(context.Context, *pgx.Conn, pgx.TraceCopyFromEndData) {}
