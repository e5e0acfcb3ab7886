package output

import (
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/charmbracelet/x/ansi"

	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
)

func csvCell(v reflect.Value) string {
	switch value := plain(v).(type) {
	case nil:
		return ""
	case string:
		return value
	default:
		text, _ := MarshalJSON(value)
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
		return flagvalue.FormatDuration(value)
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
	case Mark:
		if value {
			return "yes"
		}
		return ""
	case float64:
		return strconv.FormatFloat(value, 'f', -1, 64)
	case []string:
		return Printable(strings.Join(value, ", "))
	}
	if v.Kind() == reflect.Map || v.Kind() == reflect.Slice && v.Type() != rawType && v.Type() != bytesType {
		if v.Len() == 0 {
			return ""
		}
	}
	return Printable(csvCell(v))
}

// screenCell is tableCell for a table on a terminal: it leaves the date out of today's times and cuts long texts.
func screenCell(v reflect.Value) string {
	if at, ok := reflect.Indirect(v).Interface().(time.Time); ok && !at.IsZero() {
		at = at.UTC()
		if now := time.Now().UTC(); at.Format(time.DateOnly) != now.Format(time.DateOnly) {
			return at.Format("2006-01-02 15:04")
		}
		return at.Format(time.TimeOnly)
	}
	return ansi.Truncate(tableCell(v), maxCellWidth, "…")
}

// Printable escapes control characters, because the content of a job must not control the terminal or break lines.
func Printable(text string) string {
	if strings.IndexFunc(text, needsEscape) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if needsEscape(r) {
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// needsEscape reports control characters and characters that change the direction of writing.
func needsEscape(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control) || r == '\u2028' || r == '\u2029'
}
