package pawl

import (
	"encoding/binary"
	"io"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl/internal/lanes"
)

// rawRows is a result with one row, as pgx has it.
type rawRows struct {
	pgx.Rows
	values [][]byte
}

func (r rawRows) RawValues() [][]byte { return r.values }

func (rawRows) FieldDescriptions() []pgconn.FieldDescription {
	list := make([]pgconn.FieldDescription, len(ticketFormats))
	for i, format := range ticketFormats {
		list[i].Format = format
	}
	return list
}

// claimedRow returns the values of a row of a claim. The order is that of claim.sql.
func claimedRow(pos int64, kind string, args, data, opts, errs, save, times []byte, numbers uint64) [][]byte {
	long := func(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }
	short := func(n uint64) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }
	return [][]byte{
		[]byte("default"), {0, 0, 0, 0}, []byte(""), long(pos), long(pos), {1}, {0, 0, 0, 7}, []byte(kind), args, data,
		short(numbers), short(numbers >> 16), short(numbers >> 32), short(numbers >> 48), {byte(numbers & 1)},
		{byte(numbers >> 1 & 1)}, times, times, []byte(kind), []byte(kind), opts, errs, save, times,
	}
}

// FuzzClaimedRow reads a claim of three jobs, of which the second one has columns of any form. The claim does not fail,
// the other two jobs are as they should be, and the second one is returned, too: if it does not decode, it has an error
// and becomes dead.
func FuzzClaimedRow(f *testing.F) {
	f.Add("note", []byte(`{"n": 1}`), []byte("data"), []byte(`{"headers": {"a": "b"}, "ordered": true, "batch": 7}`),
		[]byte(`[{"attempt": 1, "at": "2026-11-21T10:00:00Z", "error": "boom"}]`), []byte(`{"value": 1, "percent": 5}`),
		[]byte{0, 2, 0x8c, 0x5e, 0x3b, 0x1a, 0, 0}, uint64(3))
	f.Add("", []byte(nil), []byte(nil), []byte(`[]`), []byte(`{}`), []byte(`7`),
		[]byte{0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, uint64(1)<<63)
	f.Add("\xff", []byte(`1e400`), []byte{0}, []byte(`{"headers": 5}`), []byte(`[5]`), []byte(`{"steps": 7}`),
		[]byte{0x80, 0, 0, 0, 0, 0, 0, 0}, ^uint64(0))
	f.Add("k", []byte(`"pawl:codec:"`), []byte{}, []byte(`{"batch": 1e99}`), []byte(`[{"at": "infinity"}]`), []byte(`{`),
		[]byte{1, 2, 3}, uint64(0x7fff7fff7fff7fff))
	client, err := New(nil, Config{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, kind string, args, data, opts, errs, save, times []byte, numbers uint64) {
		set := lanes.New()
		set.AddQueue("default")
		set.Find(lanes.Key{Queue: "default"})
		p := set.Plan(10, true, func(string) int { return 10 }, false)
		r := client.newClaimReader(set, p, claimer{}, newLeaseID())
		good := func(pos int64) [][]byte {
			return claimedRow(pos, "good", []byte(`{"n": 1}`), nil, nil, nil, nil, make([]byte, 8), 1<<32)
		}
		hostile := claimedRow(2, kind, args, data, opts, errs, save, times, numbers)
		for _, values := range [][][]byte{good(1), hostile, good(3)} {
			if err := r.read(rawRows{values: values}); err != nil {
				t.Fatalf("the claim failed: %v", err)
			}
		}
		set.Learn(p, r.total)
		r.sort()
		if len(r.jobs) != 3 || r.total != 3 {
			t.Fatalf("the claim returned %d jobs of %d tickets, want 3", len(r.jobs), r.total)
		}
		for i, job := range r.jobs {
			job.client = client
			err := client.decode(job)
			if job.ID != ID(i+1) || job.epoch != 7 {
				t.Errorf("job %d is job %d at epoch %d", i+1, job.ID, job.epoch)
			}
			if i != 1 && (err != nil || job.Kind != "good" || string(job.Args) != `{"n": 1}`) {
				t.Errorf("job %d: %v, kind %q, args %s", job.ID, err, job.Kind, job.Args)
			}
		}
	})
}
