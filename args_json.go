package pawl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
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

// checkJSON returns what PostgreSQL's jsonb refuses in b, which is valid JSON: invalid UTF-8, \u0000, half a surrogate
// pair, and numbers out of range. It returns "" if jsonb takes it.
func checkJSON(b []byte) (reason string) {
	if !utf8.Valid(b) {
		return "contain invalid UTF-8"
	}
	inString := false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			inString = !inString
		case c == '\\':
			skip, reason := checkEscape(b[i:])
			if reason != "" {
				return reason
			}
			i += skip
		case !inString && (c == '-' || c >= '0' && c <= '9'):
			n := numberLength(b[i:])
			if whole, fraction := digits(b[i : i+n]); whole > maxWholeDigits || fraction > maxFractionDigits {
				return fmt.Sprintf(
					"contain the number %s, which is out of the range of PostgreSQL's jsonb",
					truncate(string(b[i:i+n]), 32),
				)
			}
			i += n - 1
		}
	}
	return ""
}

// checkEscape checks the escape that b begins with, and returns how many bytes of it follow the backslash.
func checkEscape(b []byte) (skip int, reason string) {
	code, ok := unicodeEscape(b)
	switch {
	case !ok:
		return 1, ""
	case code == 0:
		return 0, `contain \u0000, which PostgreSQL's jsonb cannot; use Data for bytes`
	case code >= 0xd800 && code < 0xdc00:
		if low, ok := unicodeEscape(b[6:]); ok && low >= 0xdc00 && low < 0xe000 {
			return 11, ""
		}
		return 0, fmt.Sprintf(`contain \u%04x, the first half of a surrogate pair, without its second`, code)
	case code >= 0xdc00 && code < 0xe000:
		return 0, fmt.Sprintf(`contain \u%04x, the second half of a surrogate pair, without its first`, code)
	}
	return 5, ""
}

// unicodeEscape reads an escape of the form \u12ab. ok is false if b begins with something else.
func unicodeEscape(b []byte) (code uint64, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	code, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return code, err == nil
}

// The range of PostgreSQL's numeric, which is what jsonb stores numbers as: digits before and after the decimal point.
const (
	maxWholeDigits    = 131072
	maxFractionDigits = 16383
)

// numberLength returns the length of the JSON number that b begins with.
func numberLength(b []byte) int {
	n := 0
	for n < len(b) && (b[n] >= '0' && b[n] <= '9' || bytes.IndexByte([]byte("-+.eE"), b[n]) >= 0) {
		n++
	}
	return n
}

// digits returns how many digits a JSON number has before and after the decimal point when it is written out without an
// exponent. An exponent too large to count is taken for a billion.
func digits(number []byte) (whole, fraction int) {
	mantissa, exponent := number, 0
	if i := bytes.IndexAny(number, "eE"); i >= 0 {
		mantissa = number[:i]
		n, err := strconv.Atoi(string(bytes.TrimPrefix(number[i+1:], []byte{'+'})))
		if err != nil || max(n, -n) > 1e9 {
			n = 1e9
			if number[i+1] == '-' {
				n = -1e9
			}
		}
		exponent = n
	}
	before, after, _ := bytes.Cut(bytes.TrimPrefix(mantissa, []byte{'-'}), []byte{'.'})
	if len(bytes.Trim(before, "0"))+len(bytes.Trim(after, "0")) == 0 {
		// Zero has no digits before the point, whatever its exponent; PostgreSQL keeps those after it.
		return 1, max(len(after)-exponent, 0)
	}
	return max(len(before)+exponent, 1), max(len(after)-exponent, 0)
}

// writtenOut returns the size of valid JSON when jsonb prints it: with all numbers written out, which makes six bytes
// of 1e9999 ten thousand.
func writtenOut(b []byte) int {
	size, inString := len(b), false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			inString = !inString
		case c == '\\':
			i++
		case !inString && (c == '-' || c >= '0' && c <= '9'):
			n := numberLength(b[i:])
			whole, fraction := digits(b[i : i+n])
			size += max(whole+fraction-n, 0)
			i += n - 1
		}
	}
	return size
}
