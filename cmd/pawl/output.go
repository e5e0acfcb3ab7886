package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

var formats = []string{"table", "json", "csv", "yaml"}

func outputTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "output",
		Short: "How answers are written: --format and --out",
		Long: `Answers go to standard output, or to the file of --out; questions, progress, warnings and the log go to standard error.

  --format table  for people: boxed on a terminal, else columns of plain text under a header; no promise is made of it
  --format json   a list is an array, [] if it is empty; one thing is an object. Names stay what they are: fields may be added
  --format csv    a header and a line for each
  --format yaml   as json

Times are RFC 3339 in UTC. Durations are written for people in tables (1.25s, 3m20s, 7d12h); elsewhere they are numbers of
seconds, and the field's name ends in _seconds. What is not known or never happened is empty in tables and csv, else null. Bytes
are base64. What is itself a list or an object is JSON in a csv. Commands that go on (tail, --watch) write a line for each, in json an
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

// writeLines writes plain columns, and widens those that are too narrow first.
func writeLines(out io.Writer, columns []column, widths []int, lines [][]string) error {
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], ansi.StringWidth(cell))
		}
	}
	w := bufio.NewWriter(out)
	for _, line := range lines {
		end := len(line) // Of what is not empty: lines do not end in spaces.
		for end > 0 && line[end-1] == "" {
			end--
		}
		for i, cell := range line[:end] {
			gap := strings.Repeat(" ", widths[i]-ansi.StringWidth(cell))
			switch {
			case columns[i].right:
				w.WriteString(gap + cell)
			case i == end-1:
				w.WriteString(cell)
			default:
				w.WriteString(cell + gap)
			}
			if i < end-1 {
				w.WriteString("  ")
			}
		}
		w.WriteByte('\n')
	}
	return w.Flush()
}

var (
	bold  = lipgloss.NewStyle().Bold(true)
	faint = lipgloss.NewStyle().Faint(true)
)

func printTable(out io.Writer, list reflect.Value) error {
	columns := shown(columnsOf(list.Type()))
	width := outputWidth(out)
	text := tableCell
	if width > 0 {
		text = screenCell
	}
	lines := [][]string{titles(columns)}
	for _, row := range rows(list) {
		lines = append(lines, cells(row, columns, text))
	}
	if width == 0 {
		return writeLines(out, columns, make([]int, len(columns)), lines)
	}
	boxed := box(columns, lines)
	if lipgloss.Width(boxed) > width {
		if len(lines) > 1 {
			columns, lines = filled(columns, lines)
		}
		boxed = box(columns, fit(lines, width))
	}
	_, err := lipgloss.Fprintln(out, boxed)
	return err
}

// fit cuts titles that are wider than what is under them, and then breaks what is in the widest columns, so that a box of the lines is no
// wider than so much.
func fit(lines [][]string, width int) [][]string {
	widths, content := make([]int, len(lines[0])), make([]int, len(lines[0]))
	total := 1
	for i := range widths {
		for _, line := range lines[1:] {
			content[i] = max(content[i], ansi.StringWidth(line[i]))
		}
		widths[i] = max(content[i], ansi.StringWidth(lines[0][i]))
		total += widths[i] + 3
	}
	const least = 4
	for ; total > width; total-- {
		widest, idle := 0, -1 // The widest, and that with the most room beside its content.
		for i, w := range widths {
			if w > widths[widest] {
				widest = i
			}
			if w > max(content[i], least) && (idle < 0 || w-content[i] > widths[idle]-content[idle]) {
				idle = i
			}
		}
		switch {
		case idle >= 0:
			widths[idle]--
		case widths[widest] > least:
			widths[widest]--
		default:
			total = width // As narrow as it gets.
		}
	}
	broken := make([][]string, len(lines))
	for n, line := range lines {
		for i, cell := range line {
			if n == 0 {
				cell = ansi.Truncate(cell, widths[i], "…")
			}
			broken[n] = append(broken[n], ansi.Wrap(cell, widths[i], ""))
		}
	}
	return broken
}

// filled leaves out columns that are empty in every line.
func filled(columns []column, lines [][]string) (some []column, cut [][]string) {
	cut = make([][]string, len(lines))
	for i, c := range columns {
		if !slices.ContainsFunc(lines[1:], func(line []string) bool { return line[i] != "" }) {
			continue
		}
		some = append(some, c)
		for n, line := range lines {
			cut[n] = append(cut[n], line[i])
		}
	}
	return some, cut
}

func box(columns []column, lines [][]string) string {
	t := table.New().Headers(lines[0]...).Rows(lines[1:]...).Border(lipgloss.RoundedBorder()).BorderStyle(faint)
	t.StyleFunc(func(row, i int) lipgloss.Style {
		style := lipgloss.NewStyle().Padding(0, 1).Bold(row == table.HeaderRow)
		if columns[i].right {
			style = style.Align(lipgloss.Right)
		}
		return style
	})
	return t.Render()
}

// printOne writes a name and a value a line.
func printOne(out io.Writer, v reflect.Value) error {
	columns := columnsOf(v.Type())
	terminal := outputWidth(out) > 0
	var lines [][]string
	for i, value := range cells(v, columns, tableCell) {
		if columns[i].omit && value == "" {
			continue
		}
		title := columns[i].title
		if terminal {
			title = bold.Render(title)
		}
		lines = append(lines, []string{title, value})
	}
	if terminal {
		out = colorprofile.NewWriter(out, os.Environ())
	}
	return writeLines(out, make([]column, 2), make([]int, 2), lines)
}

// column is a field of the struct that is printed.
type column struct {
	name    string // For machines.
	title   string // For people.
	index   []int
	heading string // In tables of a list.
	hidden  bool   // There.
	omit    bool   // From one thing where empty.
	right   bool   // A number.
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	timeType     = reflect.TypeFor[time.Time]()
	rawType      = reflect.TypeFor[json.RawMessage]()
	bytesType    = reflect.TypeFor[[]byte]()
)

// known are the columns of types that were printed before.
var known sync.Map // reflect.Type: []column

func columnsOf(t reflect.Type) (columns []column) {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if before, ok := known.Load(t); ok {
		return before.([]column)
	}
	for _, field := range reflect.VisibleFields(t) {
		if !field.IsExported() || field.Anonymous {
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		if name == "" {
			panic(fmt.Sprintf("%v.%s is printed and has no name: give it a json tag", t, field.Name))
		}
		c := column{name: name, title: strings.ReplaceAll(name, "_", " "), index: field.Index}
		inList, rest, _ := strings.Cut(field.Tag.Get("table"), ",")
		c.hidden, c.omit = inList == "-", rest == "omitempty"
		if c.heading = strings.ToUpper(inList); c.heading == "" {
			c.heading = strings.ToUpper(c.title)
		}
		of := field.Type
		if of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		c.right = of.Kind() >= reflect.Int && of.Kind() <= reflect.Float64
		if of == durationType {
			c.name += "_seconds"
		}
		columns = append(columns, c)
	}
	known.Store(t, columns)
	return columns
}

// shown are the columns of a table of a list.
func shown(columns []column) (list []column) {
	for _, c := range columns {
		if !c.hidden {
			list = append(list, c)
		}
	}
	return list
}

func names(columns []column) (names []string) {
	for _, c := range columns {
		names = append(names, c.name)
	}
	return names
}

func titles(columns []column) (titles []string) {
	for _, c := range columns {
		titles = append(titles, c.heading)
	}
	return titles
}

func rows(v reflect.Value) []reflect.Value {
	if v.Kind() != reflect.Slice {
		return []reflect.Value{v}
	}
	list := make([]reflect.Value, v.Len())
	for i := range list {
		list[i] = reflect.Indirect(v.Index(i))
	}
	return list
}

func cells(row reflect.Value, columns []column, text func(reflect.Value) string) []string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = text(row.FieldByIndex(c.index))
	}
	return list
}

// object is a JSON object whose members keep their order.
type object []member

type member struct {
	name  string
	value any
}

func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		name, _ := json.Marshal(m.name)
		b.Write(name)
		b.WriteByte(':')
		value, err := toJSON(m.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func toJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// machine is a value as json and yaml have it: objects, slices and what JSON knows itself.
func machine(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Invalid:
		return nil
	case reflect.Pointer, reflect.Interface:
		return machine(v.Elem())
	}
	switch v.Type() {
	case durationType:
		return v.Interface().(time.Duration).Seconds()
	case timeType:
		if t := v.Interface().(time.Time); !t.IsZero() {
			return t.UTC().Format(time.RFC3339Nano)
		}
		return nil
	case rawType:
		if v.Len() == 0 {
			return nil
		}
		return v.Interface()
	case bytesType:
		if v.IsNil() {
			return nil
		}
		return base64.StdEncoding.EncodeToString(v.Bytes())
	}
	switch v.Kind() {
	case reflect.Struct:
		o := object{}
		for _, c := range columnsOf(v.Type()) {
			o = append(o, member{c.name, machine(v.FieldByIndex(c.index))})
		}
		return o
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = machine(v.Index(i))
		}
		return list
	case reflect.Map:
		o := object{}
		for _, key := range slices.SortedFunc(slices.Values(v.MapKeys()), func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) }) {
			o = append(o, member{key.String(), machine(v.MapIndex(key))})
		}
		return o
	case reflect.String:
		return strings.ToValidUTF8(v.String(), "\ufffd")
	}
	return v.Interface()
}

// elderYAML are strings that readers of YAML 1.1 take for booleans or for numbers to the base of 60.
var elderYAML = regexp.MustCompile(`^(?i:y|yes|n|no|on|off)$|^[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$`)

func toYAML(v any) *yaml.Node {
	scalar := func(tag, value string) *yaml.Node {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
	}
	switch v := v.(type) {
	case object:
		node := &yaml.Node{Kind: yaml.MappingNode}
		for _, m := range v {
			node.Content = append(node.Content, toYAML(m.name), toYAML(m.value))
		}
		return node
	case map[string]any:
		node := &yaml.Node{Kind: yaml.MappingNode}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			node.Content = append(node.Content, toYAML(name), toYAML(v[name]))
		}
		return node
	case []any:
		node := &yaml.Node{Kind: yaml.SequenceNode}
		if len(v) == 0 {
			node.Style = yaml.FlowStyle
		}
		for _, item := range v {
			node.Content = append(node.Content, toYAML(item))
		}
		return node
	case json.RawMessage:
		decoder := json.NewDecoder(bytes.NewReader(v))
		decoder.UseNumber()
		var value any
		if decoder.Decode(&value) != nil {
			return scalar("!!str", string(v))
		}
		return toYAML(value)
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return scalar("!!float", v.String())
		}
		return scalar("!!int", v.String())
	case float64:
		return toYAML(json.Number(strconv.FormatFloat(v, 'g', -1, 64)))
	case nil:
		return scalar("!!null", "null")
	case string:
		node := scalar("!!str", v) // Quoted if it needs to be, today;
		if elderYAML.MatchString(v) {
			node.Style = yaml.DoubleQuotedStyle
		}
		return node
	case bool:
		return scalar("!!bool", strconv.FormatBool(v))
	}
	return toYAML(json.Number(fmt.Sprint(v)))
}

func csvCell(v reflect.Value) string {
	switch value := machine(v).(type) {
	case nil:
		return ""
	case string:
		return value
	default:
		text, _ := toJSON(value)
		return string(text)
	}
}

func tableCell(v reflect.Value) string {
	v = reflect.Indirect(v)
	if !v.IsValid() {
		return ""
	}
	switch value := v.Interface().(type) {
	case time.Duration:
		return formatDuration(value)
	case time.Time:
		if value.IsZero() {
			return ""
		}
		return value.UTC().Format(time.RFC3339)
	case bool:
		if value {
			return "yes"
		}
		return "no"
	case float64:
		return strconv.FormatFloat(value, 'f', -1, 64)
	case []string:
		return printable(strings.Join(value, ", "))
	}
	if v.Kind() == reflect.Map || v.Kind() == reflect.Slice && v.Type() != rawType && v.Type() != bytesType {
		if v.Len() == 0 {
			return ""
		}
	}
	return printable(csvCell(v))
}

// screenCell is tableCell with times in few columns, for a table on a terminal: today's without the date.
func screenCell(v reflect.Value) string {
	if at, ok := reflect.Indirect(v).Interface().(time.Time); ok && !at.IsZero() {
		at = at.UTC()
		if now := time.Now().UTC(); at.Format(time.DateOnly) != now.Format(time.DateOnly) {
			return at.Format("2006-01-02 15:04")
		}
		return at.Format(time.TimeOnly)
	}
	return tableCell(v)
}

// printable has no control characters: what a stranger put into a job must not steer the terminal, nor break the lines.
func printable(text string) string {
	if strings.IndexFunc(text, unsafe) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if unsafe(r) {
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// unsafe are control characters, and those that turn the direction of writing.
func unsafe(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control) || r == '\u2028' || r == '\u2029'
}
