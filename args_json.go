package pawl

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// marshalArgs returns args as JSON; nil if they are RawArgs without JSON.
func marshalArgs(args Args) (json.RawMessage, error) {
	switch a := args.(type) {
	case RawArgs:
		return a.JSON, a.check()
	case *RawArgs:
		return a.JSON, a.check()
	}
	return json.Marshal(args)
}

// check returns an error if the JSON is not valid.
func (r RawArgs) check() error {
	if r.JSON != nil && !json.Valid(r.JSON) {
		return errors.New("not valid JSON")
	}
	return nil
}

// checkJSON returns what PostgreSQL's jsonb refuses in b, which is valid JSON: invalid UTF-8, \u0000, and half a
// surrogate pair. It returns "" if jsonb takes it.
func checkJSON(b []byte) (reason string) {
	if !utf8.Valid(b) {
		return "contain invalid UTF-8"
	}
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			continue
		}
		i++
		if i+4 >= len(b) || b[i] != 'u' {
			continue
		}
		switch code := strings.ToLower(string(b[i+1 : i+5])); {
		case code == "0000":
			return `contain \u0000, which PostgreSQL's jsonb cannot; use Data for bytes`
		case code >= "d800" && code < "dc00":
			if i+10 < len(b) && b[i+5] == '\\' && b[i+6] == 'u' {
				if low := strings.ToLower(string(b[i+7 : i+11])); low >= "dc00" && low < "e000" {
					i += 10
					continue
				}
			}
			return fmt.Sprintf(`contain \u%s, the first half of a surrogate pair, without its second`, code)
		case code >= "dc00" && code < "e000":
			return fmt.Sprintf(`contain \u%s, the second half of a surrogate pair, without its first`, code)
		}
		i += 4
	}
	return ""
}
