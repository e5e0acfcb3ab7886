package output

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// IsTerminal reports whether a reader or writer is a terminal.
func IsTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// Width returns the number of columns of a writer. It returns 0 if the writer is not a terminal that can be drawn on.
func Width(stream any) int {
	if !IsTerminal(stream) || os.Getenv("TERM") == "dumb" {
		return 0
	}
	width, _, err := term.GetSize(int(stream.(*os.File).Fd()))
	if err != nil || width < 1 {
		return 0
	}
	return width
}

// Patience writes a line to a terminal if work takes longer than two seconds. The caller calls end when the work is
// done.
func Patience(terminal io.Writer, line string) (end func()) {
	if Width(terminal) == 0 {
		return func() {}
	}
	timer := time.AfterFunc(2*time.Second, func() { fmt.Fprintln(terminal, line) })
	return func() { timer.Stop() }
}
