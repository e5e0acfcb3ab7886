package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"
)

// column is a field of the struct that is printed.
type column struct {
	name    string // For machines.
	title   string // For people.
	index   []int
	heading string // In tables of a list.
	hidden  bool   // There.
	omit    bool   // From one thing where empty.
	right   bool   // A number.
	mark    bool   // Shown where something is marked.
}

var (
	markType     = reflect.TypeFor[mark]()
	durationType = reflect.TypeFor[time.Duration]()
	timeType     = reflect.TypeFor[time.Time]()
	rawType      = reflect.TypeFor[json.RawMessage]()
	bytesType    = reflect.TypeFor[[]byte]()
)

// mark is a bool that tables have where it is true.
type mark bool

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
		c.mark = of == markType
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
