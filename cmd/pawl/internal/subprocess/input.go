package subprocess

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/view"
)

// Input is the flag --stdin: the part of a job that is the program's standard input.
type Input string

// Inputs returns the valid values.
func Inputs() []string { return []string{"args", "data", "job"} }

// Type returns the flag's type for the help.
func (*Input) Type() string { return "word" }

func (v *Input) String() string {
	if *v == "" {
		return "args"
	}
	return string(*v)
}

// Set parses the flag.
func (v *Input) Set(text string) error {
	if !slices.Contains(Inputs(), text) {
		return fmt.Errorf("%q: want one of %s", text, strings.Join(Inputs(), ", "))
	}
	*v = Input(text)
	return nil
}

// of returns the part of a job. JSON ends with a newline, for programs that read lines.
func (v Input) of(job *pawl.JobInfo) (text []byte, err error) {
	switch v {
	case "data":
		return job.Data, nil
	case "job":
		text, err = view.JobJSON(job)
	default:
		text = slices.Clone(job.Args)
	}
	if len(text) > 0 {
		text = append(text, '\n')
	}
	return text, err
}
