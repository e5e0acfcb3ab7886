package jobspec

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/exit"
)

var (
	validationField = regexp.MustCompile(`Config\.Validation\.\w+`)
	innerUpper      = regexp.MustCompile(`([a-z])([A-Z])`)
)

// Explain says what is wrong with a job, with the names that flags, lines of JSON and settings have.
func Explain(err *pawl.InvalidError) error {
	reason := validationField.ReplaceAllStringFunc(err.Reason, func(field string) string {
		return "the setting " + snakeCase(strings.TrimPrefix(field, "Config."))
	})
	return fmt.Errorf("%s: %s", snakeCase(err.Field), reason)
}

func snakeCase(name string) string {
	return strings.ToLower(innerUpper.ReplaceAllString(name, "${1}_$2"))
}

// Usage returns an error as a usage error if it says that the only job of a command is invalid.
func Usage(err error) error {
	if invalid, ok := errors.AsType[*pawl.InvalidError](err); ok {
		return exit.Usage(Explain(invalid))
	}
	return err
}
