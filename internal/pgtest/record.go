package pgtest

import (
	"context"
	"encoding/json"
	"os"
	"sync"

	"github.com/jackc/pgx/v5"
)

// EnvRecord is the environment variable with the path of a file. Each [Pool] adds the statements that it sends to the
// file. A statement is one line of JSON and is added once.
const EnvRecord = "PAWL_TEST_RECORD"

// Recorded is one line of the file that [EnvRecord] names.
type Recorded struct {
	SQL     string   // SQL is the text of the statement. For a COPY it is the name of the table.
	Mode    string   // Mode is the pgx.QueryExecMode that the caller chose, or "" if the caller chose none.
	Columns []string // Columns are the columns of a COPY.
}

// recorded is the set of recorded statements, as JSON.
var recorded sync.Map

// record adds a statement to the file, unless this process has added it before.
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

// sentRecorder is a pgx tracer that records each statement.
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
