package pawl_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func propertyRuns(t *testing.T, runs int) (int, uint64) {
	t.Helper()
	seed := uint64(1)
	number := func(name string, to *uint64) {
		if text := os.Getenv(name); text != "" {
			n, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			*to = n
		}
	}
	n := uint64(runs)
	number("PAWL_PROPERTY_RUNS", &n)
	number("PAWL_PROPERTY_SEED", &seed)
	return int(n), seed
}

// A step is a verb, and the dice with which it chooses its jobs.
type step struct {
	verb string
	dice uint32
}

func printed(steps []step) string {
	parts := make([]string, len(steps))
	for i, s := range steps {
		parts[i] = fmt.Sprintf("%s:%d", s.verb, s.dice)
	}
	return strings.Join(parts, " ")
}

func parse(t *testing.T, text string) (steps []step) {
	t.Helper()
	for part := range strings.FieldsSeq(text) {
		verb, dice, _ := strings.Cut(part, ":")
		n, err := strconv.ParseUint(dice, 10, 32)
		if err != nil || verbs[verb] == nil {
			t.Fatalf("PAWL_PROPERTY_STEPS has %q; want VERB:NUMBER", part)
		}
		steps = append(steps, step{verb, uint32(n)})
	}
	return steps
}

func generate(r *rand.Rand) []step {
	total := 0
	for _, w := range weights {
		total += w.n
	}
	steps := make([]step, 10+r.IntN(40))
	for i := range steps {
		at := r.IntN(total)
		for _, w := range weights {
			if at -= w.n; at < 0 {
				steps[i] = step{w.verb, r.Uint32()}
				break
			}
		}
	}
	return steps
}

// shrink leaves out steps as long as the rest fails.
func shrink(steps []step, fails func([]step) bool) []step {
	for size := len(steps) / 2; size > 0; {
		smaller := false
		for at := 0; at+size <= len(steps); {
			if rest := slices.Delete(slices.Clone(steps), at, at+size); fails(rest) {
				steps, smaller = rest, true
			} else {
				at += size
			}
		}
		if !smaller || size > len(steps) {
			size = min(size/2, len(steps))
		}
	}
	return steps
}
