package output

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"
)

// A column is a field of the struct that is printed.
type column struct {
	name    string // The name in json, csv and yaml.
	title   string // The name in the table of a single row.
	index   []int
	heading string // The name in the table of a list.
	hidden  bool   // The table of a list leaves the column out.
	omit    bool   // The table of a single row leaves the column out if it is empty.
	right   bool   // The column is aligned to the right: it holds numbers.
	mark    bool   // The table of a list leaves the column out if no row is marked.
}

var (
	markType     = reflect.TypeFor[Mark]()
	durationType = reflect.TypeFor[time.Duration]()
	timeType     = reflect.TypeFor[time.Time]()
	rawType      = reflect.TypeFor[json.RawMessage]()
	bytesType    = reflect.TypeFor[[]byte]()
)

// Mark is a bool whose column a table shows only if it is true in some row.
type Mark bool

var columnsByType sync.Map // reflect.Type: []column

func columnsOf(t reflect.Type) (columns []column) {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if before, ok := columnsByType.Load(t); ok {
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
			panic(fmt.Sprintf("%v.%s is printed and has no name: add a json tag", t, field.Name))
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
		c.mark = of == markType
		if of == durationType {
			c.name += "_seconds"
		}
		columns = append(columns, c)
	}
	columnsByType.Store(t, columns)
	return columns
}

// shown returns the columns that the table of a list has.
func shown(columns []column) (list []column) {
	for _, c := range columns {
		if !c.hidden {
			list = append(list, c)
		}
	}
	return list
}

// FieldNames returns the names that a row type has in json, in order.
func FieldNames(row any) []string { return names(columnsOf(reflect.TypeOf(row))) }

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

// rowsOf returns the elements of a slice, or the value itself if it is not a slice.
func rowsOf(v reflect.Value) []reflect.Value {
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
