package migrate

import (
	"fmt"
	"slices"
	"testing"
	"testing/fstest"
)

const jobTable = "table job (\n  id bigint not null,\n  kind text\n)"

// compared returns a source with one table, one index, one sequence and one function.
func compared(t *testing.T) *Source {
	t.Helper()
	s, err := Load(fstest.MapFS{
		"migration/0001_one.sql": {Data: []byte("select 1;")},
		"function/a/f.sql":       {Data: []byte("create or replace function pawl.f() returns void as $$ body $$;")},
		"schema.sql": {Data: []byte(Dump([]Object{
			{Kind: "table", Definition: jobTable, Settings: "fillfactor=50, a=1"},
			{Kind: "index", Definition: "CREATE INDEX job_kind ON pawl.job USING btree (kind)"},
			{Kind: "sequence", Definition: "sequence pos cache 1"},
			{Kind: "function", Definition: "function f()\n  returns void"},
		}))},
	}, "pawl.")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// installed are the objects of a schema that is as the source of compared makes it.
func installed() []Object {
	return []Object{
		{Kind: "table", Name: "job", Definition: jobTable, Settings: "a=1, fillfactor=50", Valid: true},
		{Kind: "index", Name: "job_kind", Definition: "CREATE INDEX job_kind ON pawl.job USING btree (kind)", Valid: true},
		{Kind: "sequence", Name: "pos", Definition: "sequence pos cache 1", Valid: true},
		{Kind: "function", Name: "f", Definition: "function f()\n  returns void", Body: " body ", Valid: true},
		{Kind: "table", Name: "theirs", Definition: "table theirs (\n  n integer\n)", Valid: true},
	}
}

func TestCompareNamesEachDifference(t *testing.T) {
	t.Parallel()
	const table, index, sequence, function = 0, 1, 2, 3
	for name, test := range map[string]struct {
		edit  func([]Object) []Object
		want  []string // Kind, name and what the schema has.
		newer []string // The same if the schema is of a later version.
	}{
		"none": {func(o []Object) []Object { return o }, nil, nil},
		"table missing": {func(o []Object) []Object { return o[index:] },
			[]string{`table job ""`}, []string{`table job ""`}}, // The index is not named: it went with its table.
		"column missing": {func(o []Object) []Object {
			o[table].Definition = "table job (\n  id bigint not null\n)"
			return o
		}, []string{`column job.kind ""`}, []string{`column job.kind ""`}},
		"column of another type": {func(o []Object) []Object {
			o[table].Definition = "table job (\n  id integer not null,\n  kind text\n)"
			return o
		}, []string{`column job.id "id integer not null"`}, []string{`column job.id "id integer not null"`}},
		"partitioned": {func(o []Object) []Object {
			o[table].Definition += " partition by range (id)"
			return o
		}, []string{`table job ") partition by range (id)"`}, []string{`table job ") partition by range (id)"`}},
		"settings": {func(o []Object) []Object {
			o[table].Settings = "a=1"
			return o
		}, []string{`setting job "a=1"`}, []string{`setting job "a=1"`}},
		"index not valid": {func(o []Object) []Object {
			o[index].Valid = false
			return o
		}, []string{`index job_kind "CREATE INDEX job_kind ON pawl.job USING btree (kind)"`}, nil},
		"sequence with a cache": {func(o []Object) []Object {
			o[sequence].Definition = "sequence pos cache 20"
			return o
		}, []string{`sequence pos "sequence pos cache 20"`}, nil},
		"function missing": {func(o []Object) []Object { return slices.Delete(o, function, function+1) },
			[]string{`function f ""`}, []string{`function f ""`}},
		"function of other parameters": {func(o []Object) []Object {
			o[function].Definition = "function f(n integer)\n  returns void"
			return o
		}, []string{`function f ""`}, nil},
		"another body": {func(o []Object) []Object {
			o[function].Body = " other "
			return o
		}, []string{`function f " body "`}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, newer := range []bool{false, true} {
				var got []string
				for _, d := range compared(t).Compare(test.edit(installed()), "pawl", newer) {
					got = append(got, fmt.Sprintf("%s %s %q", d.Kind, d.Name, d.Have))
				}
				want := test.want
				if newer {
					want = test.newer
				}
				if !slices.Equal(got, want) {
					t.Errorf("newer %t: %q, want %q", newer, got, want)
				}
			}
		})
	}
}
