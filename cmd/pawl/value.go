package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/charmbracelet/x/ansi"
	"go.yaml.in/yaml/v3"
)

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
	case reflect.Bool:
		return v.Bool()
	case reflect.String:
		return strings.ToValidUTF8(v.String(), "\ufffd")
	}
	return v.Interface()
}

// elderYAML are strings that readers of YAML 1.1 take for booleans, numbers to the base of 60, or a mapping to merge.
var elderYAML = regexp.MustCompile(`^(?i:y|yes|n|no|on|off)$|^(?:<<|=)$|^[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$`)

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
	case mark:
		if value {
			return "yes"
		}
		return ""
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

// screenCell is tableCell in few columns, for a table on a terminal: today's times without the date, long texts cut.
func screenCell(v reflect.Value) string {
	if at, ok := reflect.Indirect(v).Interface().(time.Time); ok && !at.IsZero() {
		at = at.UTC()
		if now := time.Now().UTC(); at.Format(time.DateOnly) != now.Format(time.DateOnly) {
			return at.Format("2006-01-02 15:04")
		}
		return at.Format(time.TimeOnly)
	}
	return ansi.Truncate(tableCell(v), longest, "…")
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
