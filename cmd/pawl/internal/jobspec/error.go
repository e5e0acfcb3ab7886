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
	innerUpper = regexp.MustCompile(`([a-z])([A-Z])`)
	// fieldsToSettings replaces the fields of pawl.Config that limit args by the settings that set them.
	fieldsToSettings = strings.NewReplacer(
		"Config.MaxArgsBytes", "the setting validation.args_bytes",
		"Config.MaxStringBytes", "the setting validation.string_bytes",
		"Config.MaxDepth", "the setting validation.depth",
		"Config.ForbiddenKeys", "the setting validation.forbidden",
		"Config.RequiredKeys", "the setting validation.required",
	)
)

// Explain says what is wrong with a job, with the names that flags, lines of JSON and settings have.
func Explain(err *pawl.InvalidError) error {
	return fmt.Errorf("%s: %s", snakeCase(err.Field), fieldsToSettings.Replace(err.Reason))
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
