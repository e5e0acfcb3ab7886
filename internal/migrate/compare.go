package migrate

import (
	"regexp"
	"slices"
	"strings"
)

// An Object is something in a schema, as a catalog query tells it. In Definition the schema goes by the source's name for it.
type Object struct {
	Kind       string // table, index, sequence, function
	Name       string
	Definition string
	Settings   string // Of a table's storage.
	Body       string // Of a function.
	Valid      bool   // Of an index; true for the others.
}

// ScanObject reads a row of a catalog query: kind, name, definition, settings, body, valid.
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

// A Difference is something that is not as a source makes it.
type Difference struct {
	Kind string // table, column, index, sequence, function, setting
	Name string // job, job.epoch, job_pkey, …
	Want string // Its definition; of a setting, all settings of the table.
	Have string // "": it is missing. Of a function whose body alone differs it is Want; an index that is not valid has its definition.
}

// Dump writes objects for reading. parseDump reads them again, without bodies.
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
	dumped       = regexp.MustCompile(`^(table|sequence|function|CREATE(?: UNIQUE)? INDEX) (?:IF NOT EXISTS )?"?([^\s("]+)`)
	dumpedWith   = regexp.MustCompile(`(?s)^(table .*?) with \(([^()]*)\)$`)
	functionOf   = regexp.MustCompile(`(?s)create or replace function \w+\.(\w+)\(.*?\$\$(.*)\$\$`)
	indexedTable = regexp.MustCompile(`\sON (?:ONLY )?\w+\.(\w+) `)
	firstWordOf  = regexp.MustCompile(`^\S+`)
)

func parseDump(text string) (objects []Object) {
	for _, part := range strings.Split(text, ";\n") {
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

// Compare says what of the source's is missing from a schema, or different there. What the schema has beyond the source is left
// alone. Where newer is true the schema is of a later version, which may have replaced what is not a table or a column.
func (s *Source) Compare(have []Object, schema string, newer bool) (differences []Difference) {
	by := map[[2]string][]Object{}
	for _, o := range have {
		key := [2]string{o.Kind, o.Name}
		by[key] = append(by[key], o)
	}
	for _, want := range s.dump {
		there := by[[2]string{want.Kind, want.Name}]
		d := Difference{Kind: want.Kind, Name: want.Name, Want: want.Definition}
		switch {
		case want.Kind == "index" && len(by[[2]string{"table", indexedTable.FindStringSubmatch(want.Definition)[1]}]) == 0:
			// It went with its table.
		case len(there) == 0:
			differences = append(differences, d)
		case want.Kind == "table":
			differences = append(differences, compareTable(want, there[0])...)
		case newer:
		case !slices.ContainsFunc(there, func(o Object) bool { return o.Definition == want.Definition && o.Valid }):
			for _, o := range there {
				// A function of other parameters is another function.
				if call, _, _ := strings.Cut(want.Definition, "\n"); want.Kind != "function" || strings.HasPrefix(o.Definition, call) {
					d.Have = o.Definition
				}
			}
			differences = append(differences, d)
		}
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
		there := by[[2]string{"function", name}]
		known := slices.ContainsFunc(differences, func(d Difference) bool { return d.Kind == "function" && d.Name == name })
		if !known && !slices.ContainsFunc(there, func(o Object) bool { return strings.ReplaceAll(o.Body, s.Into(schema, s.Prefix), s.Prefix) == body }) {
			differences = append(differences, Difference{Kind: "function", Name: name, Want: body, Have: body})
		}
	}
	return differences
}

func compareTable(want, have Object) (differences []Difference) {
	lines := strings.Split(have.Definition, "\n")
	for _, line := range strings.Split(want.Definition, "\n") {
		line = strings.TrimSuffix(line, ",")
		column, isColumn := strings.CutPrefix(line, "  ")
		if slices.ContainsFunc(lines, func(l string) bool { return strings.TrimSuffix(l, ",") == line }) {
			continue
		}
		d := Difference{Kind: "table", Name: want.Name, Want: line, Have: lines[len(lines)-1]} // How it is partitioned.
		if isColumn {
			name := firstWordOf.FindString(column)
			d = Difference{Kind: "column", Name: want.Name + "." + name, Want: column}
			for _, l := range lines {
				if strings.HasPrefix(l, "  "+name+" ") {
					d.Have = strings.TrimSuffix(strings.TrimSpace(l), ",")
				}
			}
		}
		differences = append(differences, d)
	}
	sorted := func(settings string) []string { return slices.Sorted(strings.SplitSeq(settings, ", ")) }
	if !slices.Equal(sorted(want.Settings), sorted(have.Settings)) {
		differences = append(differences, Difference{Kind: "setting", Name: want.Name, Want: want.Settings, Have: have.Settings})
	}
	return differences
}
