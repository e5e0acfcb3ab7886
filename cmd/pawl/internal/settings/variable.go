package settings

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// UnknownVariables returns the variables PAWL_… of the environment that are neither settings nor known.
// They are not an error: a Kubernetes service named pawl sets such variables, too.
func UnknownVariables(known ...string) (names []string) {
	known = append(known, FileVariable, "PAWL_PG_BIN", "PAWL_TEST_DATABASE_URL")
	for _, d := range definitions {
		known = append(known, d.variable())
	}
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "PAWL_") && !slices.Contains(known, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// CheckVariable checks a variable PAWL_… of an environment. It returns an error if there is no such setting or its
// value is not valid. It accepts every empty variable of a setting.
func CheckVariable(name, value string) error {
	i := slices.IndexFunc(definitions, func(d *definition) bool { return d.variable() == name })
	if i < 0 {
		return fmt.Errorf("%s is not a setting", name)
	}
	if value == "" {
		return nil
	}
	return definitions[i].check(value, name)
}
