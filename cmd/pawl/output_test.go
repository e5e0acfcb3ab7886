package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/google/go-cmp/cmp"
)

type sampleSize struct {
	Bytes int64 `json:"bytes"`
}

type sample struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
	sampleSize
	Lag   time.Duration     `json:"lag"`
	At    time.Time         `json:"at"`
	Args  json.RawMessage   `json:"args" table:"-"`
	Data  []byte            `json:"data" table:"-"`
	Tags  []string          `json:"tags"`
	Heads map[string]string `json:"heads"`
	Limit *int              `json:"limit"`
	On    bool              `json:"on"`
}

var limit = 3

var samples = []sample{
	{ID: 1<<62 + 1, Name: "Zoë <b> 世界", sampleSize: sampleSize{5}, Lag: 1500 * time.Millisecond, At: time.Date(2026, 3, 1, 12, 0, 0, 250e6, time.FixedZone("", 3600)),
		Args: json.RawMessage(`{"n": 9007199254740993, "s": "true", "l": []}`), Data: []byte{0, 255}, Tags: []string{"a", "b,c"}, Heads: map[string]string{"k": "v", "a": "1"}, Limit: &limit, On: true},
	{ID: 2, Name: "two\nlines\x1b[31m\u202e\xff", Lag: 36 * time.Hour},
}

func TestPrint(t *testing.T) {
	for _, test := range []struct {
		format string
		answer any
		want   string
	}{
		{"json", samples, `[
  {
    "id": 4611686018427387905,
    "name": "Zoë <b> 世界",
    "bytes": 5,
    "lag_seconds": 1.5,
    "at": "2026-03-01T11:00:00.25Z",
    "args": {
      "n": 9007199254740993,
      "s": "true",
      "l": []
    },
    "data": "AP8=",
    "tags": [
      "a",
      "b,c"
    ],
    "heads": {
      "a": "1",
      "k": "v"
    },
    "limit": 3,
    "on": true
  },
  {
    "id": 2,
    "name": "two\nlines\u001b[31m` + "\u202e\ufffd" + `",
    "bytes": 0,
    "lag_seconds": 129600,
    "at": null,
    "args": null,
    "data": null,
    "tags": [],
    "heads": {},
    "limit": null,
    "on": false
  }
]
`},
		{"yaml", samples[:1], `- id: 4611686018427387905
  name: Zoë <b> 世界
  bytes: 5
  lag_seconds: 1.5
  at: "2026-03-01T11:00:00.25Z"
  args:
    l: []
    "n": 9007199254740993
    s: "true"
  data: AP8=
  tags:
    - a
    - b,c
  heads:
    a: "1"
    k: v
  limit: 3
  "on": true
`},
		{"csv", samples, `id,name,bytes,lag_seconds,at,args,data,tags,heads,limit,on
4611686018427387905,Zoë <b> 世界,5,1.5,2026-03-01T11:00:00.25Z,"{""n"":9007199254740993,""s"":""true"",""l"":[]}",AP8=,"[""a"",""b,c""]","{""a"":""1"",""k"":""v""}",3,true
2,"two
lines` + "\x1b[31m\u202e\ufffd" + `",0,129600,,,,[],{},,false
`},
		{"table", samples, `                 ID  NAME                       BYTES    LAG  AT                    TAGS    HEADS              LIMIT  ON
4611686018427387905  Zoë <b> 世界                   5   1.5s  2026-03-01T11:00:00Z  a, b,c  {"a":"1","k":"v"}      3  yes
                  2  two\nlines\x1b[31m\u202e�      0  1d12h                                                          no
`},
		{"table", &samples[1], `id     2
name   two\nlines\x1b[31m\u202e�
bytes  0
lag    1d12h
at
args
data
tags
heads
limit
on     no
`},
		{"yaml", struct {
			Args json.RawMessage `json:"args"`
		}{json.RawMessage(`{"<<": "=", "on": "12:30"}`)}, "args:\n  \"<<\": \"=\"\n  \"on\": \"12:30\"\n"},
		{"json", []sampleSize(nil), "[]\n"},
		{"yaml", []sampleSize{}, "[]\n"},
		{"csv", []sampleSize{}, "bytes\n"},
		{"table", []sampleSize{}, "BYTES\n"},
		{"json", sampleSize{7}, "{\n  \"bytes\": 7\n}\n"},
	} {
		var out bytes.Buffer
		p := &program{stdout: &out, settled: &settings{Format: test.format}}
		if err := p.print(test.answer); err != nil {
			t.Errorf("%s: %v", test.format, err)
		}
		if diff := cmp.Diff(test.want, out.String()); diff != "" {
			t.Errorf("%s of %T: want - have +\n%s", test.format, test.answer, diff)
		}
	}
}

