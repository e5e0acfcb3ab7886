package pawl

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawlhq/pawl/internal/lanes"
)

// A ticket is a row of the result of claim.sql.
type ticket struct {
	lanes.Key
	pos, id                    int64
	found, constrained, permit bool
	epoch                      int32
	own                        int16 // The job's priority. It differs from the lane's if the ticket was returned.
	attempt, most, crashes     int16
	kind, fingerprint, unique  string
	args, data                 []byte
	opts, errs, save           []byte
	created, runAt, now        time.Time

	// throttled means that a limit cut the lane's stretch short. Then id is the number of milliseconds until the lane
	// is worth asking again.
	throttled bool
}

// A ticketReader reads the rows of one result.
//
// Scan of the 24 columns took an eighth of a runner's time and one allocation for each text. So with pgx the reader
// decodes the raw values: integers, times and bytes in binary format, text and JSON in text format. For other drivers
// it uses Scan.
type ticketReader struct {
	ticket
	raw   int // 1: the values are read as they arrive. -1: with Scan. 0: not known yet.
	texts map[string]string
	arena []byte
}

var ticketFormats = []int16{
	pgtype.TextFormatCode, pgtype.BinaryFormatCode, pgtype.TextFormatCode, // queue, lane, channel
	pgtype.BinaryFormatCode, pgtype.BinaryFormatCode, // pos, id
	pgtype.BinaryFormatCode, pgtype.BinaryFormatCode, // found, epoch
	pgtype.TextFormatCode, pgtype.TextFormatCode, pgtype.BinaryFormatCode, // kind, args, data
	pgtype.BinaryFormatCode, pgtype.BinaryFormatCode, pgtype.BinaryFormatCode, // priority, attempt, max_attempts
	pgtype.BinaryFormatCode, pgtype.BinaryFormatCode, pgtype.BinaryFormatCode, // crashes, constrained, permit
	pgtype.BinaryFormatCode, pgtype.BinaryFormatCode, // created_at, run_at
	pgtype.TextFormatCode, pgtype.TextFormatCode, // fingerprint, unique_key
	pgtype.TextFormatCode, pgtype.TextFormatCode, pgtype.TextFormatCode, // opts, errors, checkpoint
	pgtype.BinaryFormatCode, // now
}

// read reads one row into the ticket. opts, errs and save are only valid until the next row.
func (r *ticketReader) read(s scanner) error {
	r.ticket = ticket{}
	rows, ok := s.(pgx.Rows)
	if r.raw == 0 {
		r.raw = -1
		if ok && hasTicketFormats(rows) {
			r.raw = 1
		}
	}
	if r.raw < 0 {
		return r.scan(s)
	}
	v := rows.RawValues()
	r.Queue, r.Priority, r.Channel = r.text(v[0]), int32(integer(v[1])), r.text(v[2])
	r.pos, r.id = integer(v[3]), integer(v[4])
	r.throttled = v[3] == nil
	if r.found = integer(v[5]) != 0; !r.found {
		r.kind, r.unique = string(v[7]), string(v[19]) // Set if the job was found to be unreadable.
		return nil
	}
	r.epoch, r.kind, r.args, r.data = int32(integer(v[6])), r.text(v[7]), r.bytes(v[8]), r.bytes(v[9])
	r.own, r.attempt = int16(integer(v[10])), int16(integer(v[11]))
	r.most, r.crashes = int16(integer(v[12])), int16(integer(v[13]))
	r.constrained, r.permit = integer(v[14]) != 0, integer(v[15]) != 0
	r.created, r.runAt, r.fingerprint, r.unique = moment(v[16]), moment(v[17]), r.text(v[18]), r.text(v[19])
	r.opts, r.errs, r.save, r.now = v[20], v[21], v[22], moment(v[23])
	return nil
}

// hasTicketFormats reports whether the columns arrive in the formats that read expects.
func hasTicketFormats(rows pgx.Rows) bool {
	expected := func(f pgconn.FieldDescription, format int16) bool { return f.Format == format }
	return slices.EqualFunc(rows.FieldDescriptions(), ticketFormats, expected)
}

func (r *ticketReader) scan(s scanner) error {
	var (
		kind, fingerprint, unique        *string
		priority, attempt, most, crashes *int16
		constrained, permit              *bool
		epoch                            *int32
		pos                              *int64
		created, runAt                   *time.Time
	)
	err := s.Scan(&r.Queue, &r.Priority, &r.Channel, &pos, &r.id, &r.found, &epoch, &kind, &r.args, &r.data,
		&priority, &attempt, &most, &crashes, &constrained, &permit, &created, &runAt, &fingerprint, &unique,
		&r.opts, &r.errs, &r.save, &r.now)
	if err != nil {
		return err
	}
	if r.throttled = pos == nil; r.throttled {
		return nil
	}
	if r.pos = *pos; !r.found {
		if kind != nil && unique != nil {
			r.kind, r.unique = *kind, *unique
		}
		return nil
	}
	r.epoch, r.kind, r.own, r.attempt, r.most, r.crashes = *epoch, *kind, *priority, *attempt, *most, *crashes
	r.constrained, r.permit, r.created = *constrained, *permit, *created
	if runAt != nil {
		r.runAt = *runAt
	}
	if fingerprint != nil {
		r.fingerprint = *fingerprint
	}
	if unique != nil {
		r.unique = *unique
	}
	return nil
}

// text returns a string. Rows with the same text share one string, because queues, channels and kinds are few.
func (r *ticketReader) text(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if s, ok := r.texts[string(b)]; ok {
		return s
	}
	if r.texts == nil || len(r.texts) > 1000 {
		r.texts = map[string]string{}
	}
	s := string(b)
	r.texts[s] = s
	return s
}

// bytes returns a copy. The next row overwrites the original.
func (r *ticketReader) bytes(b []byte) []byte {
	if b == nil {
		return nil
	}
	const chunk = 16 << 10
	if len(b) > cap(r.arena)-len(r.arena) {
		if len(b) > chunk/4 {
			return append(make([]byte, 0, len(b)), b...)
		}
		r.arena = make([]byte, 0, chunk)
	}
	n := len(r.arena)
	r.arena = append(r.arena, b...)
	return r.arena[n:len(r.arena):len(r.arena)]
}

// integer decodes an integer or a boolean in binary format. A null is 0.
func integer(b []byte) int64 {
	switch len(b) {
	case 1:
		return int64(b[0])
	case 2:
		return int64(int16(binary.BigEndian.Uint16(b)))
	case 4:
		return int64(int32(binary.BigEndian.Uint32(b)))
	case 8:
		return int64(binary.BigEndian.Uint64(b))
	default:
		return 0
	}
}

// moment decodes a timestamptz in binary format, which is in microseconds since 2000. A null is the zero time.
func moment(b []byte) time.Time {
	if len(b) != 8 {
		return time.Time{}
	}
	const since2000 = 946_684_800_000_000
	return time.UnixMicro(integer(b) + since2000)
}
