package pawl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// Validation bounds what may be inserted. All but ArgsBytes are of the args as JSON, whatever their kind, and not of Data.
//
// Who comes from pgqrs: there Depth counts the values below the root, scalars too, which is one less than here where the innermost
// object or array is empty and else the same; and Required passes whatever is no object.
type Validation struct {
	ArgsBytes   int      // Of a job's args as JSON, before Codec, and of its Data. If zero, 1 MiB.
	StringBytes int      // Of the longest string, unescaped; keys of objects are strings too. If zero, unchecked.
	Depth       int      // Objects and arrays inside each other: {"a":[1]} is 2 deep, what is neither adds nothing. If zero, unchecked.
	Forbidden   []string // Keys that no object may have, at any level.
	Required    []string // Keys the args must have, null or not. Args that are no object, and a job without args, have none.
}

func (v *Validation) check() error {
	for _, limit := range []struct {
		name string
		n    int
	}{{"ArgsBytes", v.ArgsBytes}, {"StringBytes", v.StringBytes}, {"Depth", v.Depth}} {
		if limit.n < 0 {
			return fmt.Errorf("pawl: Config.Validation.%s is negative", limit.name)
		}
	}
	for _, key := range v.Required {
		if slices.Contains(v.Forbidden, key) {
			return fmt.Errorf("pawl: Config.Validation: the key %q is required and forbidden", key)
		}
	}
	return nil
}

// refuse says what is wrong with args, which are valid JSON or nil.
func (v *Validation) refuse(args []byte) (reason string) {
	if v.StringBytes == 0 && v.Depth == 0 && len(v.Forbidden) == 0 && len(v.Required) == 0 {
		return ""
	}
	if len(v.Required) > 0 && !bytes.HasPrefix(bytes.TrimLeft(args, space), []byte{'{'}) {
		return fmt.Sprintf("are no object; want one with the key %q (Config.Validation.Required)", v.Required[0])
	}
	missing := slices.Clone(v.Required)
	depth := 0
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case '{', '[':
			if depth++; v.Depth > 0 && depth > v.Depth {
				return fmt.Sprintf("are nested deeper than %d objects and arrays, at byte %d (Config.Validation.Depth)", v.Depth, i)
			}
		case '}', ']':
			depth--
		case '"':
			start := i
			text, end := unquote(args, start)
			i = end - 1
			rest := bytes.TrimLeft(args[end:], space)
			key := len(rest) > 0 && rest[0] == ':'
			if v.StringBytes > 0 && len(text) > v.StringBytes {
				what := "string"
				if key {
					what = "key"
				}
				return fmt.Sprintf("have a %s of %d bytes at byte %d; at most %d (Config.Validation.StringBytes)", what, len(text), start, v.StringBytes)
			}
			if !key {
				continue
			}
			for _, forbidden := range v.Forbidden {
				if string(text) == forbidden {
					return fmt.Sprintf("have the key %q at byte %d, which is forbidden (Config.Validation.Forbidden)", truncate(forbidden, 64), start)
				}
			}
			if depth == 1 {
				missing = slices.DeleteFunc(missing, func(want string) bool { return string(text) == want })
			}
		}
	}
	if len(missing) > 0 {
		return fmt.Sprintf("lack the key %q (Config.Validation.Required)", missing[0])
	}
	return ""
}

const space = " \t\r\n"

// unquote is the string that starts at start in valid JSON, and where it ends.
func unquote(b []byte, start int) (text []byte, end int) {
	escaped := false
	end = start + 1
	for ; b[end] != '"'; end++ {
		if b[end] == '\\' {
			escaped = true
			end++
		}
	}
	end++
	if !escaped {
		return b[start+1 : end-1], end
	}
	var s string
	json.Unmarshal(b[start:end], &s)
	return []byte(s), end
}
