package pawl_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pg"
	"github.com/pawlhq/pawl/pawlstate"
)

// An optionWriter makes options of pawl.insert from the bytes of a fuzzer: names that exist and values that hurt.
type optionWriter struct {
	script []byte
	text   strings.Builder
}

var (
	optionNames = []string{
		"queue", "channel", "priority", "delay", "run_at", "max_attempts", "fingerprint", "headers", "data", "ordered",
		"backoff", "unique", "reserve", "after", "attempt", "no such option",
	}
	backoffNames = []string{"base", "max", "growth", "power", "jitter", "no such option"}
	uniqueNames  = []string{"key", "period", "global", "until_start", "replace", "reschedule", "no such option"}
	afterNames   = []string{"id", "on", "keep_waiting", "no such option"}
	hostileJSON  = []string{
		"0", "1", "-1", "5.0", "0.1", "1e3", "1e400", "-1e400", "1e-400", "1e131071",
		"32767", "32768", "-32769", "2147483648",
		"9223372036854775808", "3155760000", "3155760001", "true", "false", "null", `""`, `"k"`, `"ok"`, `"infinity"`,
		`"-infinity"`, `"2030-01-31 12:00:00+00"`, `"now"`, `"2026-13-45"`, `"1900-01-01"`, `"9999-12-31 23:59:59"`,
		`"epoch"`, `"allballs"`, `"AAECAw=="`, `"not base64!"`, `"AAE"`, "[]", "{}", "[1]", `{"a":"b"}`, `{"a":1}`,
		`"` + strings.Repeat("x", 256) + `"`, `"ü\\ \"'"`, `"NaN"`, `"2026-01-01 00:00:00 Nowhere/City"`, `"1 BC"`,
	}
)

func (w *optionWriter) next() int {
	if len(w.script) == 0 {
		return 0
	}
	b := w.script[0]
	w.script = w.script[1:]
	return int(b)
}

func (w *optionWriter) value() { w.text.WriteString(hostileJSON[w.next()%len(hostileJSON)]) }

// object writes an object with up to four members.
func (w *optionWriter) object(names []string, value func(name string)) {
	w.text.WriteByte('{')
	seen := map[string]bool{}
	for range 1 + w.next()%4 {
		name := names[w.next()%len(names)]
		if seen[name] {
			continue
		}
		if len(seen) > 0 {
			w.text.WriteByte(',')
		}
		seen[name] = true
		fmt.Fprintf(&w.text, "%q:", name)
		value(name)
	}
	w.text.WriteByte('}')
}

func (w *optionWriter) options() string {
	w.object(optionNames, func(name string) {
		leaf := func(string) { w.value() }
		switch {
		case w.next()%4 == 0:
			w.value()
		case name == "backoff":
			w.object(backoffNames, leaf)
		case name == "unique":
			w.object(uniqueNames, leaf)
		case name == "after":
			w.text.WriteByte('[')
			w.object(afterNames, leaf)
			w.text.WriteByte(']')
		case name == "headers":
			w.object([]string{"a", "b", ""}, leaf)
		default:
			w.value()
		}
	})
	return w.text.String()
}

