package pg

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// A Column is a column that Copy fills, and its type.
type Column struct {
	Name string
	OID  uint32
}

// Copy inserts n rows into a table by COPY. It calls row for each i in [0, n), which fills values with the row's.
//
// It calls the connection's CopyFromTracer, if there is one. pgx's CopyFrom does not do: it asks the server for the
// types of the columns by a statement that it prepares by name, which fails behind a transaction pooler.
func Copy(
	ctx context.Context, conn *pgx.Conn, table pgx.Identifier, columns []Column, n int, row func(i int, values []any),
) error {
	do := func() error { return copyRows(ctx, conn, table, columns, n, row) }
	if _, _, err := (sessionGuard{}).RewriteQuery(ctx, conn, "", nil); err != nil {
		return inUTF8(err, setEncoding(ctx, conn), do, nil) // It is in a transaction.
	}
	return do()
}

func copyRows(
	ctx context.Context, conn *pgx.Conn, table pgx.Identifier, columns []Column, n int, row func(i int, values []any),
) error {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	r := &copyReader{types: conn.TypeMap(), columns: columns, n: n, row: row, values: make([]any, len(columns))}
	r.buf.WriteString("PGCOPY\n\377\r\n\000\000\000\000\000\000\000\000\000") // No flags, no header extension.
	defer r.close()
	text := fmt.Sprintf("copy %s (%s) from stdin binary", table.Sanitize(), strings.Join(names, ", "))
	tracer, traced := conn.Config().Tracer.(pgx.CopyFromTracer)
	if traced {
		ctx = tracer.TraceCopyFromStart(ctx, conn, pgx.TraceCopyFromStartData{TableName: table, ColumnNames: names})
	}
	tag, err := conn.PgConn().CopyFrom(ctx, r, text)
	if traced {
		tracer.TraceCopyFromEnd(ctx, conn, pgx.TraceCopyFromEndData{CommandTag: tag, Err: err})
	}
	return err
}

// copyReader encodes rows in COPY's binary format while they are read.
type copyReader struct {
	types   *pgtype.Map
	columns []Column
	n       int
	row     func(i int, values []any)
	values  []any

	mu     sync.Mutex
	buf    bytes.Buffer
	next   int // The row to write next: n is the end mark, n+1 is nothing.
	closed bool
}

// close makes further reads fail. After an error, a goroutine of pgconn may still read; close waits for a read that
// has begun.
func (r *copyReader) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
}

func (r *copyReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, io.ErrClosedPipe
	}
	for r.buf.Len() < len(p) && r.next <= r.n {
		if err := r.write(r.next); err != nil {
			return 0, err
		}
		r.next++
	}
	return r.buf.Read(p)
}

func (r *copyReader) write(i int) error {
	b := r.buf.AvailableBuffer()
	if i == r.n {
		r.buf.Write(binary.BigEndian.AppendUint16(b, 0xffff))
		return nil
	}
	r.row(i, r.values)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.columns)))
	for k, c := range r.columns {
		at := len(b)
		b = binary.BigEndian.AppendUint32(b, 0xffffffff) // Null.
		value, err := r.types.Encode(c.OID, pgtype.BinaryFormatCode, r.values[k], b)
		if err != nil {
			return fmt.Errorf("row %d, %s: %w", i, c.Name, err)
		}
		if value != nil {
			b = value
			binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
		}
	}
	r.buf.Write(b)
	return nil
}
