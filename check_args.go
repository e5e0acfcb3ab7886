package pawl

import (
	"bytes"
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
	if c.MaxArgsBytes > maxPayload {
		return fmt.Errorf("pawl: Config.MaxArgsBytes is %d: at most %d; store larger payloads elsewhere, and their"+
			" place in the args", c.MaxArgsBytes, maxPayload)
	}
	for _, key := range c.RequiredKeys {
		if slices.Contains(c.ForbiddenKeys, key) {
			return fmt.Errorf("pawl: Config: the key %q is in RequiredKeys and in ForbiddenKeys: remove it from one",
				key)
		}
	}
	return nil
}

// maxPayload is the largest MaxArgsBytes. A job of that size fits into one message to the server and one from it, with
// args and data, and as text.
const maxPayload = 200 << 20

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
