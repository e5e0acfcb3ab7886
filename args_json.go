package pawl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
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
	if r.JSON != nil && !validJSON(r.JSON) {
		return errors.New("not valid JSON")
	}
	return nil
}

// checkJSON returns what PostgreSQL's jsonb refuses in b, which is valid JSON: see scanJSON.
func checkJSON(b []byte) (reason string) {
	_, reason = scanJSON(b)
	return reason
}

// scanJSON reads valid JSON once. It returns its size when jsonb prints it: with all numbers written out, which makes
// six bytes of 1e9999 ten thousand. It also returns what jsonb refuses in it: invalid UTF-8, \u0000, half a surrogate
// pair, numbers out of range, and more than jsonb can hold. reason is "" if jsonb takes it.
func scanJSON(b []byte) (size int, reason string) {
	size = len(b)
	if !utf8.Valid(b) {
		return size, "contain invalid UTF-8"
	}
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			n, reason := scanString(b[i:])
			if reason != "" {
				return size, reason
			}
			i += n - 1
		case c == '-' || c >= '0' && c <= '9':
			n := numberLength(b[i:])
			whole, fraction := digits(b[i : i+n])
			if whole > maxWholeDigits || fraction > maxFractionDigits {
				return size, fmt.Sprintf("contain the number %s, which is out of the range of PostgreSQL's jsonb",
					truncate(string(b[i:i+n]), 32))
			}
			size += max(whole+fraction-n, 0)
			i += n - 1
		}
	}
	if len(b) > alwaysStorable {
		reason = checkStorable(b)
	}
	return size, reason
}

// scanString returns the length of the string that b begins with, quotes included, or what jsonb refuses in it.
func scanString(b []byte) (n int, reason string) {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '"':
			return i + 1, ""
		case '\\':
			skip, reason := checkEscape(b[i:])
			if reason != "" {
				return 0, reason
			}
			i += skip
		}
	}
	return len(b), ""
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
	return code, err == nil // ParseUint takes no sign, and no underscore with this base.
}

// The range of PostgreSQL's numeric, which is what jsonb stores numbers as: digits before and after the decimal point.
const (
	maxWholeDigits    = 131072
	maxFractionDigits = 16383
)

// numberLength returns the length of the JSON number that b begins with.
func numberLength(b []byte) int {
	for n, c := range b {
		if (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			return n
		}
	}
	return len(b)
}

// digits returns how many digits a JSON number has before and after the decimal point when it is written out without an
// exponent.
func digits(number []byte) (whole, fraction int) {
	if len(number) < 16 && !bytes.ContainsAny(number, "eE") {
		return len(number), 0 // Close enough, and the most common case.
	}
	mantissa, exponent := number, 0
	if i := bytes.IndexAny(number, "eE"); i >= 0 {
		mantissa = number[:i]
		n, err := strconv.Atoi(string(bytes.TrimPrefix(number[i+1:], []byte{'+'})))
		if err != nil || max(n, -n) >= math.MaxInt32/2 {
			return math.MaxInt32, 0 // Too large even for the exponent of a zero.
		}
		exponent = n
	}
	before, after, _ := bytes.Cut(bytes.TrimPrefix(mantissa, []byte{'-'}), []byte{'.'})
	fraction = max(len(after)-exponent, 0)
	before = bytes.TrimLeft(before, "0")
	significant := bytes.TrimLeft(after, "0")
	switch {
	case len(before) > 0:
		whole = len(before) + exponent
	case len(significant) > 0:
		whole = exponent - (len(after) - len(significant))
	} // Zero has no digits before the point, whatever its exponent; PostgreSQL keeps those after it.
	return max(whole, 1), fraction
}

// unquote returns the string that starts at start in valid JSON, and the offset of its end.
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
	_ = json.Unmarshal(b[start:end], &s) // It cannot fail: b is valid JSON.
	return []byte(s), end
}
