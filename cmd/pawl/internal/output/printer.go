// Package output writes what commands print: as tables for people, or as json, csv or yaml for programs.
package output

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Formats lists the formats of Printer.
var Formats = []string{"table", "json", "csv", "yaml"}

// A Printer writes the rows of a command in one of the Formats.
//
// A row is a struct. Each exported field has a name in its json tag. A tag `table:"-"` leaves the field out of tables
// of a list. A tag `table:"-,omitempty"` also leaves it out of the table of a single row if it is empty. Any other text
// before the comma is the column's title in a list. The name of a time.Duration must not contain its unit.
type Printer struct {
	Out    io.Writer
	Format string

	begun  bool  // PrintNext has written a row.
	widths []int // The widths of PrintNext's columns so far.
}

// Print writes rows: a slice of structs as a list, a struct or a pointer to one as a single row.
func (p *Printer) Print(rows any) error {
	v := reflect.Indirect(reflect.ValueOf(rows))
	switch p.Format {
	case "json":
		text, err := MarshalJSON(plain(v))
		if err != nil {
			return err
		}
		var indented bytes.Buffer
		_ = json.Indent(&indented, text, "", "  ")
		indented.WriteByte('\n')
		_, err = p.Out.Write(indented.Bytes())
		return err
	case "yaml":
		return writeYAML(p.Out, v)
	case "csv":
		columns := columnsOf(v.Type())
		p.writeHeader(columns)
		return writeCSV(p.Out, columns, v)
	default:
		if v.Kind() == reflect.Slice {
			return printTable(p.Out, v)
		}
		return printOne(p.Out, v)
	}
}

// PrintPages writes a list that arrives in slices of one type, in constant memory. It prints what Print prints, except
// that the table of more than one page has no box. If there is more than one page, the first must not be empty.
func (p *Printer) PrintPages(pages iter.Seq2[any, error]) error {
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
		return p.Print(first)
	}
	write, begin, end := p.pageWriter(columnsOf(reflect.TypeOf(first)))
	if _, err := io.WriteString(p.Out, begin); err != nil {
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
	_, err = io.WriteString(p.Out, end)
	return err
}

// pageWriter returns what writes each page, and the text before the first page and after the last.
func (p *Printer) pageWriter(columns []column) (write func(page reflect.Value) error, begin, end string) {
	switch p.Format {
	case "json":
		comma := ""
		return func(page reflect.Value) error {
			var b bytes.Buffer
			for _, row := range rowsOf(page) {
				text, err := MarshalJSON(plain(row))
				if err != nil {
					return err
				}
				b.WriteString(comma + "\n  ")
				_ = json.Indent(&b, text, "  ", "  ")
				comma = ","
			}
			_, err := p.Out.Write(b.Bytes())
			return err
		}, "[", "\n]\n"
	case "yaml":
		return func(page reflect.Value) error {
			if page.Len() == 0 {
				return nil // It would be written as [].
			}
			return writeYAML(p.Out, page)
		}, "", ""
	case "csv":
		p.writeHeader(columns)
		return func(page reflect.Value) error { return writeCSV(p.Out, columns, page) }, "", ""
	}
	columns = shown(columns)
	widths := make([]int, len(columns))
	lines := [][]string{titles(columns)}
	return func(page reflect.Value) error {
		for _, row := range rowsOf(page) {
			lines = append(lines, cells(row, columns, tableCell))
		}
		err := writeLines(p.Out, columns, widths, lines)
		lines = nil
		return err
	}, "", ""
}

// PrintNext writes one more row of an endless list.
func (p *Printer) PrintNext(row any) error {
	v := reflect.Indirect(reflect.ValueOf(row))
	first := !p.begun
	p.begun = true
	switch p.Format {
	case "json":
		text, err := MarshalJSON(plain(v))
		if err != nil {
			return err
		}
		_, err = p.Out.Write(append(text, '\n'))
		return err
	case "yaml":
		text, err := yaml.Marshal(encodeYAML(plain(v)))
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.Out, "---\n%s", text)
		return err
	case "csv":
		columns := columnsOf(v.Type())
		if first {
			p.writeHeader(columns)
		}
		return writeCSV(p.Out, columns, v)
	default:
		columns := shown(columnsOf(v.Type()))
		lines := [][]string{cells(v, columns, tableCell)}
		if first {
			p.widths = make([]int, len(columns))
			lines = slices.Insert(lines, 0, titles(columns))
		}
		return writeLines(p.Out, columns, p.widths, lines)
	}
}

// JSON returns a row as Print writes it in json, on one line.
func JSON(row any) ([]byte, error) { return MarshalJSON(plain(reflect.ValueOf(row))) }

func (p *Printer) writeHeader(columns []column) {
	w := csv.NewWriter(p.Out)
	_ = w.Write(names(columns))
	w.Flush()
}

func writeCSV(out io.Writer, columns []column, v reflect.Value) error {
	w := csv.NewWriter(out)
	for _, row := range rowsOf(v) {
		_ = w.Write(cells(row, columns, csvCell))
	}
	w.Flush()
	return w.Error()
}

func writeYAML(out io.Writer, v reflect.Value) error {
	encoder := yaml.NewEncoder(out)
	encoder.SetIndent(2)
	if err := encoder.Encode(encodeYAML(plain(v))); err != nil {
		return err
	}
	return encoder.Close()
}
