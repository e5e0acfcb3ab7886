package inspect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pawlhq/pawl/internal/migrate"
)

// changedSettings reports storage and autovacuum settings of a table that differ from what this binary sets.
func (in *Installation) changedSettings(d migrate.Difference) []Finding {
	want, have := parseSettings(d.Want), parseSettings(d.Have)
	var changes, set, reset []string
	for name, value := range want {
		if have[name] != value {
			changes = append(changes, fmt.Sprintf("%s is %s, not %s", name, cmp.Or(have[name], "not set"), value))
			set = append(set, name+" = "+value)
		}
	}
	for name, value := range have {
		if _, ok := want[name]; !ok {
			changes = append(changes, fmt.Sprintf("%s is %s; it should not be set", name, value))
			reset = append(reset, name)
		}
	}
	if len(changes) == 0 {
		return nil
	}
	slices.Sort(changes)
	slices.Sort(set)
	slices.Sort(reset)
	var actions []string
	if len(set) > 0 {
		actions = append(actions, "set ("+strings.Join(set, ", ")+")")
	}
	if len(reset) > 0 {
		actions = append(actions, "reset ("+strings.Join(reset, ", ")+")")
	}
	return []Finding{{
		Check:   "autovacuum",
		Problem: fmt.Sprintf("table %s has changed storage settings: %s", d.Name, strings.Join(changes, "; ")),
		Remedy:  in.statement("alter table pawl.%s %s", d.Name, strings.Join(actions, ", ")),
	}}
}

// parseSettings reads a table's settings by name. autovacuum_enabled is left out: it has a check of its own.
func parseSettings(settings string) map[string]string {
	m := map[string]string{}
	for setting := range strings.SplitSeq(settings, ", ") {
		if name, value, ok := strings.Cut(setting, "="); ok && name != "autovacuum_enabled" {
			m[name] = value
		}
	}
	return m
}
