package pawl

import (
	"bytes"
	"fmt"
	"runtime/pprof"
	"strings"
)

// maxLoggedStack is how many bytes of a stack are logged, at most.
const maxLoggedStack = 16 << 10

// stacks are the stacks of goroutines that run jobs, by their labels.
type stacks struct {
	texts  map[string]string
	logged map[string]ID // The job with which a stack was logged.
}

// stacksOf returns the stacks of the goroutines that run some jobs, in one reading.
func stacksOf(runs []*running) *stacks {
	wanted := map[string]bool{}
	for _, run := range runs {
		if name := run.call.label(); name != "" {
			wanted[name] = true
		}
	}
	return &stacks{texts: readStacks(wanted), logged: map[string]ID{}}
}

// of returns the stack of a goroutine.
func (s *stacks) of(goroutine string) string { return s.texts[goroutine] }

// once returns the stack of a goroutine for the log line of a job. If the same stack was logged with another job, it
// names that job instead: hundreds of handlers may wait for the same lock.
func (s *stacks) once(goroutine string, job ID) string {
	text := s.texts[goroutine]
	if first, ok := s.logged[text]; ok && text != "" {
		return fmt.Sprintf("as that of job %d", first)
	}
	s.logged[text] = job
	return truncate(text, maxLoggedStack)
}

// readStacks reads the profile of all goroutines, and returns the stacks of those with a goroutineLabel that is wanted.
// The stack of the goroutine that runs the job comes first. Those of goroutines that were started from it follow,
// because they inherit its label. Reading the profile stops the process for microseconds for each goroutine.
func readStacks(wanted map[string]bool) map[string]string {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return nil
	}
	own, started := map[string]string{}, map[string]string{}
	for record := range strings.SplitSeq(profile.String(), "\n\n") {
		name, text := readStack(record)
		switch {
		case !wanted[name]:
		case strings.Contains(record, ".(*slots).serve+"):
			own[name] = text
		default:
			started[name] += "\nstarted from this goroutine:\n" + text
		}
	}
	for name := range own {
		own[name] += started[name]
	}
	return own
}

// readStack returns the label and the stack of a record of the profile:
//
//	1 @ 0x4446f1 0x482ddd
//	# labels: {"pawl_slot":"12"}
//	#	0x51c470	main.send+0xb0	/src/main.go:851
func readStack(record string) (name, text string) {
	var b strings.Builder
	for line := range strings.Lines(record) {
		line = strings.TrimRight(line, "\n")
		if labels, ok := strings.CutPrefix(line, "# labels: "); ok {
			_, after, _ := strings.Cut(labels, `"`+goroutineLabel+`":"`)
			name, _, _ = strings.Cut(after, `"`)
			continue
		}
		fields := strings.Split(line, "\t")
		if len(fields) < 4 || fields[0] != "#" {
			continue
		}
		function := fields[2]
		if i := strings.LastIndexByte(function, '+'); i > 0 {
			function = function[:i]
		}
		fmt.Fprintf(&b, "%s\n\t%s\n", function, fields[len(fields)-1])
	}
	return name, b.String()
}
