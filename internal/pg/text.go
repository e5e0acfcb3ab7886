package pg

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Text writes a parameter in PostgreSQL's text form. It returns a string, or nil for null.
func Text(v any) any {
	if v == nil {
		return nil
	}
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Pointer:
		if r.IsNil() {
			return nil
		}
		return Text(r.Elem().Interface())
	case reflect.Slice:
		if r.IsNil() {
			return nil
		}
		if b, ok := v.([]byte); ok {
			return `\x` + hex.EncodeToString(b)
		}
		return arrayText(r)
	}
	switch v := v.(type) {
	case time.Time:
		v = v.UTC()
		if v.Year() < 1 {
			return v.AddDate(1-2*v.Year(), 0, 0).Format("2006-01-02 15:04:05.999999Z07:00") + " BC"
		}
		return v.Format("2006-01-02 15:04:05.999999Z07:00")
	case time.Duration:
		return Interval(v)
	case bool:
		return strconv.FormatBool(v)
	default:
		return fmt.Sprint(v)
	}
}

func arrayText(r reflect.Value) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range r.Len() {
		if i > 0 {
			b.WriteByte(',')
		}
		element, ok := Text(r.Index(i).Interface()).(string)
		if !ok {
			b.WriteString("NULL")
			continue
		}
		b.WriteByte('"')
		for _, c := range []byte(element) {
			if c == '"' || c == '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(c)
		}
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

// Interval writes a duration as an interval, in microseconds, which is PostgreSQL's resolution.
func Interval(d time.Duration) string {
	return strconv.FormatInt(d.Microseconds(), 10) + " microseconds"
}