func TestPrintNext(t *testing.T) {
	for format, want := range map[string]string{
		"json":  "{\"name\":\"a\",\"lag_seconds\":1}\n{\"name\":\"longer than\",\"lag_seconds\":0.002}\n",
		"yaml":  "---\nname: a\nlag_seconds: 1\n---\nname: longer than\nlag_seconds: 0.002\n",
		"csv":   "name,lag_seconds\na,1\nlonger than,0.002\n",
		"table": "NAME  LAG\na      1s\nlonger than  2ms\n",
	} {
		var out bytes.Buffer
		p := &program{stdout: &out, settled: &settings{Format: format}}
		type row struct {
			Name string        `json:"name"`
			Lag  time.Duration `json:"lag"`
		}
		for _, r := range []row{{"a", time.Second}, {"longer than", 2 * time.Millisecond}} {
			if err := p.printNext(r); err != nil {
				t.Errorf("%s: %v", format, err)
			}
		}
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("%s: want - have +\n%s", format, diff)
		}
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]string{
		"5": "5s", "0.25": "250ms", "90s": "1m30s", "1h": "1h", "1h5s": "1h0m5s", "7d": "7d", "1d12h": "1d12h", "1d0s": "1d", "25h": "1d1h",
		"1.23456s": "1.23s", "0": "0s", "1500us": "1.5ms", "-1s": "", "-3": "", "1d-1h": "", "d": "", "": "", "soon": "", "1e300": "", "NaN": "", "99999d99999999h": "", "99999d": "99999d",
	} {
		have := ""
		if d, err := parseDuration(text); err == nil {
			have = formatDuration(d)
		}
		if have != want {
			t.Errorf("%q is read and written as %q, want %q", text, have, want)
		}
	}
	for text, want := range map[string]string{"1000/s": "1000/s", "5/10m": "5/10m", "3/60": "3/m", "none": "none", "x/s": "", "0/s": "", "5": "", "5/": "", "5/0s": ""} {
		have := ""
		if r, err := parseRate(text); err == nil {
			have = formatRate(r)
		}
		if have != want {
			t.Errorf("rate %q is read and written as %q, want %q", text, have, want)
		}
	}
}

// A list in pieces reads as it does whole; its table is only not aligned as well.
func TestPrintPages(t *testing.T) {
	for _, format := range formats {
		for _, cuts := range [][]int{{0, 2}, {0, 1, 2}, {0, 1, 1, 2, 2}} {
			print := func(how func(p *program) error) string {
				var b bytes.Buffer
				if err := how(&program{answer: &b, settled: &settings{Format: format}}); err != nil {
					t.Fatal(err)
				}
				return b.String()
			}
			want := print(func(p *program) error { return p.print(samples) })
			got := print(func(p *program) error {
				return p.printPages(func(yield func(any, error) bool) {
					for i, end := range cuts[1:] {
						if !yield(samples[cuts[i]:end], nil) {
							return
						}
					}
				})
			})
			if format == "table" {
				got, want = strings.Join(strings.Fields(got), " "), strings.Join(strings.Fields(want), " ")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s in pieces %v: %s", format, cuts, diff)
			}
		}
	}
}

