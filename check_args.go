package pawl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// checkRules checks the fields of Config that bound args.
func (c *Config) checkRules() error {
	for _, limit := range []struct {
		name string
		n    int
	}{{"MaxArgsBytes", c.MaxArgsBytes}, {"MaxStringBytes", c.MaxStringBytes}, {"MaxDepth", c.MaxDepth}} {
		if limit.n < 0 {
			return fmt.Errorf("pawl: Config.%s is negative: want a limit, or 0 for the default", limit.name)
		}
	}
	for _, key := range c.RequiredKeys {
		if slices.Contains(c.ForbiddenKeys, key) {
			return fmt.Errorf("pawl: Config: the key %q is in RequiredKeys and in ForbiddenKeys: remove it from one",
				key)
		}
	}
	return nil
}

// maxArgsBytes returns MaxArgsBytes or its default.
func (c *Config) maxArgsBytes() int {
	if c.MaxArgsBytes == 0 {
		return 1 << 20
	}
	return c.MaxArgsBytes
}

// refuse returns what is wrong with args, which are valid JSON or nil; "" if they keep to the rules.
func (c *Config) refuse(args []byte) (reason string) {
	if c.MaxStringBytes == 0 && c.MaxDepth == 0 && len(c.ForbiddenKeys) == 0 && len(c.RequiredKeys) == 0 {
		return ""
	}
	if len(c.RequiredKeys) > 0 && !bytes.HasPrefix(bytes.TrimLeft(args, space), []byte{'{'}) {
		return fmt.Sprintf("are not an object: want one with the key %q (Config.RequiredKeys)", c.RequiredKeys[0])
	}
	missing := slices.Clone(c.RequiredKeys)
	depth := 0
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case '{', '[':
			if depth++; c.MaxDepth > 0 && depth > c.MaxDepth {
				return fmt.Sprintf("are nested deeper than %d objects and arrays, at byte %d (Config.MaxDepth)",
					c.MaxDepth, i)
			}
		case '}', ']':
			depth--
		case '"':
			start := i
			text, end := unquote(args, start)
			i = end - 1
			rest := bytes.TrimLeft(args[end:], space)
			isKey := len(rest) > 0 && rest[0] == ':'
			if reason := c.refuseString(text, isKey, start); reason != "" {
				return reason
			}
			if isKey && depth == 1 {
				missing = slices.DeleteFunc(missing, func(want string) bool { return string(text) == want })
			}
		}
	}
	if len(missing) > 0 {
		return fmt.Sprintf("lack the key %q (Config.RequiredKeys)", missing[0])
	}
	return ""
}

// refuseString returns what is wrong with a string or key at the given byte of the args.
func (c *Config) refuseString(text []byte, isKey bool, at int) (reason string) {
	what := "string"
	if isKey {
		what = "key"
	}
	if c.MaxStringBytes > 0 && len(text) > c.MaxStringBytes {
		return fmt.Sprintf("have a %s of %d bytes at byte %d; at most %d (Config.MaxStringBytes)",
			what, len(text), at, c.MaxStringBytes)
	}
	if isKey && slices.Contains(c.ForbiddenKeys, string(text)) {
		return fmt.Sprintf("have the key %q at byte %d, which is forbidden (Config.ForbiddenKeys)",
			truncate(string(text), 64), at)
	}
	return ""
}

const space = " \t\r\n"

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
