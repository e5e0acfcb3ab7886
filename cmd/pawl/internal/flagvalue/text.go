package flagvalue

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Name is a flag that takes a name. It refuses an empty name: an unset variable in a script must not select every
// queue.
type Name string

// Set checks that the name is not empty.
func (v *Name) Set(text string) error {
	if text == "" {
		return errors.New("the name is empty")
	}
	*v = Name(text)
	return nil
}

func (v *Name) String() string { return string(*v) }

// Type returns the flag's type for the help.
func (*Name) Type() string { return "string" }

// JSON is a flag that takes JSON.
type JSON json.RawMessage

// Set checks that the text is JSON.
func (v *JSON) Set(text string) error {
	if !json.Valid([]byte(text)) {
		return fmt.Errorf("%q is not JSON", text)
	}
	*v = JSON(text)
	return nil
}

func (v *JSON) String() string { return string(*v) }

// Type returns the flag's type for the help.
func (*JSON) Type() string { return "json" }

// Headers is a repeatable flag that takes NAME=VALUE.
type Headers map[string]string

// Set adds a header.
func (v *Headers) Set(text string) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return fmt.Errorf("%q: want NAME=VALUE", text)
	}
	if *v == nil {
		*v = map[string]string{}
	}
	(*v)[name] = value
	return nil
}

func (*Headers) String() string { return "" }

// Type returns the flag's type for the help.
func (*Headers) Type() string { return "name=value" }
