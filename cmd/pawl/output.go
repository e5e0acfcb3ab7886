package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"reflect"
	"slices"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

var formats = []string{"table", "json", "csv", "yaml"}

func outputTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "output",
		Short: "How answers are written: --format and --out",
		Long: `Answers go to standard output, or to the file of --out; questions, progress, warnings and the log go to standard error.

  --format table  for people: boxed on a terminal and long texts cut (findings whole, one below the other), else columns of plain text
                  under a header; no promise is made of it
  --format json   a list is an array, [] if it is empty; one thing is an object. Names stay what they are: fields may be added
  --format csv    a header and a line for each
  --format yaml   as json

Times are RFC 3339 in UTC. Durations are written for people in tables (1.25s, 3m20s, 7d12h); elsewhere they are numbers of
seconds, and the field's name ends in _seconds. What is not known or never happened is empty in tables and csv, else null; a text
nobody gave is "". Bytes are base64. What is itself a list or an object is JSON in a csv. Commands that go on (tail, --watch) write a line for each, in json an
object.

Durations are read as 500ms, 90s, 1h30m or 7d; a number alone is seconds.`,
	}
}

// print writes a command's answer: a slice of structs is a list, one struct (or a pointer to it) one thing. Each exported field has
// a name in its json tag; with `table:"-"` it is left out of tables of a list, and with `table:"-,omitempty"` of one thing too where it
// is empty; what else is before the comma is the column's title in a list. A time.Duration's name must not say its unit.
func (p *program) print(answer any) error {
	s, err := p.settings()
	if err != nil {
		return err
	}
	out, err := p.output()
	if err != nil {
		return err
	}
	v := reflect.Indirect(reflect.ValueOf(answer))
	switch s.Format {
	case "json":
		text, err := toJSON(machine(v))
		if err != nil {
			return err
		}
		var indented bytes.Buffer
		json.Indent(&indented, text, "", "  ")
		indented.WriteByte('\n')
		_, err = out.Write(indented.Bytes())
		return err
	case "yaml":
		return writeYAML(out, v)
	case "csv":
		columns := columnsOf(v.Type())
		w := csv.NewWriter(out)
		w.Write(names(columns))
		w.Flush()
		return writeCSV(out, columns, v)
	default:
		if v.Kind() == reflect.Slice {
			return printTable(out, v)
		}
		return printOne(out, v)
	}
}

// printPages writes a list that comes in slices of one type, none of which is kept: as print does, but a table of more than one is plain.
// If there is more than one, the first is not empty.
func (p *program) printPages(pages iter.Seq2[any, error]) error {
	next, stop := iter.Pull2(pages)
	defer stop()
	first, err, _ := next()
	if err != nil {
		return err
	}
	page, err, more := next()
	if err != nil {
		return err
	}
	if !more {
		return p.print(first)
	}
	s, err := p.settings()
	if err != nil {
		return err
	}
	out, err := p.output()
	if err != nil {
		return err
	}
	columns := columnsOf(reflect.TypeOf(first))
	begin, end := "", ""
	var write func(page reflect.Value) error
	switch s.Format {
	case "json":
		begin, end = "[", "\n]\n"
		comma := ""
		write = func(page reflect.Value) error {
			var b bytes.Buffer
			for _, row := range rows(page) {
				text, err := toJSON(machine(row))
				if err != nil {
					return err
				}
				b.WriteString(comma + "\n  ")
				json.Indent(&b, text, "  ", "  ")
				comma = ","
			}
			_, err := out.Write(b.Bytes())
			return err
		}
	case "yaml":
		write = func(page reflect.Value) error {
			if page.Len() == 0 {
				return nil // It would say [].
			}
			return writeYAML(out, page)
		}
	case "csv":
		write = func(page reflect.Value) error { return writeCSV(out, columns, page) }
		w := csv.NewWriter(out)
		w.Write(names(columns))
		w.Flush()
	default:
		columns := shown(columns)
		widths := make([]int, len(columns))
		lines := [][]string{titles(columns)}
		write = func(page reflect.Value) error {
			for _, row := range rows(page) {
				lines = append(lines, cells(row, columns, tableCell))
			}
			err := writeLines(out, columns, widths, lines)
			lines = nil
			return err
		}
	}
	if _, err := io.WriteString(out, begin); err != nil {
		return err
	}
	if err := write(reflect.ValueOf(first)); err != nil {
		return err
	}
	for more {
		if err := write(reflect.ValueOf(page)); err != nil {
			return err
		}
		if page, err, more = next(); err != nil {
			return err
		}
	}
	_, err = io.WriteString(out, end)
	return err
}

func writeYAML(out io.Writer, v reflect.Value) error {
	encoder := yaml.NewEncoder(out)
	encoder.SetIndent(2)
	if err := encoder.Encode(toYAML(machine(v))); err != nil {
		return err
	}
	return encoder.Close()
}

func writeCSV(out io.Writer, columns []column, v reflect.Value) error {
	w := csv.NewWriter(out)
	for _, row := range rows(v) {
		w.Write(cells(row, columns, csvCell))
	}
	w.Flush()
	return w.Error()
}

// stream is what printNext remembers.
type stream struct {
	begun  bool
	widths []int // Of the columns so far.
}

// printNext writes one more struct of a list without an end.
func (p *program) printNext(row any) error {
	s, err := p.settings()
	if err != nil {
		return err
	}
	out, err := p.output()
	if err != nil {
		return err
	}
	v := reflect.Indirect(reflect.ValueOf(row))
	first := !p.streamed.begun
	p.streamed.begun = true
	switch s.Format {
	case "json":
		text, err := toJSON(machine(v))
		if err != nil {
			return err
		}
		_, err = out.Write(append(text, '\n'))
		return err
	case "yaml":
		text, err := yaml.Marshal(toYAML(machine(v)))
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "---\n%s", text)
		return err
	case "csv":
		w := csv.NewWriter(out)
		columns := columnsOf(v.Type())
		if first {
			w.Write(names(columns))
		}
		w.Write(cells(v, columns, csvCell))
		w.Flush()
		return w.Error()
	default:
		columns := shown(columnsOf(v.Type()))
		lines := [][]string{cells(v, columns, tableCell)}
		if first {
			p.streamed.widths = make([]int, len(columns))
			lines = slices.Insert(lines, 0, titles(columns))
		}
		return writeLines(out, columns, p.streamed.widths, lines)
	}
}
