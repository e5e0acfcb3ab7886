package pawl_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pg"
	"github.com/pawlhq/pawl/pawlstate"
)

// FuzzResult stores JSON as results and args are: what the check accepts, the database stores and gives back; what it
// refuses, the database refuses too.
func FuzzResult(f *testing.F) {
	_, pool := install(f)
	for _, seed := range []string{
		"null", `"x"`, "[]", "{}", `{"a":[1,2.5,-3e10]}`, "1e131071", "1e131072", "1e-16383", "1e-16384", "0e99999", "-0",
		`"\u0000"`, `"\ud83d"`, `"\ud83d\ude00"`, `"\\u0000"`, `"\udead"`, "\"\xff\"", `{"a":1,"a":2}`, `[0.10e1]`,
		"0." + strings.Repeat("0", 16383), "0." + strings.Repeat("0", 16384), "1" + strings.Repeat("0", 131072),
		"1e+5", `{"":{}}`,
		"0.1e131072", "123e131070", "0.00e131075", "1.5e-16383", "-1E131071",
		" [ 1 , 2 ] ", `"` + strings.Repeat(`\n`, 99) + `"`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		if !json.Valid(doc) {
			return
		}
		size, reason := pawl.RefuseJSON(doc)
		if size > 1<<20 && reason == "" {
			return // Too large for a result.
		}
		var text string
		var bytes int
		err := pool.QueryRow(t.Context(), `select v::text, pg_column_size(v) - 4 from (select $1::text::jsonb as v) o`,
			string(doc)).Scan(&text, &bytes)
		if state := pg.SQLState(err); err != nil && state == "" {
			t.Fatal(err)
		}
		if (err == nil) != (reason == "") {
			t.Fatalf("%.200q: the database says %v, the check %q", doc, err, reason)
		}
		if err != nil {
			return
		}
		// jsonb puts a space after each comma and colon, and escapes no character that it need not.
		if len(text) > size+strings.Count(string(doc), ",")+strings.Count(string(doc), ":")+8 {
			t.Errorf("%.200q: %d bytes written out, said to be %d", doc, len(text), size)
		}
		if got := pawl.JSONBSize(doc); got < bytes-bytes/8-16 {
			t.Errorf("%.200q: %d bytes of jsonb, said to be %d", doc, bytes, got)
		}
		if !sameJSON(t, pool, string(doc), json.RawMessage(text)) {
			t.Errorf("%.200q: stored as %.200q", doc, text)
		}
	})
}

// FuzzValidJSON compares the check of JSON with that of encoding/json.
func FuzzValidJSON(f *testing.F) {
	for _, seed := range []string{
		"", " ", "1", "-", "-0", "01", "1.", ".5", "1e", "1e+", "1E-5", "1.5e3x", "+1", "tru", "true", "truee", "null", "NaN",
		`""`, `"`, `"\`, `"\u12"`, `"\u12G4"`, `"\u+123"`, `"\u1_23"`, `"\x"`, `"\/\b\f\n\r\t\"\\"`, "\"\n\"", "\"\x7f\xff\"",
		"[]", "[ ]", "[,]", "[1,]", "[1 2]", "[1", "{}", `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, `{"a":1 "b":2}`,
		`{"a" : [ { } ] }`, "[1]]", "1 1", "\ufeff1", "\x00", "[\x00]",
		strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000), strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001),
		strings.Repeat("[", 99_999),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		if got, want := pawl.ValidJSON(doc), json.Valid(doc); got != want {
			t.Errorf("%.200q: %t, encoding/json says %t", doc, got, want)
		}
	})
}

// FuzzArgsRules checks the limits of Config against a decoder that reads tokens.
func FuzzArgsRules(f *testing.F) {
	client, err := pawl.New(nil, pawl.Config{
		MaxStringBytes: 8, MaxDepth: 3, ForbiddenKeys: []string{"bad"}, RequiredKeys: []string{"a"},
	})
	must(f, err)
	for _, seed := range []string{
		`{"a":1}`, `{"a":{"b":{"c":{}}}}`, `{"a":"123456789"}`, `{"\u0061":"bad"}`, `{"a":0,"b\u0061d":1}`, `[{"a":1}]`,
		"{\"a\":\"\xff\xff\xff\xff\xff\xff\xff\xff\xff\"}", `{"a":"\ufffd\ufffd\ufffd"}`, `{"b":{"a":1}}`,
		` {"a" : [ [ ] ] } `,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		if !json.Valid(doc) {
			return
		}
		if _, reason := pawl.RefuseJSON(doc); reason != "" {
			return
		}
		refused := client.Validate(pawl.JobSpec{Args: pawl.Raw("k", doc)})
		if want := breaksRules(t, doc); want != (refused != nil) {
			t.Errorf("%q: %v, want an error: %t", doc, refused, want)
		}
	})
}

