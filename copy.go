package pawl

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

// column is one that COPY fills.
type column struct {
	name string
	oid  uint32
}

// copyTo puts n rows into a table by COPY; row fills values with the i-th. The columns' types are given: pgx's CopyFrom asks the
// server for them by a statement that it prepares by name on a connection of the default mode, and a transaction pooler breaks that.
func copyTo(ctx context.Context, conn *pgx.Conn, table pgx.Identifier, columns []column, n int, row func(i int, values []any)) error {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	r := &copyReader{types: conn.TypeMap(), columns: columns, n: n, row: row, values: make([]any, len(columns))}
	r.buf.WriteString("PGCOPY\n\377\r\n\000\000\000\000\000\000\000\000\000") // No flags, no extension of the header.
	defer r.close()
	_, err := conn.PgConn().CopyFrom(ctx, r, fmt.Sprintf("copy %s (%s) from stdin binary", table.Sanitize(), strings.Join(names, ", ")))
	return err
}

// copyReader writes rows in COPY's binary format as they are read.
type copyReader struct {
	types   *pgtype.Map
	columns []column
	n       int
	row     func(i int, values []any)
	values  []any

	mu     sync.Mutex
	buf    bytes.Buffer
	next   int // Row; n is the end mark, n+1 nothing.
	closed bool
}

// close returns when nobody reads rows any more: after an error pgconn may be at it still.
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
		value, err := r.types.Encode(c.oid, pgtype.BinaryFormatCode, r.values[k], b)
		if err != nil {
			return fmt.Errorf("row %d, %s: %w", i, c.name, err)
		}
		if value != nil {
			b = value
			binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
		}
	}
	r.buf.Write(b)
	return nil
}
