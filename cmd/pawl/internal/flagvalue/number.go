package flagvalue

import (
	"fmt"
	"strconv"
)

// ParseNumber parses a whole number in a range.
func ParseNumber(text string, least, most int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%q: want a whole number from %d to %d", text, least, most)
	}
	return n, nil
}

// Number is a flag that takes a whole number from Least to Most.
type Number struct {
	To          *int
	Least, Most int
}

// Set parses the flag.
func (v *Number) Set(text string) (err error) {
	*v.To, err = ParseNumber(text, v.Least, v.Most)
	return err
}

func (v *Number) String() string {
	if v.To == nil {
		return "0" // pflag leaves a default of 0 out of the help.
	}
	return strconv.Itoa(*v.To)
}

// Type returns the flag's type for the help.
func (*Number) Type() string { return "number" }

// Float is a flag that takes a number. It sets To, so that 0 differs from a flag that was not given.
type Float struct{ To **float64 }

// Set parses the flag.
func (v *Float) Set(text string) error {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return fmt.Errorf("%q: want a number", text)
	}
	*v.To = &f
	return nil
}

func (*Float) String() string { return "" }

// Type returns the flag's type for the help.
func (*Float) Type() string { return "float" }