// FuzzSQLInsert inserts by SQL with any options: either they are refused in words of ours, or the job can be claimed,
// run and read.
func FuzzSQLInsert(f *testing.F) {
	client, pool := install(f)
	for i := range optionNames {
		for k := range hostileJSON {
			f.Add("note", `{"n":1}`, "", []byte{1, byte(i), byte(4 * (k % 64)), byte(k)})
		}
		for k := range 12 {
			f.Add(
				"note",
				"",
				"",
				[]byte{2, byte(i), 1, 3, byte(k), byte(k + 1), byte(k + 2), byte(2 * k), byte(3 * k), byte(5 * k)},
			)
		}
	}
	for _, options := range []string{
		"{}", "[]", "null", "7", `{"delay":60}`, `{"run_at":"2030-01-31 12:00:00+00"}`,
		`{"backoff":{"base":1,"max":5,"growth":3}}`,
		`{"unique":{"key":"k","until_start":true},"reserve":5}`, `{"after":[{"id":1,"on":"any"}]}`,
		`{"data":"AAEC","attempt":5}`,
		`{"headers":{"a":"b"},"ordered":true,"channel":"c"}`,
	} {
		f.Add("note", `{"n":1}`, options, []byte(nil))
	}
	f.Fuzz(func(t *testing.T, kind, args, options string, script []byte) {
		if len(script) > 0 {
			options = (&optionWriter{script: script}).options()
		}
		var given *string
		if args != "" {
			given = &args
		}
		const text = "select pawl.insert($1::text, $2::text::jsonb, $3::text::jsonb)"
		var id pawl.ID
		err := pool.QueryRow(t.Context(), text, kind, given, options).Scan((*int64)(&id))
		if err != nil {
			_, bad := pool.Exec(t.Context(), "select $1::text, $2::text::jsonb, $3::text::jsonb", kind, given, options)
			if bad == nil && (pg.SQLState(err) != "22023" || !strings.Contains(err.Error(), "pawl: ")) {
				t.Errorf("%q, %q, %s: %v, want an error of ours", kind, args, options, err)
			}
			return
		}
		runInserted(t, client, pool, id, fmt.Sprintf("%q, %q, %s", kind, args, options))
	})
}

// runInserted makes a job ready, and runs it twice: once it fails, once it completes. At the end there is no job.
func runInserted(t *testing.T, client *pawl.Client, pool *pgxpool.Pool, id pawl.ID, what string) {
	t.Helper()
	ctx := t.Context()
	job, err := client.Get(ctx, id)
	if err != nil {
		t.Fatalf("%s: get: %v", what, err)
	}
	if job.State == pawlstate.Reserved {
		if err := client.CommitReserved(ctx, id); err != nil {
			t.Errorf("%s: commit the reservation: %v", what, err)
		}
	}
	runFollowups(t, pool) // It may depend on a job that does not exist.
	for attempt := range 2 {
		makeDue(t, pool)
		jobs, err := client.Claim(ctx, job.Queue, 10, time.Minute)
		if err != nil {
			t.Fatalf("%s: claim: %v", what, err)
		}
		if attempt == 0 {
			err = client.Fail(ctx, jobs, errors.New("at first"))
		} else {
			err = client.Complete(ctx, jobs)
		}
		if err != nil {
			t.Errorf("%s: attempt %d: %v", what, attempt+1, err)
		}
		if attempt == 0 && len(jobs) == 0 && job.State != pawlstate.Waiting {
			t.Errorf("%s: nothing to claim; the job was %s", what, job.State)
		}
	}
	if jobs, err := client.List(ctx, pawl.Filter{}); err != nil || len(jobs) == 0 {
		t.Errorf("%s: listed %d jobs, %v", what, len(jobs), err)
	}
	if _, err := client.Delete(ctx, pawl.Filter{All: true}); err != nil {
		t.Errorf("%s: delete: %v", what, err)
	}
	exec(t, pool, "delete from pawl.unique_key")
	runFollowups(t, pool)
}

