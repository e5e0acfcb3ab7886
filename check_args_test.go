package pawl_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pawlhq/pawl"
)

func TestValidation(t *testing.T) {
	t.Parallel()
	type limits = pawl.Config
	for _, test := range []struct {
		name   string
		limits limits
		args   string // "": none
		reason string // "": valid
	}{
		{"nothing is checked", limits{}, `{"` + strings.Repeat("k", 2000) + `":[[[[[["` + strings.Repeat("v", 2000) +
			`"]]]]]],"__proto__":1}`, ""},

		{"string at the bound", limits{MaxStringBytes: 4}, `{"k":["1234","üü"]}`, ""},
		{"string over it", limits{MaxStringBytes: 4}, `{"k":["1234","12345"]}`, "string of 5 bytes at byte 13"},
		{"bytes, not characters", limits{MaxStringBytes: 4}, `"üüü"`, "string of 6 bytes at byte 0"},
		{"key over it", limits{MaxStringBytes: 4}, `{"k":{"12345" :1}}`, "key of 5 bytes at byte 6"},
		{"escapes count as what they stand for", limits{MaxStringBytes: 4}, `["\u003c\"\\\n","\ud83d\ude00"]`, ""},
		{"escapes over it", limits{MaxStringBytes: 4}, `["\u003c\"\\\nx"]`, "string of 5 bytes at byte 1"},
		{"invalid UTF-8 over it", limits{MaxStringBytes: 4}, "\"\xff\xff\xff\xff\xff\"", "invalid UTF-8"},
		{"invalid UTF-8 and an escape", limits{MaxStringBytes: 4}, "[\"\\n\xc3\xc3\xc3\xc3\"]", "invalid UTF-8"},
		{"replaced by U+FFFD", limits{MaxStringBytes: 4}, `["\ufffd\ufffd"]`, "string of 6 bytes at byte 1"},
		{"a number is no string", limits{MaxStringBytes: 1}, `[1234567,true,null]`, ""},
		{"brackets in a string", limits{MaxStringBytes: 9, MaxDepth: 1}, `["[{\"[[","]"]`, ""},

		{"scalar", limits{MaxDepth: 1}, `1`, ""},
		{"depth 1", limits{MaxDepth: 1}, `{"a":1,"b":"s"}`, ""},
		{"empty object in an object", limits{MaxDepth: 1}, `{"a":{}}`, "deeper than 1"},
		{"depth 2, side by side", limits{MaxDepth: 2}, `{"a":{"b":1},"c":[1,2],"d":[]}`, ""},
		{"depth 3", limits{MaxDepth: 2}, `{"a":{"b":1},"c":[1,[2]]}`, "deeper than 2 objects and arrays, at byte 20"},
		{"array in arrays", limits{MaxDepth: 3}, `[[[[]]]]`, "deeper than 3"},

		{"forbidden at the top", limits{ForbiddenKeys: []string{"x", "__proto__"}}, `{"__proto__":1}`,
			`key "__proto__" at byte 1`},
		{"forbidden deep down", limits{ForbiddenKeys: []string{"bad"}}, `[{"a":[{"bad":1}]}]`, `key "bad" at byte 8`},
		{"forbidden and escaped", limits{ForbiddenKeys: []string{"bad"}}, `{"b\u0061d":1}`, `key "bad"`},
		{"forbidden as a value", limits{ForbiddenKeys: []string{"bad"}}, `{"a":"bad","c":["bad"]}`, ""},
		{"part of a key", limits{ForbiddenKeys: []string{"bad"}}, `{"badly":1,"Bad":1}`, ""},

		{"required and there", limits{RequiredKeys: []string{"a", "b"}}, " \n{\"b\" : null, \"\\u0061\"\t: {}}", ""},
		{"required and absent", limits{RequiredKeys: []string{"a", "b"}}, `{"a":1}`, `lack the key "b"`},
		{"required, only deep down", limits{RequiredKeys: []string{"a"}}, `{"b":{"a":1}}`, `lack the key "a"`},
		{"required, only as a value", limits{RequiredKeys: []string{"a"}}, `{"b":"a"}`, `lack the key "a"`},
		{"required of an empty object", limits{RequiredKeys: []string{"a"}}, `{}`, `lack the key "a"`},
		{"required of an array", limits{RequiredKeys: []string{"a"}}, `[{"a":1}]`,
			`not an object: want one with the key "a"`},
		{"required of a string", limits{RequiredKeys: []string{"a"}}, `"{a"`, "not an object"},
		{"required of no args", limits{RequiredKeys: []string{"a"}}, "", "not an object"},
		{"no args", limits{MaxStringBytes: 1, MaxDepth: 1, ForbiddenKeys: []string{"a"}}, "", ""},
		{"twice the same key", limits{RequiredKeys: []string{"a"}, ForbiddenKeys: []string{"b"}}, `{"a":1,"a":2}`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client, err := pawl.New(nil, test.limits)
			if err != nil {
				t.Fatal(err)
			}
			var args []byte
			if test.args != "" {
				args = []byte(test.args)
			}
			err = client.Validate(pawl.JobSpec{Args: pawl.Raw("k", args)})
			if test.reason == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			invalid, ok := errors.AsType[*pawl.InvalidError](err)
			if !ok || invalid.Field != "Args" || !strings.Contains(invalid.Reason, test.reason) {
				t.Errorf("got %v, want %q", err, test.reason)
			}
		})
	}
}

func TestValidationIsAllOrNone(t *testing.T) {
	t.Parallel()
	client, pool := install(t, func(c *pawl.Config) { c.RequiredKeys = []string{"n"} })
	jobs := notes(3)
	jobs[2].Args = pawl.Raw("note", []byte(`{"m":1}`))
	_, many := client.InsertMany(t.Context(), jobs)
	_, one := client.Insert(t.Context(), jobs[2])
	for index, err := range map[int]error{2: many, 0: one} {
		if invalid, ok := errors.AsType[*pawl.InvalidError](err); !ok || invalid.Index != index {
			t.Errorf("got %v, want an *InvalidError of job %d", err, index)
		}
	}
	if n := liveRows(t, pool); n != 0 {
		t.Errorf("%d rows after inserts that were refused", n)
	}
	insert(t, client, Note{1})
}

func TestNewRefusesAWrongConfiguration(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]pawl.Config{
		"ArgsBytes":                  {MaxArgsBytes: -1},
		"StringBytes":                {MaxStringBytes: -1},
		"Depth":                      {MaxDepth: -1},
		`"k" is in RequiredKeys and`: {RequiredKeys: []string{"k"}, ForbiddenKeys: []string{"k"}},
		"InsertRate: N, Per or":      {InsertRate: pawl.Rate{N: -1}},
		"InsertRate: N, Per":         {InsertRate: pawl.Rate{N: 1, Per: -1}},
		"N, Per or Burst":            {InsertRate: pawl.Rate{N: 1, Burst: -1}},
		"N is zero":                  {InsertRate: pawl.Rate{Burst: 5}},
	} {
		if _, err := pawl.New(nil, config); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want it to name %s", err, name)
		}
	}
}