func TestFit(t *testing.T) {
	t.Parallel()
	lines := [][]string{
		{"ID", "STATE", "FINISHED AT", "PROBLEM"},
		{"1", "cancelled", "13:00:47", strings.Repeat("größere 日本 Worte ", 5)},
		{"4611686018427387905", "dead", "", "short"},
	}
	columns := make([]column, 4)
	for _, width := range []int{200, 120, 80, 60, 40, 29} {
		fitted := fit(lines, width)
		text := box(columns, fitted)
		if got := lipgloss.Width(text); got > width {
			t.Errorf("%d columns: the box has %d\n%s", width, got, text)
		}
		for i, line := range fitted[1:] {
			for j, cell := range line {
				bare := func(text string) string { return strings.Join(strings.Fields(text), "") }
				if bare(cell) != bare(lines[i+1][j]) {
					t.Errorf("%d columns: %q has become %q", width, lines[i+1][j], cell)
				}
			}
		}
	}
	if got := fit(lines, 80); got[0][2] != "FINISHE…" || got[1][1] != "cancelled" {
		t.Errorf("a title is to be cut before a cell is broken: %q", got[:2])
	}
	some, cut := filled(columns[:3], [][]string{{"A", "B", "C"}, {"1", "", ""}, {"", "", "2"}}, func(column) bool { return true })
	if len(some) != 2 || strings.Join(cut[0], "") != "AC" || strings.Join(cut[2], ",") != ",2" {
		t.Errorf("of empty columns is left: %v, %q", some, cut)
	}
}

// A cell of a megabyte makes neither the lines beside it as long nor fifty thousand of them on a terminal; a mark is there where it is true.
func TestLongCellsAndMarks(t *testing.T) {
	t.Parallel()
	type row struct {
		Text  string `json:"text"`
		N     int    `json:"n"`
		About mark   `json:"about"`
	}
	rows := []row{{Text: strings.Repeat("x", 10_000), N: 1}, {Text: "y", N: 2, About: true}}
	var out bytes.Buffer
	p := &program{stdout: &out, settled: &settings{Format: "table"}}
	if err := p.print(rows); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if len(lines[1]) < 10_000 || len(lines[2]) > 200 || !strings.HasSuffix(lines[2], "  yes") || !strings.HasSuffix(lines[1], "  1") {
		t.Errorf("lines of %d and %d bytes, the second %q", len(lines[1]), len(lines[2]), lines[2])
	}
	if n := len([]rune(screenCell(reflect.ValueOf(rows[0].Text)))); n != longest {
		t.Errorf("on a terminal a cell has %d columns, want %d", n, longest)
	}
	for format, want := range map[string]string{"table": "TEXT  N\nz     3\n", "yaml": "- text: z\n  \"n\": 3\n  about: false\n", "csv": "text,n,about\nz,3,false\n"} {
		out.Reset()
		p = &program{stdout: &out, settled: &settings{Format: format}}
		if err := p.print([]row{{Text: "z", N: 3}}); err != nil || out.String() != want {
			t.Errorf("%s: %v, %q, want %q", format, err, out.String(), want)
		}
	}
}

// What a server without TLS says before anything else is left out, and so is what is said twice.
func TestUnreachableSaysItOnce(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		"failed:\n\th (1): tls error: server refused TLS connection\n\th (1): no such database": "cannot reach the database: failed:\n\th (1): no such database",
		"failed:\n\th (1): refused\n\th (1): refused":                                           "cannot reach the database: failed:\n\th (1): refused",
		"failed:\n\th (1): tls error: server refused TLS connection":                            "cannot reach the database: failed:\n\th (1): tls error: server refused TLS connection",
	} {
		if got := (unreachableError{errors.New(said)}).Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// Who waits for standard input hears ^C the first time; what was read is whole.
func TestInputIsInterruptible(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	from, to := io.Pipe()
	defer to.Close()
	in := &interruptible{ctx, from}
	go to.Write([]byte("ab"))
	if got, err := io.ReadAll(io.LimitReader(in, 2)); err != nil || string(got) != "ab" {
		t.Fatalf("%q, %v", got, err)
	}
	cancel()
	if _, err := io.ReadAll(in); err != context.Canceled {
		t.Errorf("got %v, want that it was interrupted", err)
	}
}
