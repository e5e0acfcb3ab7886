package pawl

import (
	"encoding/binary"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// ticket is a row of claim.sql's answer.
type ticket struct {
	laneKey
	pos, id                    int64
	found, constrained, permit bool
	epoch                      int32
	own, attempt, most         int16 // own: the job's priority, which that of a returned lane is not.
	crashes                    int16
	kind, fingerprint, unique  string
	args, data                 []byte
	opts, errs, save           []byte
	throttled                  bool // A stretch that a limit cut short: id is the milliseconds until it is worth asking again.
	created, runAt, now        time.Time
}

// ticketReader reads the rows of one answer. Reading 24 columns by Scan took an eighth of a runner's time, and an allocation for every
// text, so that from pgx they are read as they come: integers, times and bytes in binary, text and JSON as text.
type ticketReader struct {
	ticket
	raw   int // 1: as they come; -1: by Scan; 0: not known yet.
	texts map[string]string
	arena []byte
}

var ticketFormats = []int16{
	pgtype.TextFormatCode, pgtype.BinaryFormatCode, pgtype.TextFormatCode, // queue, lane, channel
	pgtype.BinaryFormatCode, pgtype.BinaryFormatCode, pgtype.BinaryFormatCode, pgtype.BinaryFormatCode, // pos, id, found, epoch
	pgtype.TextFormatCode, pgtype.TextFormatCode, pgtype.BinaryFormatCode, // kind, args, data
	pgtype.BinaryFormatCode, pgtype.BinaryFormatCode, pgtype.BinaryFormatCode, pgtype.BinaryFormatCode, pgtype.BinaryFormatCode, pgtype.BinaryFormatCode, // priority, attempt, max_attempts, crashes, constrained, permit
	pgtype.BinaryFormatCode, pgtype.BinaryFormatCode, // created_at, run_at
	pgtype.TextFormatCode, pgtype.TextFormatCode, pgtype.TextFormatCode, pgtype.TextFormatCode, pgtype.TextFormatCode, // fingerprint, unique_key, opts, errors, checkpoint
	pgtype.BinaryFormatCode, // now
}

func (r *ticketReader) read(s scanner) error {
	r.ticket = ticket{}
	rows, ok := s.(pgx.Rows)
	if r.raw == 0 {
		r.raw = -1
		if ok {
			r.raw = 1
			fields := rows.FieldDescriptions()
			for i, format := range ticketFormats {
				if len(fields) != len(ticketFormats) || fields[i].Format != format {
					r.raw = -1
					break
				}
			}
		}
	}
	if r.raw < 0 {
		return r.scan(s)
	}
	v := rows.RawValues()
	r.queue, r.priority, r.channel, r.pos, r.id = r.text(v[0]), int32(integer(v[1])), r.text(v[2]), integer(v[3]), integer(v[4])
	r.throttled = v[3] == nil
	if r.found = integer(v[5]) != 0; !r.found {
		return nil
	}
	r.epoch, r.kind, r.args, r.data = int32(integer(v[6])), r.text(v[7]), r.bytes(v[8]), r.bytes(v[9])
	r.own, r.attempt, r.most, r.crashes, r.constrained, r.permit = int16(integer(v[10])), int16(integer(v[11])), int16(integer(v[12])), int16(integer(v[13])), integer(v[14]) != 0, integer(v[15]) != 0
	r.created, r.runAt, r.fingerprint, r.unique = moment(v[16]), moment(v[17]), r.text(v[18]), r.text(v[19])
	r.opts, r.errs, r.save, r.now = v[20], v[21], v[22], moment(v[23])
	return nil
}

func (r *ticketReader) scan(s scanner) error {
	var (
		kind, fingerprint, unique    *string
		priority, attempt, most, hit *int16
		constrained, permit          *bool
		pos                          *int64
		created, runAt               *time.Time
	)
	err := s.Scan(&r.queue, &r.priority, &r.channel, &pos, &r.id, &r.found, &r.epoch, &kind, &r.args, &r.data,
		&priority, &attempt, &most, &hit, &constrained, &permit, &created, &runAt, &fingerprint, &unique, &r.opts, &r.errs, &r.save, &r.now)
	if err != nil {
		return err
	}
	if r.throttled = pos == nil; r.throttled {
		return nil
	}
	if r.pos = *pos; !r.found {
		return nil
	}
	r.kind, r.own, r.attempt, r.most, r.crashes, r.constrained, r.permit, r.created = *kind, *priority, *attempt, *most, *hit, *constrained, *permit, *created
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

// text is a string, made once for all rows that have it: queues, channels and kinds are few.
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

// bytes is a copy; the row's own are overwritten by the next row.
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

// integer reads an integer or a boolean in binary; a null is 0.
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

// moment reads a timestamptz in binary: microseconds since 2000. A null is the zero time.
func moment(b []byte) time.Time {
	if len(b) != 8 {
		return time.Time{}
	}
	const since2000 = 946_684_800_000_000
	return time.UnixMicro(integer(b) + since2000)
}
