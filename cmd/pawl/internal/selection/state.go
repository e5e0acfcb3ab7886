package selection

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pawlhq/pawl/pawlstate"
)

// States of jobs.
var (
	Live = []pawlstate.State{
		pawlstate.Reserved, pawlstate.Waiting, pawlstate.Scheduled, pawlstate.Ready, pawlstate.Running,
	}
	Finished = []pawlstate.State{pawlstate.Completed, pawlstate.Cancelled, pawlstate.Dead}
	Archived = []pawlstate.State{pawlstate.Completed, pawlstate.Cancelled}
	Dead     = []pawlstate.State{pawlstate.Dead}
)

// StatesWithin returns the states of --state that are among some states, or all of these if --state was not given.
// An empty list selects nothing; it is not nil, which would select every state.
func (f *Filter) StatesWithin(states []pawlstate.State) []pawlstate.State {
	if states == nil || len(f.States) == 0 {
		return states
	}
	both := []pawlstate.State{}
	for _, state := range f.States {
		if slices.Contains(states, state) {
			both = append(both, state)
		}
	}
	return both
}

// JoinStates returns states as a text, such as "completed and cancelled".
func JoinStates(states []pawlstate.State) string {
	names := make([]string, len(states))
	for i, state := range states {
		names[i] = string(state)
	}
	return strings.Join(names, " and ")
}

func allStates() string {
	var names []string
	for _, state := range slices.Concat(Live, Finished) {
		names = append(names, string(state))
	}
	return strings.Join(names, ", ")
}

// statesFlag is a repeatable flag that takes states separated by commas.
type statesFlag []pawlstate.State

func (v *statesFlag) Set(text string) error {
	for name := range strings.SplitSeq(text, ",") {
		state := pawlstate.State(strings.TrimSpace(name))
		if !slices.Contains(Live, state) && !slices.Contains(Finished, state) {
			return fmt.Errorf("%q: want one of %s", name, allStates())
		}
		*v = append(*v, state)
	}
	return nil
}

func (v *statesFlag) String() string { return "" }
func (*statesFlag) Type() string     { return "states" }
