package settings

import (
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// AddFlags gives a command flags for settings. A flag is checked when it is parsed.
func AddFlags(command *cobra.Command, flags *pflag.FlagSet, names ...string) {
	for _, name := range names {
		d := find(name)
		usage := d.usage
		if d.allowed != nil {
			usage += ": " + strings.Join(d.allowed, ", ")
		}
		flags.VarP(&flagValue{definition: d, text: d.standard}, d.flag(), d.short, usage)
		if d.allowed != nil {
			complete := cobra.FixedCompletions(d.allowed, cobra.ShellCompDirectiveNoFileComp)
			_ = command.RegisterFlagCompletionFunc(d.flag(), complete)
		}
	}
}

type flagValue struct {
	definition *definition
	text       string
}

func (v *flagValue) Set(text string) error {
	v.text = text
	if err := v.definition.check(text, ""); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), ": "))
	}
	return nil
}

func (v *flagValue) String() string { return v.text }

func (v *flagValue) Type() string {
	if v.definition != nil && v.definition.allowed != nil {
		return "word"
	}
	if v.definition != nil {
		if _, err := strconv.Atoi(v.definition.standard); err == nil {
			return "number"
		}
	}
	return "string"
}

// check parses a value and forgets it.
func (d *definition) check(text, place string) error {
	scratch := &Settings{text: map[string]string{}, origin: map[string]string{}}
	return scratch.set(d, d.split(text), place)
}
