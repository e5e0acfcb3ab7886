package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"github.com/spf13/cobra"
)

// help writes a command's help; on a terminal in lines that fit.
func (p *program) help(command *cobra.Command, _ []string) {
	fmt.Fprint(p.stdout, helpOf(command, min(outputWidth(p.stdout), 120)))
}

// helpOf is a command's help in so many columns; 0: as it is written. Examples are left as they are: they are there to be copied.
func helpOf(command *cobra.Command, width int) string {
	long := command.Long
	if long == "" {
		long = command.Short
	}
	text := strings.TrimSpace(long) + "\n"
	if width > 0 {
		text = flow(text, width)
	}
	text += "\n"
	if !command.Runnable() && !command.HasSubCommands() {
		return text
	}
	example := false
	for line := range strings.Lines(command.UsageString()) {
		line = strings.TrimRight(line, "\n")
		if command.HasSubCommands() && line == "  "+command.UseLine() {
			continue // A noun without a verb does nothing but this.
		}
		example = line == "Examples:" || example && line != ""
		if width > 0 && !example {
			line = hang(line, width)
		}
		text += line + "\n"
	}
	return text
}

// flow breaks paragraphs anew; lines that begin with spaces are lines of their own.
func flow(text string, width int) string {
	var b strings.Builder
	paragraph := ""
	end := func() {
		if paragraph != "" {
			b.WriteString(wrap(paragraph, width) + "\n")
		}
		paragraph = ""
	}
	for line := range strings.Lines(text) {
		switch line = strings.TrimRight(line, "\n"); {
		case line == "" || line[0] == ' ':
			end()
			b.WriteString(hang(line, width) + "\n")
		case paragraph == "":
			paragraph = line
		default:
			paragraph += " " + line
		}
	}
	end()
	return b.String()
}

// entry is the name of a flag or a command and the gap before what is said of it.
var entry = regexp.MustCompile(`^ +(-\w, )?\S+( \S+)? {2,}`)

// hang breaks a line so that what does not fit is below what is said, or indented as the line is.
func hang(line string, width int) string {
	indent := len(entry.FindString(line))
	if indent == 0 || indent > width/2 {
		indent = len(line) - len(strings.TrimLeft(line, " "))
	}
	if ansi.StringWidth(line) <= width || indent > width/2 {
		return line
	}
	head, rest := line[:indent], line[indent:]
	return head + strings.ReplaceAll(wrap(rest, width-indent), "\n", "\n"+strings.Repeat(" ", indent))
}

// wrap breaks a text at spaces alone: a flag is to be found in one piece.
func wrap(text string, width int) string {
	var b strings.Builder
	at := 0
	for i, word := range strings.Fields(text) {
		w := ansi.StringWidth(word)
		switch {
		case i == 0:
		case at+1+w > width:
			b.WriteByte('\n')
			at = 0
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += w
	}
	return b.String()
}
