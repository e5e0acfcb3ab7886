package output

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

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
	Args  json.RawMessage   `json:"args"  table:"-"`
	Data  []byte            `json:"data"  table:"-"`
	Tags  []string          `json:"tags"`
	Heads map[string]string `json:"heads"`
	Limit *int              `json:"limit"`
	On    bool              `json:"on"`
}

var limit = 3

var samples = []sample{
	{
		ID: 1<<62 + 1, Name: "Zoë <b> 世界", sampleSize: sampleSize{5}, Lag: 1500 * time.Millisecond,
		At:   time.Date(2026, 3, 1, 12, 0, 0, 250e6, time.FixedZone("", 3600)),
		Args: json.RawMessage(`{"n": 9007199254740993, "s": "true", "l": []}`), Data: []byte{0, 255},
		Tags: []string{"a", "b,c"}, Heads: map[string]string{"k": "v", "a": "1"}, Limit: &limit, On: true,
	},
	{ID: 2, Name: "two\nlines\x1b[31m\u202e\xff", Lag: 36 * time.Hour},
}

func TestPrint(t *testing.T) {
	for _, test := range []struct {
		format string
		rows   any
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
		p := &Printer{Out: &out, Format: test.format}
		if err := p.Print(test.rows); err != nil {
			t.Errorf("%s: %v", test.format, err)
		}
		if diff := cmp.Diff(test.want, out.String()); diff != "" {
			t.Errorf("%s of %T: want - have +\n%s", test.format, test.rows, diff)
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
		p := &Printer{Out: &out, Format: format}
		type row struct {
			Name string        `json:"name"`
			Lag  time.Duration `json:"lag"`
		}
		for _, r := range []row{{"a", time.Second}, {"longer than", 2 * time.Millisecond}} {
			if err := p.PrintNext(r); err != nil {
				t.Errorf("%s: %v", format, err)
			}
		}
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("%s: want - have +\n%s", format, diff)
		}
	}
}

// A list in pages prints what the whole list prints, except for the alignment of its table.
func TestPrintPages(t *testing.T) {
	for _, format := range Formats {
		for _, cuts := range [][]int{{0, 2}, {0, 1, 2}, {0, 1, 1, 2, 2}} {
			print := func(how func(p *Printer) error) string {
				var b bytes.Buffer
				if err := how(&Printer{Out: &b, Format: format}); err != nil {
					t.Fatal(err)
				}
				return b.String()
			}
			want := print(func(p *Printer) error { return p.Print(samples) })
			got := print(func(p *Printer) error {
				return p.PrintPages(func(yield func(any, error) bool) {
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
				t.Errorf("%s in pages %v: %s", format, cuts, diff)
			}
		}
	}
}