// FuzzJobSpec inserts jobs by Go: what Validate accepts, the database stores, and gives back.
func FuzzJobSpec(f *testing.F) {
	client, pool := install(f)
	many := client.With(pool)
	f.Add("note", `{"n":1}`, []byte{0}, "default", "", "", 0, int64(0), int64(0), 0, "", "", []byte(nil))
	f.Add("k", `"\ud83d\ude00"`, []byte(nil), "q", "c", "f", 5, int64(time.Hour), int64(0), 3, "h", "v", []byte{1})
	f.Add(
		"k",
		`[1e400,-0.5e-300]`,
		[]byte("x"),
		"",
		"c",
		"",
		-32768,
		int64(0),
		int64(1)<<40,
		0,
		"key",
		"",
		[]byte{2, 255, 9, 9, 9},
	)
	f.Add("k", "", []byte(nil), "q", "", "", 0, int64(1)<<62, int64(0), 32767, "", "", []byte{4, 7})
	f.Add("k", "1", []byte(nil), "q", "", "", 0, int64(0), int64(-1)<<50, 1, "", "", []byte{8, 99, 3})
	f.Add("k", "null", []byte(nil), "q", "c", "", 0, int64(1), int64(0), 0, "", "", []byte{15, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(
		t *testing.T, kind, args string, data []byte, queue, channel, fingerprint string, priority int, delay, runAt int64,
		attempts int, header, value string, more []byte,
	) {
		spec := pawl.JobSpec{
			Args: pawl.Raw(kind, nil), Data: data, Queue: queue, Channel: channel, Fingerprint: fingerprint,
			Priority: priority, Delay: time.Duration(delay), MaxAttempts: attempts,
		}
		if args != "" {
			spec.Args = pawl.Raw(kind, []byte(args))
		}
		if runAt != 0 {
			spec.RunAt = time.Unix(runAt, 0)
		}
		if header != "" || value != "" {
			spec.Headers = map[string]string{header: value}
		}
		constrain(&spec, more)
		_, err := client.InsertMany(t.Context(), []pawl.JobSpec{spec})
		if invalid := client.Validate(spec); invalid != nil {
			if err == nil || err.Error() != invalid.Error() {
				t.Errorf("%+v: %v, want %v", spec, err, invalid)
			}
			return
		}
		if err != nil && len(spec.AfterAny) > 0 && strings.Contains(err.Error(), "pawl: a job can only depend on") {
			return // Only the database knows which ids there were.
		}
		if err != nil {
			t.Fatalf("%+v: %v", spec, err)
		}
		id := value1(t, pool)
		job, err := client.Get(t.Context(), id)
		if err != nil || args != "" && !sameJSON(t, pool, args, job.Args) || string(job.Data) != string(data) {
			t.Errorf("%+v: got %+v, %v", spec, job, err)
		}
		// A time beyond the year 9999, which JSON cannot have, is stored, and read as the end of that year.
		if y := spec.RunAt.Year(); job.State == pawlstate.Scheduled && y > 1 && y < 9999 &&
			!job.RunAt.Equal(spec.RunAt) {
			t.Errorf("%+v: it is due at %v", spec, job.RunAt)
		}
		runInserted(t, many, pool, id, fmt.Sprintf("%+v", spec))
	})
}

// value1 returns the id of the only job.
func value1(t *testing.T, pool *pgxpool.Pool) pawl.ID {
	t.Helper()
	return pawl.ID(value[int64](t, pool, "select id from pawl.job"))
}

// constrain sets the fields of a job that the bits of the first byte name, from the bytes after it.
func constrain(spec *pawl.JobSpec, more []byte) {
	at := 0
	next := func() int64 {
		if at++; at < len(more) {
			return int64(more[at])
		}
		return 0
	}
	if len(more) == 0 {
		return
	}
	bits := more[0]
	if bits&1 != 0 {
		spec.Unique = pawl.Unique{
			Key: string(rune(next())) + "k", Period: time.Duration(next() << (next() % 60)), Global: next()%2 == 1,
			UntilStart: next()%2 == 1, Replace: next()%2 == 1, Reschedule: next()%2 == 1,
		}
	}
	if bits&2 != 0 {
		spec.Backoff = pawl.Backoff{
			Base: time.Duration(next() << (next() % 60)), Max: time.Duration(next() << (next() % 60)),
			Growth: float64(next()) / 8, Power: float64(next()-128) / 2, Jitter: float64(next()) / 200,
		}
	}
	if bits&4 != 0 {
		spec.Reserve = time.Duration(next()<<(next()%60)) | hour // A shorter one may end before the test does.
	}
	if bits&8 != 0 {
		spec.Attempt = int(next() << (next() % 10))
		spec.Errors = []pawl.AttemptError{
			{Attempt: int(next()), At: time.Unix(next()<<(next()%40), 0), Error: string(more)},
		}
	}
	if bits&16 != 0 {
		spec.Ordered = true
	}
	if bits&32 != 0 {
		spec.AfterAny = []pawl.ID{pawl.ID(next() << (next() % 60))}
	}
}

// sameJSON reports whether two texts are the same value of jsonb.
func sameJSON(t *testing.T, pool *pgxpool.Pool, a string, b json.RawMessage) bool {
	t.Helper()
	return value[bool](t, pool, "select $1::text::jsonb = $2::text::jsonb", a, string(b))
}
