package top

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
)

// A grid is a table with titles.
type grid struct {
	titles []string
	words  int // The number of columns that hold words. The columns after them hold numbers.
	rows   [][]string
	total  int // The number of rows that exist, if rows holds only some of them.
}

func (g *grid) height() int { return 1 + max(len(g.rows), 1) }

// lines returns the grid as text. A width of 0 and a height of -1 are unlimited. A grid that is too wide first cuts its
// widest columns of words, and then drops columns at the right.
func (g *grid) lines(width, height int) []string {
	widths := make([]int, len(g.titles))
	for _, row := range append([][]string{g.titles}, g.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], ansi.StringWidth(cell))
		}
	}
	columns := g.fit(widths, width)
	rows, all := g.rows, max(g.total, len(g.rows))
	if height >= 0 && 1+len(rows) > height {
		rows = rows[:max(height-2, 0)]
	}
	lines := []string{g.line(g.titles, widths[:columns])}
	for _, row := range rows {
		lines = append(lines, g.line(row, widths[:columns]))
	}
	switch {
	case all == 0:
		lines = append(lines, "none")
	case len(rows) < all:
		lines = append(lines, fmt.Sprintf("… %d more", all-len(rows)))
	}
	return lines
}

// fit reduces the widths of columns to a width and returns the number of columns that are shown.
func (g *grid) fit(widths []int, width int) (columns int) {
	columns = len(widths)
	total := func() int {
		n := 2 * (columns - 1)
		for _, w := range widths[:columns] {
			n += w
		}
		return n
	}
	for width > 0 && total() > width {
		widest := 0
		for i := range min(g.words, columns) {
			if widths[i] > widths[widest] {
				widest = i
			}
		}
		const least = 12
		switch {
		case widths[widest] > least:
			widths[widest] = max(least, widths[widest]-(total()-width))
		case columns > 2:
			columns--
		default:
			widths[0], width = max(width-widths[1]-2, 4), 0
		}
	}
	return columns
}

func (g *grid) line(row []string, widths []int) string {
	var b strings.Builder
	for i, width := range widths {
		cell := ansi.Truncate(row[i], width, "…")
		gap := strings.Repeat(" ", width-ansi.StringWidth(cell))
		if i > 0 {
			b.WriteString("  ")
		}
		if i < g.words || i == len(g.titles)-1 && g.titles[i] == "DONE" {
			b.WriteString(cell + gap)
		} else {
			b.WriteString(gap + cell)
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// short formats a number in at most five characters.
func short(n float64) string {
	for _, unit := range []string{"", "k", "M", "G"} {
		switch {
		case n >= 999.5:
			n /= 1000
			continue
		case n == float64(int64(n)) && unit == "":
			return strconv.FormatInt(int64(n), 10)
		case n < 99.95:
			return strconv.FormatFloat(n, 'f', 1, 64) + unit
		}
		return strconv.FormatFloat(n, 'f', 0, 64) + unit
	}
	return strconv.FormatFloat(n, 'f', 0, 64) + "T"
}

// age formats a duration in few characters.
func age(d time.Duration) string {
	switch {
	case d <= 0:
		return "-"
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 100*time.Second:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 100*time.Minute:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
