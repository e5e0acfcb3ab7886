package output

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// Count formats a number of things, such as "1 job", "2 jobs" or "12,345 jobs".
func Count(n int64, noun string) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	if n != 1 {
		noun += "s"
	}
	return digits + " " + noun
}

// Reflow breaks the paragraphs of a text at a width. Lines that begin with spaces stay lines of their own.
func Reflow(text string, width int) string {
	var b strings.Builder
	paragraph := ""
	end := func() {
		if paragraph != "" {
			b.WriteString(Wrap(paragraph, width) + "\n")
		}
		paragraph = ""
	}
	for line := range strings.Lines(text) {
		switch line = strings.TrimRight(line, "\n"); {
		case line == "" || line[0] == ' ':
			end()
			b.WriteString(Hang(line, width) + "\n")
		case paragraph == "":
			paragraph = line
		default:
			paragraph += " " + line
		}
	}
	end()
	return b.String()
}

// entry matches the name of a flag or command in a help text, up to its description.
var entry = regexp.MustCompile(`^ +(-\w, )?\S+( \S+)? {2,}`)

// Hang wraps a line of a help text. It indents the rest as the description of a flag or command, or as the line itself.
func Hang(line string, width int) string {
	indent := len(entry.FindString(line))
	if indent == 0 || indent > width/2 {
		indent = len(line) - len(strings.TrimLeft(line, " "))
	}
	if ansi.StringWidth(line) <= width || indent > width/2 {
		return line
	}
	head, rest := line[:indent], line[indent:]
	return head + strings.ReplaceAll(Wrap(rest, width-indent), "\n", "\n"+strings.Repeat(" ", indent))
}

// Wrap breaks a text at spaces only, so that flags stay in one piece.
func Wrap(text string, width int) string {
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(text) {
		w := ansi.StringWidth(word)
		switch {
		case i == 0:
		case column+1+w > width:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += w
	}
	return b.String()
}
