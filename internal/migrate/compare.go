package migrate

import (
	"regexp"
	"slices"
	"strings"
)

// An Object is a table, view, index, sequence or function of a schema, as sql/query/catalog.sql describes it. Its
// definition calls the schema by the source's name for it.
type Object struct {
	Kind       string // "table", "view", "index", "sequence" or "function".
	Name       string
	Definition string
	Settings   string // The storage settings of a table.
	Body       string // The body of a function.
	Valid      bool   // Whether an index is valid; true for other kinds.
}

// ScanObject reads a row of catalog.sql: kind, name, definition, settings, body, valid.
func ScanObject(row interface{ Scan(dest ...any) error }) (o Object, err error) {
	var settings, body *string
	err = row.Scan(&o.Kind, &o.Name, &o.Definition, &settings, &body, &o.Valid)
	if settings != nil {
		o.Settings = *settings
	}
	if body != nil {
		o.Body = *body
	}
	return o, err
}

// A Difference is an object that is missing from a schema, or that is not as the source makes it.
type Difference struct {
	Kind string // "table", "column", "view", "index", "sequence", "function", or "setting" for a table's storage settings.
	Name string // Such as job, job.epoch or job_pkey.
	Want string // The source's definition. For a setting, all settings of the table.

	// Have is the definition in the schema; "" if the object is missing. It equals Want if an index is not valid, or if
	// only the body of a function differs.
	Have string
}

// Dump formats objects as schema.sql. parseDump reads that file, which has no bodies of functions.
func Dump(objects []Object) string {
	var b strings.Builder
	b.WriteString("-- What the migrations and functions make, for reading. Made by `make schema`; a test compares it.\n")
	for _, o := range objects {
		b.WriteString("\n" + o.Definition)
		if o.Settings != "" {
			b.WriteString(" with (" + o.Settings + ")")
		}
		b.WriteString(";\n")
	}
	return b.String()
}

var (
	dumped = regexp.MustCompile(
		`^(table|view|sequence|function|CREATE(?: UNIQUE)? INDEX) (?:IF NOT EXISTS )?"?([^\s("]+)`,
	)
	dumpedWith   = regexp.MustCompile(`(?s)^(table .*?) with \(([^()]*)\)$`)
	functionOf   = regexp.MustCompile(`(?s)create or replace function \w+\.(\w+)\(.*?\$\$(.*)\$\$`)
	indexedTable = regexp.MustCompile(`\sON (?:ONLY )?\w+\.(\w+) `)
	firstWordOf  = regexp.MustCompile(`^\S+`)
)

func parseDump(text string) (objects []Object) {
	for part := range strings.SplitSeq(text, ";\n") {
		part = strings.TrimSpace(part)
		for strings.HasPrefix(part, "--") {
			_, part, _ = strings.Cut(part, "\n")
			part = strings.TrimSpace(part)
		}
		found := dumped.FindStringSubmatch(part)
		if found == nil {
			continue
		}
		o := Object{Kind: found[1], Name: found[2], Definition: part, Valid: true}
		if strings.HasSuffix(o.Kind, "INDEX") {
			o.Kind = "index"
		}
		if with := dumpedWith.FindStringSubmatch(part); with != nil {
			o.Definition, o.Settings = with[1], with[2]
		}
		objects = append(objects, o)
	}
	return objects
}

// Compare returns what is missing from a schema or differs there. It ignores objects that the source does not make.
// newer says that the schema is of a later version. Then indexes, sequences and functions only have to exist, since a
// later version may have replaced them.
func (s *Source) Compare(have []Object, schema string, newer bool) (differences []Difference) {
	installed := catalog{}
	for _, o := range have {
		key := objectKey{o.Kind, o.Name}
		installed[key] = append(installed[key], o)
	}
	for _, want := range s.dump {
		differences = append(differences, installed.compare(want, newer)...)
	}
	if newer {
		return differences
	}
	for _, text := range s.Functions {
		found := functionOf.FindStringSubmatch(text)
		if found == nil {
			continue
		}
		name, body := found[1], found[2]
		known := slices.ContainsFunc(differences, func(d Difference) bool { return d.Kind == "function" && d.Name == name })
		same := slices.ContainsFunc(installed[objectKey{"function", name}], func(o Object) bool {
			return o.Body == s.Into(schema, body)
		})
		if !known && !same {
			differences = append(differences, Difference{Kind: "function", Name: name, Want: body, Have: body})
		}
	}
	return differences
}

type objectKey struct{ kind, name string }

// A catalog is what a schema has. Several functions may share a name.
type catalog map[objectKey][]Object

// compare compares one object of the source with those of its name.
func (c catalog) compare(want Object, newer bool) []Difference {
	if want.Kind == "index" && len(c[objectKey{"table", indexedTable.FindStringSubmatch(want.Definition)[1]}]) == 0 {
		return nil // The table is missing, and that is a difference already.
	}
	have := c[objectKey{want.Kind, want.Name}]
	d := Difference{Kind: want.Kind, Name: want.Name, Want: want.Definition}
	switch {
	case len(have) == 0:
		return []Difference{d}
	case want.Kind == "table":
		return compareTable(want, have[0])
	case newer, slices.ContainsFunc(have, func(o Object) bool { return o.Definition == want.Definition && o.Valid }):
		return nil
	}
	call, _, _ := strings.Cut(want.Definition, "\n")
	for _, o := range have {
		// A function with other parameters is another function.
		if want.Kind != "function" || strings.HasPrefix(o.Definition, call) {
			d.Have = o.Definition
		}
	}
	return []Difference{d}
}

// compareTable compares the columns, the partitioning and the settings of a table.
func compareTable(want, have Object) (differences []Difference) {
	lines := strings.Split(have.Definition, "\n")
	for line := range strings.SplitSeq(want.Definition, "\n") {
		line = strings.TrimSuffix(line, ",")
		if slices.ContainsFunc(lines, func(l string) bool { return strings.TrimSuffix(l, ",") == line }) {
			continue
		}
		column, isColumn := strings.CutPrefix(line, "  ")
		if !isColumn { // The last line says how the table is partitioned.
			partitioned := lines[len(lines)-1]
			differences = append(differences, Difference{Kind: "table", Name: want.Name, Want: line, Have: partitioned})
			continue
		}
		name := firstWordOf.FindString(column)
		d := Difference{Kind: "column", Name: want.Name + "." + name, Want: column}
		for _, l := range lines {
			if strings.HasPrefix(l, "  "+name+" ") {
				d.Have = strings.TrimSuffix(strings.TrimSpace(l), ",")
			}
		}
		differences = append(differences, d)
	}
	sorted := func(settings string) []string { return slices.Sorted(strings.SplitSeq(settings, ", ")) }
	if !slices.Equal(sorted(want.Settings), sorted(have.Settings)) {
		d := Difference{Kind: "setting", Name: want.Name, Want: want.Settings, Have: have.Settings}
		differences = append(differences, d)
	}
	return differences
}
