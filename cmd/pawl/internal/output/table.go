package output

import (
	"bufio"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"
)

const (
	// maxPlainWidth bounds the padding of plain columns: one cell of a megabyte must not make every line as long.
	maxPlainWidth = 120
	// maxCellWidth is the number of columns after which a boxed table cuts a cell.
	maxCellWidth = 400
)

// writeLines writes plain columns. It widens the columns that are too narrow for the lines.
func writeLines(out io.Writer, columns []column, widths []int, lines [][]string) error {
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], min(ansi.StringWidth(cell), maxPlainWidth))
		}
	}
	w := bufio.NewWriter(out)
	for _, line := range lines {
		end := len(line) // Empty cells at the end are skipped, so that no line ends in spaces.
		for end > 0 && line[end-1] == "" {
			end--
		}
		for i, cell := range line[:end] {
			gap := strings.Repeat(" ", max(widths[i]-ansi.StringWidth(cell), 0))
			switch {
			case columns[i].right:
				_, _ = w.WriteString(gap + cell)
			case i == end-1:
				_, _ = w.WriteString(cell)
			default:
				_, _ = w.WriteString(cell + gap)
			}
			if i < end-1 {
				_, _ = w.WriteString("  ")
			}
		}
		_ = w.WriteByte('\n')
	}
	return w.Flush()
}

// Styles of text on a terminal.
var (
	Bold  = lipgloss.NewStyle().Bold(true)
	Faint = lipgloss.NewStyle().Faint(true)
)

func printTable(out io.Writer, list reflect.Value) error {
	columns := shown(columnsOf(list.Type()))
	width := Width(out)
	text := tableCell
	if width > 0 {
		text = screenCell
	}
	lines := [][]string{titles(columns)}
	for _, row := range rowsOf(list) {
		lines = append(lines, cells(row, columns, text))
	}
	columns, lines = filled(columns, lines, func(c column) bool { return c.mark })
	switch {
	case width == 0:
		return writeLines(out, columns, make([]int, len(columns)), lines)
	case len(lines) == 1:
		_, err := lipgloss.Fprintln(out, Faint.Render("None."))
		return err
	}
	boxed := box(columns, lines)
	if lipgloss.Width(boxed) > width {
		columns, lines = filled(columns, lines, func(column) bool { return true })
		boxed = box(columns, fit(lines, width))
	}
	_, err := lipgloss.Fprintln(out, boxed)
	return err
}

// fit makes a box of the lines fit a width. It first cuts titles that are wider than the cells below them, and then
// wraps the cells of the widest columns.
func fit(lines [][]string, width int) [][]string {
	widths, content := make([]int, len(lines[0])), make([]int, len(lines[0]))
	total := 1
	for i := range widths {
		for _, line := range lines[1:] {
			content[i] = max(content[i], ansi.StringWidth(line[i]))
		}
		widths[i] = max(content[i], ansi.StringWidth(lines[0][i]))
		total += widths[i] + 3
	}
	const least = 4
	for ; total > width; total-- {
		widest, idle := 0, -1 // The widest column, and the one with the most room beside its content.
		for i, w := range widths {
			if w > widths[widest] {
				widest = i
			}
			if w > max(content[i], least) && (idle < 0 || w-content[i] > widths[idle]-content[idle]) {
				idle = i
			}
		}
		switch {
		case idle >= 0:
			widths[idle]--
		case widths[widest] > least:
			widths[widest]--
		default:
			total = width // No column can be narrower.
		}
	}
	broken := make([][]string, len(lines))
	for n, line := range lines {
		for i, cell := range line {
			if n == 0 {
				cell = ansi.Truncate(cell, widths[i], "…")
			}
			broken[n] = append(broken[n], ansi.Wrap(cell, widths[i], ""))
		}
	}
	return broken
}

// filled drops the optional columns that are empty in every line.
func filled(columns []column, lines [][]string, optional func(column) bool) (some []column, cut [][]string) {
	cut = make([][]string, len(lines))
	for i, c := range columns {
		if optional(c) && !slices.ContainsFunc(lines[1:], func(line []string) bool { return line[i] != "" }) {
			continue
		}
		some = append(some, c)
		for n, line := range lines {
			cut[n] = append(cut[n], line[i])
		}
	}
	return some, cut
}

func box(columns []column, lines [][]string) string {
	t := table.New().Headers(lines[0]...).Rows(lines[1:]...).Border(lipgloss.RoundedBorder()).BorderStyle(Faint)
	t.StyleFunc(func(row, i int) lipgloss.Style {
		style := lipgloss.NewStyle().Padding(0, 1).Bold(row == table.HeaderRow)
		if columns[i].right {
			style = style.Align(lipgloss.Right)
		}
		return style
	})
	return t.Render()
}

// printOne writes one line per field: its name and its value.
func printOne(out io.Writer, v reflect.Value) error {
	columns := columnsOf(v.Type())
	terminal := Width(out) > 0
	var lines [][]string
	for i, value := range cells(v, columns, tableCell) {
		if columns[i].omit && value == "" {
			continue
		}
		title := columns[i].title
		if terminal {
			title = Bold.Render(title)
		}
		lines = append(lines, []string{title, value})
	}
	if terminal {
		out = colorprofile.NewWriter(out, os.Environ())
	}
	return writeLines(out, make([]column, 2), make([]int, 2), lines)
}