// breaksRules reports whether valid JSON breaks the rules of FuzzArgsRules.
func breaksRules(t *testing.T, doc []byte) bool {
	t.Helper()
	var top map[string]json.RawMessage
	if err := json.Unmarshal(doc, &top); err != nil || top == nil {
		return true // It is no object.
	}
	if _, ok := top["a"]; !ok {
		return true
	}
	var broken func(raw json.RawMessage, depth int) bool
	broken = func(raw json.RawMessage, depth int) bool {
		switch strings.TrimLeft(string(raw), " \t\r\n")[0] {
		case '"':
			var s string
			must(t, json.Unmarshal(raw, &s))
			return len(s) > 8
		case '[':
			var list []json.RawMessage
			must(t, json.Unmarshal(raw, &list))
			for _, one := range list {
				if broken(one, depth+1) {
					return true
				}
			}
			return depth+1 > 3
		case '{':
			members := json.NewDecoder(strings.NewReader(string(raw)))
			_, err := members.Token()
			must(t, err)
			for members.More() {
				key, err := members.Token()
				must(t, err)
				var one json.RawMessage
				must(t, members.Decode(&one))
				if len(key.(string)) > 8 || key == "bad" || broken(one, depth+1) {
					return true
				}
			}
			return depth+1 > 3
		}
		return false
	}
	return broken(doc, 0)
}

// FuzzFilter lists and counts by any filter: it is refused in words of ours, or the database takes it.
func FuzzFilter(f *testing.F) {
	client, _ := install(f)
	results, err := client.InsertMany(f.Context(), notes(3))
	must(f, err)
	f.Add("default", "", "", "", "", "", `{"n":1}`, int64(0), int64(0), int64(0), int64(0), 0, []byte{0})
	f.Add("a'b", `\`, "$1", "%s", "\xff", "\x00", "[]", int64(1), int64(2), int64(3), int64(4), 5, []byte{1, 2, 3})
	f.Add("", "c", "k", "", "", "w", "1e400", int64(1)<<60, -int64(1)<<60, int64(1)<<40, int64(-5), -1, []byte{9, 9})
	f.Add("", "", "", "", "", "", "", int64(1)<<43, int64(0), int64(0), int64(1), 1<<40, []byte(nil))
	f.Fuzz(func(
		t *testing.T, queue, channel, kind, fingerprint, key, worker, args string, before, after, run, below int64, limit int,
		more []byte,
	) {
		filter := pawl.Filter{
			Queue: queue, Channel: channel, Kind: kind, Fingerprint: fingerprint, UniqueKey: key, Worker: worker,
			Args: json.RawMessage(args), Before: pawl.ID(below), Limit: limit,
		}
		for _, moment := range []struct {
			to      *time.Time
			seconds int64
		}{{&filter.CreatedBefore, before}, {&filter.CreatedAfter, after}, {&filter.RunBefore, run}} {
			if moment.seconds != 0 {
				*moment.to = time.Unix(moment.seconds, 0)
			}
		}
		states := append(pawlstate.Live(), pawlstate.Finished()...)
		for i, b := range more {
			if i%2 == 0 {
				filter.States = append(filter.States, states[int(b)%len(states)])
			} else {
				filter.IDs = append(filter.IDs, pawl.ID(int8(b)))
			}
		}
		jobs, err := client.List(t.Context(), filter)
		if err != nil && (pg.SQLState(err) != "" || !strings.Contains(err.Error(), "Filter")) {
			t.Errorf("%+v: %v, want an error of ours", filter, err)
		}
		n, countErr := client.Count(t.Context(), filter)
		if (err == nil) != (countErr == nil) {
			t.Errorf("%+v: List says %v, Count %v", filter, err, countErr)
		}
		if err == nil && int(n) != len(jobs) {
			t.Errorf("%+v: listed %d, counted %d", filter, len(jobs), n)
		}
		if err == nil && len(jobs) > len(results) {
			t.Errorf("%+v: %d jobs", filter, len(jobs))
		}
	})
}
