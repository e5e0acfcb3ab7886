package flagvalue

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pawlhq/pawl"
)

// ParseRate parses a rate such as "1000/s" or "5/10m", or "none". It leaves Burst zero.
func ParseRate(text string) (pawl.Rate, error) {
	if text == "none" {
		return pawl.Rate{}, nil
	}
	number, per, ok := strings.Cut(text, "/")
	n, err := strconv.Atoi(number)
	if per != "" && (per[0] < '0' || per[0] > '9') {
		per = "1" + per
	}
	d, invalid := ParseDuration(per)
	if !ok || err != nil || invalid != nil || n < 1 || d == 0 {
		return pawl.Rate{}, fmt.Errorf("%q: want a rate such as 1000/s or 5/10m, or none", text)
	}
	return pawl.Rate{N: n, Per: d}, nil
}

// FormatRate formats a rate as ParseRate reads it.
func FormatRate(r pawl.Rate) string {
	if r.N == 0 {
		return "none"
	}
	per := FormatDuration(max(r.Per, 0))
	if r.Per == 0 {
		per = "1s"
	}
	if len(per) == 2 && per[0] == '1' {
		per = per[1:]
	}
	return fmt.Sprintf("%d/%s", r.N, per)
}

// Rate is a flag that takes a rate.
type Rate pawl.Rate

// Set parses the flag and keeps Burst, which has a flag of its own.
func (v *Rate) Set(text string) error {
	r, err := ParseRate(text)
	v.N, v.Per = r.N, r.Per
	return err
}

func (v *Rate) String() string { return FormatRate(pawl.Rate(*v)) }

// Type returns the flag's type for the help.
func (*Rate) Type() string { return "rate" }
